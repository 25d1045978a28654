#!/usr/bin/env python3
"""One self-supervised training step in PyTorch: the counterpart of `vssl bench step`.

The work is that of the Rust program with its default settings: the backbone, the heads of the
method, two views a step, LARS, and the moving average of the teacher. A view passes the student
and the teacher on its own, so that batch norm sees one view at a time.

    python bench/torch_step.py --method vssl --width 64 --batch 64 --threads 2
    python bench/torch_step.py --method byol --channels-last --compile
    python bench/torch_step.py --device cuda --backbone resnet50 --stem imagenet --size 224 \
        --channels-last --precision bf16

The last line is one JSON object with the keys of `vssl bench step --json`; images_per_s counts
images, each of which is seen as two views. On a GPU, single precision multiplies in TF32, bf16 is
autocast, and memory is the largest that PyTorch's allocator had in use. Needs PyTorch 2, and timm
for the transformers.
"""

import argparse
import copy
import json
import resource
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional

HIDDEN = {"vssl": 4096, "byol": 4096, "simclr": 2048}
DIM = {"vssl": 256, "byol": 256, "simclr": 256}
RATE, MOMENTUM, DECAY, ETA = 0.1, 0.9, 1e-5, 0.02
KEPT_BY_TEACHER = 0.99
TEMPERATURE = 0.2
# Names of vssl, and blocks or names of timm.
BACKBONES = {
    "resnet18": [2, 2, 2, 2],
    "resnet50": [3, 4, 6, 3],
    "vit-tiny": "vit_tiny_patch16_224",
    "vit-small": "vit_small_patch16_224",
    "vit-base": "vit_base_patch16_224",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=sorted(HIDDEN), default="vssl")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--backbone", choices=sorted(BACKBONES), default="resnet18")
    parser.add_argument("--width", type=int, default=64, help="channels of a ResNet's first stage")
    parser.add_argument("--size", type=int, default=32, help="side of the views in pixels")
    parser.add_argument("--patch", type=int, default=16, help="side of a transformer's patches")
    parser.add_argument("--stem", choices=["cifar", "imagenet"], default="cifar")
    parser.add_argument("--stem-padding", type=int, default=1, help="of the CIFAR stem")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the clock runs")
    parser.add_argument("--threads", type=int, help="PyTorch's own choice unless given")
    parser.add_argument("--hidden", type=int, help="hidden width of the heads")
    parser.add_argument("--dim", type=int, help="output length of the heads")
    parser.add_argument("--channels-last", action="store_true", help="memory format of images")
    parser.add_argument("--compile", action="store_true", help="run through torch.compile")
    chosen = parser.parse_args()
    chosen.hidden = chosen.hidden or HIDDEN[chosen.method]
    chosen.dim = chosen.dim or DIM[chosen.method]
    return chosen


def shortcut(inputs, outputs, stride):
    """What is added to a block's result: its input, through a 1x1 convolution where the shape changes."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return functional.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution and a shortcut; the stride sits on the 3x3 one."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += self.shortcut(x)
        return functional.relu(y, inplace=True)


def resnet(blocks, width, stem, padding):
    """A ResNet and the length of its features."""
    if stem == "cifar":
        layers = [nn.Conv2d(3, width, 3, 1, padding, bias=False)]
    else:
        layers = [nn.Conv2d(3, width, 7, 2, 3, bias=False)]
    layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    if stem == "imagenet":
        layers.append(nn.MaxPool2d(3, 2, 1))
    block, expansion = (BasicBlock, 1) if sum(blocks) == 8 else (Bottleneck, 4)
    channels = width
    for stage, count in enumerate(blocks):
        for index in range(count):
            layers.append(block(channels, width << stage, 2 if stage and not index else 1))
            channels = expansion * (width << stage)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels


def backbone(chosen):
    """The encoder and the length of its features."""
    kind = BACKBONES[chosen.backbone]
    if isinstance(kind, list):
        return resnet(kind, chosen.width, chosen.stem, chosen.stem_padding)
    import timm

    network = timm.create_model(kind, num_classes=0, img_size=chosen.size, patch_size=chosen.patch)
    return network, network.num_features


def head(inputs, hidden, outputs, norm=True):
    norms = [nn.BatchNorm1d(hidden)] if norm else []
    return nn.Sequential(
        nn.Linear(inputs, hidden), *norms, nn.ReLU(inplace=True), nn.Linear(hidden, outputs)
    )


class Encoder(nn.Module):
    """Backbone and projector: all of SimCLR, and what a momentum teacher copies."""

    def __init__(self, chosen):
        super().__init__()
        self.backbone, features = backbone(chosen)
        outputs = chosen.dim * (2 if chosen.method == "vssl" else 1)
        norm = chosen.method != "simclr"
        self.projector = head(features, chosen.hidden, outputs, norm)

    def forward(self, x):
        return self.projector(self.backbone(x))


class Student(nn.Module):
    """The encoder and what follows it in the student alone."""

    def __init__(self, chosen):
        super().__init__()
        self.encoder = Encoder(chosen)
        self.predictor = nn.Identity()
        if chosen.method != "simclr":
            outputs = chosen.dim * (2 if chosen.method == "vssl" else 1)
            self.predictor = head(outputs, chosen.hidden, outputs)
        if chosen.method == "vssl":
            self.denoise_mean = head(chosen.dim, chosen.hidden, chosen.dim)
            self.denoise_variance = head(chosen.dim, chosen.hidden, chosen.dim)

    def forward(self, x):
        return self.predictor(self.encoder(x))


def distance(u, v, sharpness):
    """Softplus of the negative cosine, a row at a time."""
    return functional.softplus(-functional.cosine_similarity(u, v, dim=1), beta=sharpness)


def vssl_loss(student, outputs, priors):
    """Equations 8 to 10 of arXiv:2504.04318 on cosines, over all pairs of views."""
    total = 0.0
    for output in outputs:
        mean, variance = output.chunk(2, dim=1)
        latent = mean + variance * torch.randn_like(mean).abs()
        denoised_mean = student.denoise_mean(latent)
        denoised_variance = student.denoise_variance(latent)
        for prior in priors:
            prior_mean, prior_variance = prior.chunk(2, dim=1)
            spread = distance(variance, prior_variance, 3)
            kl = 0.5 * (spread.log() + distance(mean, prior_mean, 3) ** 2 + spread - 1)
            spread = distance(denoised_variance, prior_variance, 1)
            error = distance(denoised_mean, prior_mean, 1) ** 2
            total = total + (kl + spread.log() + 4 * spread + error * spread).mean()
    return total


def byol_loss(outputs, targets):
    """Twice one minus the cosine between a prediction and the other view's target."""
    pairs = zip(outputs, reversed(targets))
    return sum(2 - 2 * functional.cosine_similarity(p, z, dim=1).mean() for p, z in pairs)


