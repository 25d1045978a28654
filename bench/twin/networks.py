"""The encoder, torchvision's ResNet-18 with a width, and the heads. Tensors have the names of vssl's checkpoints."""

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet


class Resnet18(ResNet):
    """torchvision's ResNet-18 without its classifier; its first stage has `width` channels, where torchvision has 64.

    The initial values are those of torchvision's constructor without `zero_init_residual`, to the bit for a width of 64
    and the same seed.
    """

    def __init__(self, width):
        nn.Module.__init__(self)
        self._norm_layer, self.inplanes, self.dilation, self.groups, self.base_width = nn.BatchNorm2d, width, 1, 1, 64
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(BasicBlock, width, 2)
        self.layer2 = self._make_layer(BasicBlock, 2 * width, 2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 4 * width, 2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, 8 * width, 2, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * width, 1000)  # Its random numbers are drawn before those of the convolutions.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.fc, self.dim = nn.Identity(), 8 * width


class Hidden(nn.Module):
    """A hidden layer: linear, batch norm unless `norm` is false, ReLU."""

    def __init__(self, inputs, outputs, norm):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs) if norm else None

    def forward(self, x):
        x = self.linear(x)
        return nn.functional.relu(x if self.norm is None else self.norm(x))


class Mlp(nn.Module):
    """Hidden layers, then a linear layer. All have biases and PyTorch's initial values."""

    def __init__(self, inputs, hidden, outputs, norm=True):
        super().__init__()
        widths = [inputs, *hidden]
        self.hidden = nn.ModuleList(Hidden(a, b, norm) for a, b in zip(widths, widths[1:]))
        self.output = nn.Linear(widths[-1], outputs)

    def forward(self, x):
        for layer in self.hidden:
            x = layer(x)
        return self.output(x)
