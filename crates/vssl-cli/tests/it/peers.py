"""Writes checkpoints as other programs do, and reads what vssl made of them.

python peers.py write FOLDER   checkpoints, images.f32 (batch, 3, size, size) and features.f32 of each case
python peers.py check FOLDER   exported files: strict loading and features by onnxruntime
python peers.py foreign FOLDER networks that vssl must not take for its own: a file and the words of the refusal
Exits with 77 where a package is missing.
"""
import io
import json
import os
import pickle
import struct
import sys
import tarfile

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
    # The folder inside the archive is named after the file: 21 letters.
    yield "checkpoint_epoch_0100.pth", full, net, 64, []
    yield "numpy-resnet18.pkl", {k: v.numpy() for k, v in full.items()}, net, 64, []
    yield "legacy-resnet18.pth", full, net, 64, []
    yield "whole-resnet18.pth", net, net, 64, []
    yield "tar-resnet18.pth", full, net, 64, []
    net = torchvision.models.resnet50()
    full = weights(alive(net))
    yield "torchvision-resnet50.pth", full, headless_with(net, full), 64, []
    net = timm.create_model("resnet18", num_classes=0)
    yield "timm-resnet18.safetensors", weights(alive(net)), net, 64, []
    net = timm.create_model("vit_tiny_patch16_224", num_classes=10).eval()
    full = weights(net)
    net.reset_classifier(0)
    token = ["--pooling", "token", "--heads", "3"]
    yield "timm-vit-tiny.pth", full, net.eval(), 224, token
    yield from transformers()
    yield from newer()
    net = torchvision.models.VisionTransformer(32, 16, 12, 3, 192, 768)
    full = weights(net)
    net.heads = torch.nn.Identity()
    yield "torchvision-vit.pt", full, net.eval(), 32, ["--heads", "3"]
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


def attending(network):
    """Attention that differs from place to place, as after training: heads and pooling show."""
    for name, parameter in network.named_parameters():
        if name.endswith("attn.qkv.weight"):
            parameter.data.mul_(2)
    return network.eval()


def transformers():
    named = lambda prefix, network: {prefix + k: v for k, v in network.state_dict().items()}
    vit = lambda **more: attending(timm.create_model("vit_small_patch16_224", num_classes=0, **more))
    net = vit()
    yield "timm-vit-small.pth", net.state_dict(), net, 224, ["--pooling", "token", "--heads", "6"]
    net = vit(global_pool="avg", fc_norm=False)
    yield "timm-vit-mean.pth", net.state_dict(), net, 224, ["--pooling", "mean", "--heads", "6"]
    # facebookresearch/moco-v3, vits.py: 12 heads where timm has 6.
    net = vit(num_heads=12)
    state = named("module.base_encoder.", net) | {"module.predictor.0.weight": torch.zeros(4, 4)}
    yield "mocov3-vit-small.pth.tar", {"epoch": 300, "state_dict": state}, net, 224, []
    # facebookresearch/dino, main_dino.py; the small one has heads that only the file's user knows.
    net = attending(timm.create_model("vit_tiny_patch16_224", num_classes=0))
    state = named("backbone.", net) | {"head.last_layer.weight_v": torch.zeros(4, 4)}
    said = ["--network", "teacher", "--heads", "3"]
    yield "dino-vit-tiny.pth", {"teacher": state, "epoch": 9}, net, 224, said
    # A token for masked patches, and the counter of torch.optim.swa_utils.AveragedModel.
    state = named("module.", net) | {"module.mask_token": torch.zeros(1, 1, 192)}
    state["n_averaged"] = torch.tensor(3)
    yield "averaged-vit-tiny.pth", state, net, 224, ["--pooling", "token", "--heads", "3"]


def lively(network):
    """Scales and factors that are not their initial values, which would hide them."""
    for name, parameter in network.named_parameters():
        if name.endswith(("gamma", "gamma_1", "gamma_2", "layer_scale", "grn.weight", "grn.bias")):
            parameter.data.uniform_(0.2, 1)
        elif name.endswith(("reg_token", "cls_token", "pos_embed")):
            parameter.data.normal_(0, 0.5)
        elif name.endswith((".bias", "q_bias", "v_bias")):
            parameter.data.normal_(0, 0.1)
    return attending(network)


def dinov2(state, registers):
    """The names of facebookresearch/dinov2."""
    named = {"mask_token": torch.zeros(1, state["cls_token"].shape[-1])}
    for name, value in state.items():
        name = name.replace("reg_token", "register_tokens")
        if registers == "gated":
            name = name.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.")
        named[name] = value
    return named