def simclr_loss(outputs):
    """NT-Xent (Chen et al. 2020, arXiv:2002.05709, eq. 1)."""
    rows = functional.normalize(torch.cat(outputs), dim=1)
    logits = rows @ rows.T / TEMPERATURE
    logits.fill_diagonal_(float("-inf"))
    partner = torch.arange(len(rows), device=rows.device).roll(len(rows) // 2)
    return functional.cross_entropy(logits, partner)


class Lars:
    """Momentum with the trust ratio of You et al. 2017 on everything but biases and norms."""

    def __init__(self, parameters):
        self.parameters = list(parameters)
        self.buffers = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self):
        for parameter, buffer in zip(self.parameters, self.buffers):
            gradient = parameter.grad
            if parameter.ndim > 1:
                size, slope = parameter.norm(), gradient.norm()
                ratio = ETA * size / (slope + DECAY * size)
                ratio = torch.where((size > 0) & (slope > 0), ratio, 1.0)
                gradient = gradient.add(parameter, alpha=DECAY).mul_(ratio)
            buffer.mul_(MOMENTUM).add_(gradient)
            parameter.sub_(buffer, alpha=RATE)

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None


class Trainer:
    """Student, teacher and optimiser, and one step of them."""

    def __init__(self, chosen):
        self.method, self.device = chosen.method, chosen.device
        self.autocast = chosen.precision == "bf16"
        layout = torch.channels_last if chosen.channels_last else torch.contiguous_format
        self.student = Student(chosen).to(chosen.device, memory_format=layout)
        self.teacher = None
        if chosen.method != "simclr":
            self.teacher = copy.deepcopy(self.student.encoder).requires_grad_(False)
        self.optimizer = Lars(self.student.parameters())
        self.run_student, self.run_teacher = self.student, self.teacher
        if chosen.compile:
            self.run_student = torch.compile(self.student)
            self.run_teacher = self.teacher and torch.compile(self.teacher)
        shape = (chosen.batch, 3, chosen.size, chosen.size)
        views = [torch.rand(shape).contiguous(memory_format=layout) for _ in range(2)]
        self.views = [view.to(chosen.device) for view in views]

    def forward(self, network, views):
        """The networks multiply in bf16 where it is asked for; losses are in single precision."""
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.autocast):
            return [network(view).float() for view in views]

    def loss(self):
        outputs = self.forward(self.run_student, self.views)
        if self.method == "simclr":
            return simclr_loss(outputs)
        with torch.no_grad():
            targets = self.forward(self.run_teacher, self.views)
        if self.method == "byol":
            return byol_loss(outputs, targets)
        return vssl_loss(self.student, outputs, targets)

    def step(self):
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.teacher is not None:
            with torch.no_grad():
                averages = list(self.teacher.parameters())
                values = list(self.student.encoder.parameters())
                torch._foreach_lerp_(averages, values, 1 - KEPT_BY_TEACHER)
        # Waits for the device, as `vssl` does once a step.
        return loss.item()


def peak_mib():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)


def main():
    chosen = arguments()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    on_gpu = chosen.device.startswith("cuda")
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    trainer = Trainer(chosen)
    seconds, loss, first = [], 0.0, None
    for step in range(chosen.warmup + chosen.steps):
        start = time.perf_counter()
        loss = trainer.step()
        if on_gpu:
            torch.cuda.synchronize()
        spent = time.perf_counter() - start
        first = spent if first is None else first
        if step >= chosen.warmup:
            seconds.append(spent)
    median = statistics.median(seconds)
    print(json.dumps({
        "peer": f"torch {torch.__version__}",
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "precision": chosen.precision,
        "method": chosen.method,
        "backbone": chosen.backbone,
        "width": chosen.width,
        "size": chosen.size,
        "stem": chosen.stem,
        "batch": chosen.batch,
        "threads": torch.get_num_threads(),
        "channels_last": chosen.channels_last,
        "compiled": chosen.compile,
        "step_s_median": round(median, 4),
        "step_s_min": round(min(seconds), 4),
        "first_step_s": round(first, 2),
        "images_per_s": round(chosen.batch / median, 2),
        "loss": round(loss, 4),
        "peak_rss_mib": peak_mib(),
        "device_mib": torch.cuda.max_memory_allocated() >> 20 if on_gpu else None,
        "device_reserved_mib": torch.cuda.max_memory_reserved() >> 20 if on_gpu else None,
    }))


if __name__ == "__main__":
    main()
