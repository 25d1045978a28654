"""CIFAR-10 in its binary layout, and the views of torchvision's transforms."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

CLASSES = 10
TRAINING = [f"data_batch_{number}.bin" for number in range(1, 6)]
TEST = ["test_batch.bin"]


def split(recipe, data, files, limit=None):
    """The images [n, 32, 32, 3] and their labels. With a limit, the first images of each class in turn, as vssl's
    `data.limit_train` takes them, in the order of the set."""
    folder = Path(data or ".", recipe["data"]["path"])
    inner = folder / "cifar-10-batches-bin"
    folder = inner if inner.is_dir() else folder
    if not (folder / files[0]).exists():
        raise SystemExit(f"{folder}: there is no {files[0]}; expected CIFAR-10's binary version (data.path, --data)")
    rows = np.concatenate([np.fromfile(folder / file, np.uint8) for file in files]).reshape(-1, 3073)
    if limit:
        if limit % CLASSES:
            raise SystemExit(f"data.limit_train is {limit}; the twin takes whole shares of {CLASSES} classes")
        of_class = [np.flatnonzero(rows[:, 0] == label)[: limit // CLASSES] for label in range(CLASSES)]
        rows = rows[np.sort(np.concatenate(of_class))]
    pixels = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), rows[:, 0].astype(np.int64)


def transform(recipe, group):
    """torchvision's transforms for a view group, up to the normalised tensor."""
    jitter = transforms.ColorJitter(group["brightness"], group["contrast"], group["saturation"], group["hue"])
    return transforms.Compose([
        transforms.RandomResizedCrop(
            group["size"], group["crop_scale"], group["crop_ratio"], InterpolationMode.BICUBIC),
        transforms.RandomApply([jitter], group["jitter"]),
        transforms.RandomGrayscale(group["grayscale"]),
        transforms.RandomHorizontalFlip(group["flip"]),
        normalised(recipe),
    ])


def normalised(recipe):
    normalisation = recipe["data"]["normalisation"]
    return transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(normalisation["mean"], normalisation["std"])])


class Views(torch.utils.data.Dataset):
    """The views of an image, drawn anew each time."""

    def __init__(self, recipe, pixels):
        self.images = [Image.fromarray(image) for image in pixels]
        groups = [[transform(recipe, group)] * group["count"] for group in recipe["views"]]
        self.transforms = [one for group in groups for one in group]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return [transform(self.images[index]) for transform in self.transforms]


def batches(recipe, data):
    """A loader of shuffled, whole batches of views."""
    pixels, _ = split(recipe, data, TRAINING, recipe["data"].get("limit_train"))
    return torch.utils.data.DataLoader(
        Views(recipe, pixels), recipe["train"]["batch"], shuffle=True, drop_last=True)