def published(state):
    """The names of facebookresearch/ConvNeXt-V2."""
    named = {}
    for name, value in state.items():
        name = name.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm.")
        if ".downsample." in name:
            name = name.replace("stages.", "downsample_layers.").replace(".downsample.", ".")
        name = name.replace(".blocks.", ".").replace("conv_dw", "dwconv")
        name = name.replace("mlp.fc1", "pwconv1").replace("mlp.fc2", "pwconv2")
        if ".mlp.grn." in name:
            name = name.replace("mlp.grn.weight", "grn.gamma").replace("mlp.grn.bias", "grn.beta")
            value = value[None, None, None]
        named[name] = value
    return named


def dinov3(state):
    """The names of facebookresearch/dinov3."""
    width = state["cls_token"].shape[-1]
    named = {"mask_token": torch.zeros(1, width), "rope_embed.periods": 100 ** (torch.arange(16) / 16)}
    renames = {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
    renames |= {".fc1_g.": ".w1.", ".fc1_x.": ".w2."}
    is_gated = any(".fc1_g." in name for name in state)
    for name, value in state.items():
        for ours, theirs in renames.items():
            name = name.replace(ours, theirs)
        if is_gated:
            name = name.replace(".mlp.fc2.", ".mlp.w3.")
        if name.endswith(".q_bias"):
            # The bias of the keys is not 0 in the file, but masked.
            name, keys = name.replace("q_bias", "qkv.bias"), torch.ones(width)
            values = state[name.replace("qkv.bias", "v_bias")]
            named[name + "_mask"] = torch.cat([torch.ones(width), torch.zeros(width), torch.ones(width)])
            value = torch.cat([value, keys, values])
        if not name.endswith(".v_bias"):
            named[name] = value
    return named


def hugging_face(state):
    """The names of transformers' DINOv3ViT."""
    width = state["cls_token"].shape[-1]
    named = {"embeddings.mask_token": torch.zeros(1, 1, width)}
    renames = {"cls_token": "embeddings.cls_token", "reg_token": "embeddings.register_tokens"}
    renames |= {"patch_embed.proj": "embeddings.patch_embeddings", "blocks.": "layer."}
    renames |= {"gamma_1": "layer_scale1.lambda1", "gamma_2": "layer_scale2.lambda1"}
    renames |= {"attn.proj": "attention.o_proj", "attn.": "attention.", ".fc1_g.": ".gate_proj."}
    renames |= {".fc1_x.": ".up_proj.", ".fc1.": ".up_proj.", ".fc2.": ".down_proj."}
    renames |= {"q_bias": "q_proj.bias", "v_bias": "v_proj.bias"}
    for name, value in state.items():
        for ours, theirs in renames.items():
            name = name.replace(ours, theirs)
        if ".qkv." in name:
            for part, own in zip("qkv", value.chunk(3)):
                named[name.replace("qkv", part + "_proj")] = own.contiguous()
        else:
            named[name] = value
    return named


def rotary(make):
    """DINOv3 by the names of three programs."""
    token = ["--pooling", "token"]
    small = lambda name, **more: make(name, depth=2, **more)
    net = make("vit_small_patch16_dinov3", global_pool="token")
    yield "timm-vit_small_patch16_dinov3.pth", net.state_dict(), net, 96, token
    yield "published-dinov3.pth", dinov3(net.state_dict()), net, 64, []
    net = small("vit_small_patch16_dinov3_qkvb")
    said = ["--heads", "6", "--pooling", "mean"]
    yield "timm-dinov3-mean.pth", net.state_dict(), net, 64, said
    net = small("vit_small_plus_patch16_dinov3_qkvb", global_pool="token")
    yield "published-dinov3-plus.pth", dinov3(net.state_dict()), net, 80, said[:2]
    yield "huggingface-dinov3-plus.safetensors", hugging_face(net.state_dict()), net, 80, said[:2]
    net = small("vit_small_patch16_dinov3", global_pool="token")
    yield "huggingface-dinov3.safetensors", hugging_face(net.state_dict()), net, 64, said[:2]


def newer():
    """Networks that came after the ResNets and transformers of the other cases."""
    token = ["--pooling", "token"]
    make = lambda name, **more: lively(timm.create_model(name, num_classes=0, **more))
    net = make("vit_small_patch14_dinov2", img_size=98)
    yield "timm-vit_small_patch14_dinov2.pth", net.state_dict(), net, 98, token
    yield "published-dinov2.pth", dinov2(net.state_dict(), ""), net, 98, []
    # Images of another size than the positions are for.
    wide = make("vit_small_patch14_dinov2", img_size=98, dynamic_img_size=True)
    yield "resampled-dinov2.pth", wide.state_dict(), wide, 126, token
    net = make("vit_small_patch14_reg4_dinov2", img_size=98)
    yield "timm-vit_small_patch14_reg4_dinov2.pth", net.state_dict(), net, 98, token
    small = {"img_size": 64, "embed_dim": 48, "depth": 3, "num_heads": 4, "num_classes": 0}
    vit = lambda **more: lively(timm.models.vision_transformer.VisionTransformer(**small | more))
    said = ["--heads", "4"]
    for name, more, arguments in [
        ("scaled", {"init_values": 1e-5}, token),
        ("registers", {"reg_tokens": 4}, token),
        ("registers-apart", {"reg_tokens": 4, "no_embed_class": True}, token),
        ("class-apart", {"no_embed_class": True}, token),
        ("unbiased", {"qkv_bias": False}, token),
        ("mean", {"global_pool": "avg", "fc_norm": True}, []),
        ("mean-registers", {"global_pool": "avg", "reg_tokens": 3, "no_embed_class": True}, []),
        ("classless", {"class_token": False, "global_pool": "avg"}, []),
        ("classless-mean", {"class_token": False, "global_pool": "avg", "fc_norm": False}, ["--pooling", "mean"]),
    ]:
        net = vit(**more)
        yield f"vit-{name}.pth", net.state_dict(), net, 64, said + arguments
    gated = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU, "mlp_ratio": 16 / 3}
    net = vit(init_values=1e-5, **gated)
    yield "vit-gated.pth", net.state_dict(), net, 64, said + token
    yield "published-gated.pth", dinov2(net.state_dict(), "gated"), net, 64, said
    yield from rotary(make)
    for name in ["convnext_atto", "convnextv2_atto"]:
        net = make(name)
        yield f"timm-{name}.pth", net.state_dict(), net, 64, []
    yield "published-convnextv2.pth", published(net.state_dict()), net, 64, []
    full = lively(torchvision.models.convnext_tiny())
    state = {name: value.clone() for name, value in full.state_dict().items()}
    full.classifier[2] = torch.nn.Identity()
    yield "torchvision-convnext_tiny.pth", state, full, 64, []
    for name in ["resnet18d", "resnet50d"]:
        net = alive(timm.create_model(name, num_classes=0))
        yield f"timm-{name}.pth", net.state_dict(), net, 70, []
    net = headless(torchvision.models.wide_resnet50_2())
    yield "torchvision-wide_resnet50_2.pth", net.state_dict(), net, 64, []


