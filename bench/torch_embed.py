#!/usr/bin/env python3
"""Features of a folder of images in PyTorch: the counterpart of `vssl bench embed`.

A DataLoader reads the files with Pillow, scales the shorter side to 256/224 of the crop and cuts the
centre out, as torchvision's evaluations do; the network runs in inference mode and without its
classifier. The weights are random.

    python bench/torch_embed.py --root photos --backbone resnet18 --threads 2 --channels-last
    python bench/torch_embed.py --root photos --backbone vit_small_patch16_224 --compile
    python bench/torch_embed.py --root cifar10 --backbone resnet18 --size 32 --stem cifar

The backbone is a name of vssl, torchvision or timm; a network of torchvision loses its last part, which is the
classifier. The last line is one JSON object with the keys of
`vssl bench embed --json`. The clock starts before the DataLoader's processes and after a first batch of
noise, in which PyTorch chooses its kernels and compiles: that batch is not counted. Memory is that of
the main process; workers_mib is that of the largest worker process.
"""

import argparse
import json
import os
import pathlib
import resource
import sys
import time

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

from torch_step import wide_resnet28

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
# Names of vssl beside those of timm.
TIMM = {
    "vit-tiny": "vit_tiny_patch16_224",
    "vit-small": "vit_small_patch16_224",
    "vit-base": "vit_base_patch16_224",
}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="folder of images, searched at any depth")
    parser.add_argument("--images", type=int, help="images of the run; a smaller folder is read repeatedly")
    parser.add_argument("--backbone", default="resnet18", help="name of vssl, torchvision or timm")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--stem", choices=["imagenet", "cifar"], default="imagenet", help="of a ResNet")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that decode")
    parser.add_argument("--threads", type=int, help="PyTorch's own choice unless given")
    parser.add_argument("--channels-last", action="store_true", help="memory format of images")
    parser.add_argument("--compile", action="store_true", help="run through torch.compile")
    chosen = parser.parse_args()
    if chosen.stem == "cifar" and "resne" not in chosen.backbone:
        parser.error(f"--stem cifar: {chosen.backbone} is not a ResNet; leave it out")
    if chosen.stem == "cifar" and chosen.backbone == "wide-resnet28":
        parser.error("--stem cifar: a Wide ResNet-28 has one stem, for small images; leave it out")
    return chosen


class Files(Dataset):
    """Image files, transformed as for ImageNet; images of the right size stay as they are."""

    def __init__(self, root, count, size):
        files = [path for path in pathlib.Path(root).rglob("*") if path.suffix.lower() in ENDINGS]
        if not files:
            raise SystemExit(f"{root}: no images")
        files.sort()
        count = count or len(files)
        self.files = [files[index % len(files)] for index in range(count)]
        self.transform = transforms.Compose([
            transforms.Resize(-(-size * 256 // 224)),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ])

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB"))


def backbone(chosen):
    if chosen.backbone == "wide-resnet28":
        return wide_resnet28()[0]
    name = TIMM.get(chosen.backbone, chosen.backbone)
    if hasattr(models, name) and name not in TIMM.values():
        network = getattr(models, name)(weights=None)
        # The classifier: `fc` of a ResNet, `classifier` of a ConvNeXt, `heads` of a transformer.
        setattr(network, list(network.named_children())[-1][0], nn.Identity())
        if chosen.stem == "cifar":
            width = network.conv1.out_channels
            network.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
            network.maxpool = nn.Identity()
        return network
    import timm

    sized = {"img_size": chosen.size} if name.startswith("vit") else {}
    return timm.create_model(name, num_classes=0, **sized)


def main():
    chosen = arguments()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    network = backbone(chosen).eval()
    images = Files(chosen.root, chosen.images, chosen.size)
    layout = torch.channels_last if chosen.channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)
    if chosen.compile:
        network = torch.compile(network)
    rows, dim = 0, 0
    with torch.inference_mode():
        noise = torch.randn(chosen.batch, 3, chosen.size, chosen.size)
        network(noise.to(memory_format=layout))
        began = time.perf_counter()
        loader = DataLoader(images, batch_size=chosen.batch, num_workers=chosen.workers)
        for batch in loader:
            if chosen.compile and len(batch) < chosen.batch:
                # A batch of another size would be compiled anew.
                short = len(batch)
                batch = torch.cat([batch, batch.new_zeros(chosen.batch - short, *batch.shape[1:])])
                features = network(batch.to(memory_format=layout))[:short]
            else:
                features = network(batch.to(memory_format=layout))
            features = features.flatten(1)
            rows += len(features)
            dim = features.shape[1]
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    print(json.dumps({
        "torch": torch.__version__, "backbone": chosen.backbone, "size": chosen.size,
        "batch": chosen.batch, "images": rows, "threads": torch.get_num_threads(),
        "workers": chosen.workers, "channels_last": chosen.channels_last,
        "compile": chosen.compile, "seconds": round(seconds, 3),
        "images_per_s": round(rows / seconds, 2), "dim": dim, "peak_rss_mib": peak,
        "workers_mib": workers,
    }))


if __name__ == "__main__":
    sys.exit(main())
