"""Writes checkpoints as other programs do, and reads what vssl made of them.

python peers.py write FOLDER   checkpoints, images.f32 (batch, 3, size, size) and features.f32 of each case
python peers.py check FOLDER   exported files: strict loading and features by onnxruntime
Exits with 77 where a package is missing.
"""
import json
import os
import sys

try:
    import numpy
    import onnx
    import onnxruntime
    import timm
    import torch
    import torchvision
    from lightly.models import ResNetGenerator
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print("missing:", error)
    sys.exit(77)

torch.manual_seed(3)


def alive(network):
    """Running statistics and scales that are not their initial values."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


def headless(network):
    network.fc = torch.nn.Identity()
    return alive(network)


def cifar(network, padding):
    network.conv1 = torch.nn.Conv2d(3, 64, 3, 1, padding, bias=False)
    network.maxpool = torch.nn.Identity()
    return network


def solo(student, teacher):
    """The layout of a Lightning checkpoint of solo-learn's BYOL."""
    state = {}
    for prefix, network in [("backbone.", student), ("momentum_backbone.", teacher)]:
        state |= {prefix + name: value for name, value in network.state_dict().items()}
    for prefix in ["projector", "momentum_projector", "predictor", "classifier"]:
        head = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4))
        state |= {f"{prefix}.{name}": value for name, value in head.state_dict().items()}
    optimiser = torch.optim.SGD(student.parameters(), 1e-5, momentum=0.9)
    sum(parameter.sum() for parameter in student.parameters()).backward()
    optimiser.step()
    return {
        "epoch": 7,
        "global_step": 700,
        "pytorch-lightning_version": "1.6.4",
        "state_dict": state,
        "loops": {"fit_loop": {"epoch_progress": {"current": {"ready": 7}}}},
        "callbacks": {},
        "optimizer_states": [optimiser.state_dict()],
        "lr_schedulers": [],
        "hyper_parameters": {"method": "byol", "backbone": {"name": "resnet18"}, "lr": 0.1},
    }


def cases():
    weights = lambda network: {k: v.clone() for k, v in network.state_dict().items()}
    net = torchvision.models.resnet18()
    full = weights(alive(net))
    yield "torchvision-resnet18.pth", full, headless_with(net, full), 64, []
    net = torchvision.models.resnet50()
    full = weights(alive(net))
    yield "torchvision-resnet50.pth", full, headless_with(net, full), 64, []
    net = timm.create_model("resnet18", num_classes=0)
    yield "timm-resnet18.safetensors", weights(alive(net)), net, 64, []
    net = timm.create_model("vit_tiny_patch16_224", num_classes=10).eval()
    full = weights(net)
    net.reset_classifier(0)
    yield "timm-vit-tiny.pth", full, net.eval(), 224, []
    net = torchvision.models.VisionTransformer(32, 16, 12, 3, 192, 768)
    full = weights(net)
    net.heads = torch.nn.Identity()
    yield "torchvision-vit.pt", full, net.eval(), 32, []
    small = ["--stem-padding", "1", "--normalisation", "cifar10"]
    net = alive(cifar(torchvision.models.resnet18(), 1))
    children = torch.nn.Sequential(*list(net.children())[:-1])
    full = {"backbone." + k: v for k, v in weights(children).items()}
    full["projection_head.layers.0.weight"] = torch.zeros(4, 4)
    # The max-pool that lightly's tutorial drops has no weights: the number of a stage stays.
    yield "lightly-module.pth", full, torch.nn.Sequential(children, torch.nn.Flatten()), 32, small
    net = alive(ResNetGenerator("resnet-18"))
    full = {"backbone." + k: v for k, v in weights(net).items()}
    net.linear = torch.nn.Identity()
    yield "lightly-generator.ckpt", {"state_dict": full, "epoch": 1}, net, 32, small
    student = headless(cifar(torchvision.models.resnet18(), 2))
    teacher = headless(cifar(torchvision.models.resnet18(), 2))
    checkpoint = solo(student, teacher)
    arguments = ["--stem-padding", "2", "--normalisation", "cifar10"]
    before = checkpoint["state_dict"]
    student.load_state_dict({k[9:]: v for k, v in before.items() if k.startswith("backbone.")})
    yield "solo.ckpt", checkpoint, student.eval(), 32, arguments
    yield "solo-teacher.ckpt", checkpoint, teacher, 32, arguments + ["--network", "teacher"]


def headless_with(network, _):
    network.fc = torch.nn.Identity()
    return network.eval()


def write(folder):
    index = []
    for name, checkpoint, network, size, arguments in cases():
        path = os.path.join(folder, name)
        if name.endswith(".safetensors"):
            save_file(checkpoint, path)
        else:
            torch.save(checkpoint, path)
        images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            features = network(images)
        # vssl's loader hands out channels last.
        images.permute(0, 2, 3, 1).contiguous().numpy().tofile(path + ".images.f32")
        features.numpy().tofile(path + ".features.f32")
        index.append([name, str(size), str(features.shape[1])] + arguments)
    with open(os.path.join(folder, "index.txt"), "w") as file:
        file.write("\n".join("\t".join(line) for line in index) + "\n")


def strict(name, path):
    """torch's own loading of the exported safetensors, nothing missing but what a head is."""
    tensors = load_file(path)
    if name == "timm-vit-tiny.pth":
        timm.create_model("vit_tiny_patch16_224", num_classes=0).load_state_dict(tensors, strict=True)
        return
    if name.startswith("timm-resnet18"):
        network = timm.create_model("resnet18", num_classes=0)
    elif name.startswith("torchvision-resnet"):
        network = getattr(torchvision.models, name.split("-")[1].split(".")[0])()
        network.fc = torch.nn.Identity()
    else:
        return
    counts = {k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    network.load_state_dict(tensors | counts, strict=True)


def check(folder):
    for line in open(os.path.join(folder, "index.txt")):
        name, size, dim = line.rstrip("\n").split("\t")[:3]
        path = os.path.join(folder, name)
        size, dim = int(size), int(dim)
        images = numpy.fromfile(path + ".images.f32", numpy.float32).reshape(3, size, size, 3)
        images = numpy.ascontiguousarray(images.transpose(0, 3, 1, 2))
        expected = numpy.fromfile(path + ".features.f32", numpy.float32).reshape(3, dim)
        strict(name, path + ".encoder.safetensors")
        model = onnx.load(path + ".onnx")
        onnx.checker.check_model(model, full_check=True)
        properties = {p.key: p.value for p in model.metadata_props}
        for kind in ["", ".0-255"]:
            session = onnxruntime.InferenceSession(path + kind + ".onnx")
            feed = images
            if kind:
                mean, std = (
                    numpy.array([float(x) for x in properties[key].split(",")], numpy.float32)
                    for key in ("mean", "std")
                )
                feed = (images * std[:, None, None] + mean[:, None, None]) * 255
            (whole,) = session.run(["features"], {"images": feed})
            (one,) = session.run(["features"], {"images": feed[:1]})
            assert whole.shape == (3, dim) and one.shape == (1, dim), (whole.shape, one.shape)
            error = numpy.linalg.norm(whole - expected) / numpy.linalg.norm(expected)
            print(f"{name}{kind}: onnxruntime against torch {error:.1e}")
            assert error < 1e-4, name


{"write": write, "check": check}[sys.argv[1]](sys.argv[2])