class Gated(torchvision.models.resnet.BasicBlock):
    """A block whose gate has a layer called `fc`, as in moskomule/senet.pytorch."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.se = torch.nn.Module()
        self.se.fc = torch.nn.Sequential(torch.nn.Linear(arguments[1], 4, bias=False))


def strangers():
    resnet = torchvision.models.ResNet(Gated, [2, 2, 2, 2])
    yield "gated.pth", resnet.state_dict(), [], ["layer1.0.se.fc.0.weight", "a gate"]
    resnet = timm.create_model("seresnet18", num_classes=0)
    yield "se.pth", resnet.state_dict(), [], ["layer1.0.se"]
    resnet = torchvision.models.resnext50_32x4d()
    yield "resnext.pth", resnet.state_dict(), [], ["layer1.0.bn1.bias", "another shape"]
    resnet = timm.create_model("resnet26t", num_classes=0)
    yield "resnet-t.pth", resnet.state_dict(), [], ["its stages have"]
    small = {"embed_dim": 192, "depth": 12, "num_heads": 3, "num_classes": 0}
    said = ["--pooling", "token", "--heads", "3"]
    vit = timm.models.vision_transformer.VisionTransformer
    yield "unsaid.pth", vit(**small).state_dict(), said[2:], ["--pooling token", "--pooling mean"]
    for name, more, words in [
        ("normed", {"qk_norm": True}, "a norm of queries and keys"),
        ("before", {"pre_norm": True}, "a norm before the blocks"),
        ("attending", {"global_pool": "map"}, "pooling by attention"),
    ]:
        yield f"{name}.pth", vit(**small, **more).state_dict(), said, [words]
    beit = timm.create_model("beit_base_patch16_224", num_classes=0).state_dict()
    yield "beit.pth", beit, said[:2], ["pos_embed"]
    named = {"module.base_encoder." + k: v for k, v in vit(**small | {"embed_dim": 384}).state_dict().items()}
    yield "moco.pth", named, ["--heads", "6"], ["MoCo V3", "--heads"]
    net = torchvision.models.resnet18()
    net.layer2[0].bn1.weight.data[3] = float("nan")
    yield "nan.pth", net.state_dict(), [], ["layer2.0.bn1.weight", "of its 128 values, 1 is infinite"]


def foreign(folder):
    with open(os.path.join(folder, "foreign.txt"), "w") as file:
        for name, state, arguments, words in strangers():
            torch.save(state, os.path.join(folder, name))
            file.write("\t".join([name, str(len(arguments))] + arguments + words) + "\n")


def headless_with(network, _):
    network.fc = torch.nn.Identity()
    return network.eval()


def save_tar(state, path):
    """The format before PyTorch 0.1.10, which PyTorch still reads."""
    tensors = {str(index): value for index, value in enumerate(state.values())}
    numbers = {id(value): key for key, value in tensors.items()}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return numbers.get(id(value))

    kinds = {torch.float32: torch.FloatStorage, torch.int64: torch.LongStorage}
    files = {name: io.BytesIO() for name in ["sys_info", "pickle", "tensors", "storages"]}
    pickle.dump({"protocol_version": 1000, "little_endian": True}, files["sys_info"], 2)
    Pickler(files["pickle"], 2).dump(state)
    for name in ["tensors", "storages"]:
        pickle.dump(len(tensors), files[name], 2)
    for key, value in tensors.items():
        # Each storage begins two numbers before its tensor; keys of storages are numbers.
        pickle.dump((1000 + int(key), "cpu", kinds[value.dtype]), files["storages"], 2)
        padded = torch.cat([torch.zeros(2, dtype=value.dtype), value.flatten()])
        files["storages"].write(struct.pack("<q", len(padded)) + padded.numpy().tobytes())
        pickle.dump((int(key), 1000 + int(key), kinds[value.dtype]), files["tensors"], 2)
        numbers_of = [*value.shape, *value.stride(), 2]
        files["tensors"].write(struct.pack(f"<ii{len(numbers_of)}q", value.dim(), 0, *numbers_of))
    pickle.dump([], files["storages"], 2)
    with tarfile.open(path, "w") as archive:
        for name, file in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(file.getvalue())
            archive.addfile(entry, io.BytesIO(file.getvalue()))


def lower(name):
    """By how many rows an image is lower that the network takes as well."""
    if "dinov3" in name:
        return 16
    return 5 if any(kind in name for kind in ("resnet18d", "convnextv2_atto")) else 0


def write(folder):
    index = []
    for name, checkpoint, network, size, arguments in cases():
        path = os.path.join(folder, name)
        if name.endswith(".safetensors"):
            save_file(checkpoint, path)
        elif name.endswith(".pkl"):
            with open(path, "wb") as file:
                pickle.dump(checkpoint, file)
        elif name.startswith("tar-"):
            save_tar(checkpoint, path)
        else:
            torch.save(checkpoint, path, _use_new_zipfile_serialization="legacy" not in name)
        images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            features = network(images)
        # vssl's loader hands out channels last.
        images.permute(0, 2, 3, 1).contiguous().numpy().tofile(path + ".images.f32")
        features.numpy().tofile(path + ".features.f32")
        if less := lower(name):
            with torch.no_grad():
                network(images[:, :, : size - less]).numpy().tofile(path + ".lower.f32")
        index.append([name, str(size), str(features.shape[1])] + arguments)
    with open(os.path.join(folder, "index.txt"), "w") as file:
        file.write("\n".join("\t".join(line) for line in index) + "\n")


def strict(name, path):
    """torch's own loading of the exported safetensors, nothing missing but what a head is."""
    tensors = load_file(path)
    library, _, model = name.rsplit(".", 1)[0].partition("-")
    if name == "timm-vit-tiny.pth":
        network = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    elif library == "timm" and "dinov2" in model:
        network = timm.create_model(model, num_classes=0, img_size=98)
    elif library == "timm" and model.endswith("patch16_dinov3"):
        network = timm.create_model(model, num_classes=0)
    elif library == "timm" and ("resnet" in model or "convnext" in model):
        network = timm.create_model(model, num_classes=0)
    elif library == "torchvision" and "resnet" in model:
        network = getattr(torchvision.models, model)()
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
        if os.path.exists(path + ".lower.f32"):
            lower_features = numpy.fromfile(path + ".lower.f32", numpy.float32).reshape(3, dim)
            session = onnxruntime.InferenceSession(path + ".any.onnx")
            for rows, features in [(size, expected), (size - lower(name), lower_features)]:
                (found,) = session.run(["features"], {"images": images[:, :, :rows]})
                error = numpy.linalg.norm(found - features) / numpy.linalg.norm(features)
                assert error < 1e-5, (name, rows, error)
        onnx.checker.check_model(onnx.load(path + ".half.onnx"), full_check=True)
        session = onnxruntime.InferenceSession(path + ".half.onnx")
        (found,) = session.run(["features"], {"images": images})
        error = numpy.linalg.norm(found - expected) / numpy.linalg.norm(expected)
        assert error < 5e-3, (name, "half", error)
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
            assert error < 1e-5, name


{"write": write, "check": check, "foreign": foreign}[sys.argv[1]](sys.argv[2])
