#!/usr/bin/env python3
"""Two SimCLR views an image as batches for a training in PyTorch: `vssl.Views` against a DataLoader with torchvision.

    python bench/torch_loader.py --size 32 --threads 2
    python bench/torch_loader.py --size 224 --root photos --threads 2

Both sides use as many workers: threads of vssl, processes of the DataLoader (`persistent_workers`, each with one thread).
They take turns, and each turn is timed after its first batches. Without --root the images are noise in memory, 32 pixels
a side; with it they are files. The last line is one JSON object. Needs the package vssl, PyTorch and torchvision.
"""

import argparse
import itertools
import json
import pathlib
import statistics
import time

import numpy
import torch
from PIL import Image

from torchvision_augment import ENDINGS, MEAN, STD, view

import vssl

WARMUP = 2
BATCH = 64


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=32, help="side of the views in pixels")
    parser.add_argument("--root", type=pathlib.Path, help="folder of images")
    parser.add_argument("--threads", type=int, default=2, help="workers of either side")
    parser.add_argument("--seconds", type=float, default=6.0, help="time of a turn")
    parser.add_argument("--turns", type=int, default=3, help="turns of each side")
    chosen = parser.parse_args()
    chosen.blur = 0.0 if chosen.size <= 32 else 0.5
    return chosen


class Pictures(torch.utils.data.Dataset):
    """Two views of each picture."""

    def __init__(self, pictures, size, blur):
        self.pictures, self.view = pictures, view(size, blur)

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        picture = self.pictures[index]
        image = Image.open(picture).convert("RGB") if isinstance(picture, pathlib.Path) else Image.fromarray(picture)
        return self.view(image), self.view(image)


def rate(batches, seconds):
    """Images a second."""
    for _ in itertools.islice(batches, WARMUP):
        pass
    began, images = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        images += next(batches)[0].shape[0]
    return images / (time.perf_counter() - began)


def endless(loader):
    while True:
        yield from loader


def main():
    chosen = arguments()
    if chosen.root:
        pictures = sorted(path for path in chosen.root.rglob("*") if path.suffix.lower() in ENDINGS)
        images = [str(path) for path in pictures]
    else:
        noise = numpy.random.default_rng(0).integers(0, 256, (2048, 32, 32, 3), dtype=numpy.uint8)
        pictures = images = noise
    groups = [{"count": 2, "size": chosen.size, "crop_scale": [0.2, 1.0], "blur": chosen.blur}]
    batch = min(BATCH, len(pictures))
    views = vssl.Views(groups, images, batch=batch, mean=MEAN, std=STD, workers=chosen.threads)
    loader = torch.utils.data.DataLoader(
        Pictures(pictures, chosen.size, chosen.blur),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=chosen.threads,
        persistent_workers=True,
    )
    rates = {"vssl": [], "torchvision": []}
    for _ in range(chosen.turns):
        own = ([torch.from_numpy(array) for array in batch.views] for batch in views)
        rates["vssl"].append(rate(own, chosen.seconds))
        own.close()
        rates["torchvision"].append(rate(endless(loader), chosen.seconds))
    middle = {name: statistics.median(found) for name, found in rates.items()}
    figures = {name: [round(one, 1) for one in found] for name, found in rates.items()}
    ratio = middle["vssl"] / middle["torchvision"]
    print(json.dumps({"size": chosen.size, "threads": chosen.threads, "images_per_s": figures, "ratio": round(ratio, 2)}))


if __name__ == "__main__":
    main()
