#!/usr/bin/env python3
"""Two SimCLR views an image by torchvision and Pillow: the counterpart of `vssl bench data`.

    python bench/torchvision_augment.py --size 32
    python bench/torchvision_augment.py --size 224 --root photos

Without --root the images are noise in memory, 32 pixels a side; with it, files are decoded once
for both views. One process, one thread. The last line is one JSON object with the key
images_per_s_per_core. Needs PyTorch, torchvision and Pillow.
"""

import argparse
import json
import pathlib
import random
import time

import numpy
import torch
from PIL import Image, ImageFilter
from torchvision import transforms

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WARMUP = 20


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=32, help="side of the views in pixels")
    parser.add_argument("--root", type=pathlib.Path, help="folder of images")
    parser.add_argument("--images", type=int, default=2000, help="images that are timed")
    parser.add_argument("--blur", type=float, help="probability; 0 up to 32 pixels, else 0.5")
    chosen = parser.parse_args()
    if chosen.blur is None:
        chosen.blur = 0.0 if chosen.size <= 32 else 0.5
    return chosen


def blurred(image):
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def view(size, blur):
    return transforms.Compose([
        transforms.RandomResizedCrop(
            size, scale=(0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC
        ),
        transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
        transforms.RandomGrayscale(p=0.2),
        transforms.RandomApply([blurred], p=blur),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])


def source(root):
    """A function from a number to an image."""
    if root is None:
        noise = numpy.random.default_rng(0).integers(0, 256, (512, 32, 32, 3), dtype=numpy.uint8)
        return lambda index: Image.fromarray(noise[index % len(noise)])
    files = sorted(f for f in root.rglob("*") if f.suffix.lower() in ENDINGS)
    if not files:
        raise SystemExit(f"{root}: no images")
    return lambda index: Image.open(files[index % len(files)]).convert("RGB")


def main():
    chosen = arguments()
    torch.set_num_threads(1)
    load, make = source(chosen.root), view(chosen.size, chosen.blur)

    def run(images):
        for index in range(images):
            image = load(index)
            make(image)
            make(image)

    run(WARMUP)
    start = time.perf_counter()
    run(chosen.images)
    seconds = time.perf_counter() - start
    print(json.dumps({
        "peer": "torchvision",
        "size": chosen.size,
        "decode": chosen.root is not None,
        "threads": 1,
        "images": chosen.images,
        "images_per_s_per_core": round(chosen.images / seconds, 1),
    }))


if __name__ == "__main__":
    main()
