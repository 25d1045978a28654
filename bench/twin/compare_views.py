#!/usr/bin/env python3
"""The views and the order of vssl's pipeline beside those of torchvision's transforms and PyTorch's sampler.

    python bench/twin/compare_views.py --vssl target/release/vssl --data data recipes/cifar10-small/vssl.toml

Three tables: what was drawn for views (vssl tells it; torchvision's transforms are asked by the functions that they call
themselves), the pixels of finished views, and the order of the images. z is the difference of the two means in standard
errors; under equality about one in twenty is beyond 2. "distance" is the largest one of the two distribution functions,
as a share of what equality exceeds once in twenty times. Needs the Python package of vssl.
"""

import argparse
import math
import tempfile
from pathlib import Path

import images
import numpy as np
import recipe as recipes
import torch
import vssl
from PIL import Image
from torchvision import transforms

ADJUSTMENTS = ("brightness", "contrast", "saturation", "hue")


def drawn_by_vssl(views, samples, view=0, epoch=0):
    return [views.parameters(epoch, image, view) for image in range(samples)]


def columns_of_vssl(parameters):
    jitters = [dict(one["jitter"]) | {"order": [name for name, _ in one["jitter"]]}
               for one in parameters if one["jitter"]]
    columns = {key: [one[key] for one in parameters] for key in ("top", "left", "height", "width")}
    columns |= {name: [jitter[name] for jitter in jitters] for name in ADJUSTMENTS}
    columns |= {f"{name} comes first": [jitter["order"][0] == name for jitter in jitters] for name in ADJUSTMENTS}
    columns |= {"hue comes last": [jitter["order"][-1] == "hue" for jitter in jitters]}
    return columns | {
        "jitter": [one["jitter"] is not None for one in parameters],
        "grayscale": [one["grayscale"] for one in parameters],
        "flip": [one["flip"] for one in parameters],
    }


def columns_of_torchvision(group, samples):
    """The same columns. Coins are told by what a transform does to a picture that shows it."""
    crop = transforms.RandomResizedCrop.get_params
    picture = Image.new("RGB", (32, 32))
    regions = [crop(picture, group["crop_scale"], group["crop_ratio"]) for _ in range(samples)]
    columns = dict(zip(("top", "left", "height", "width"), map(list, zip(*regions))))
    colours = transforms.ColorJitter(*(group[name] for name in ADJUSTMENTS))
    ranges = [getattr(colours, name) for name in ADJUSTMENTS]
    jitters = [colours.get_params(*ranges) for _ in range(int(samples * group["jitter"]))]
    for index, name in enumerate(ADJUSTMENTS):
        columns[name] = [factors[index + 1] for factors in jitters]
        columns[f"{name} comes first"] = [factors[0][0].item() == index for factors in jitters]
    columns["hue comes last"] = [factors[0][-1].item() == 3 for factors in jitters]
    marked = Image.fromarray(np.array([[[255, 0, 0], [0, 0, 0]]], np.uint8))
    nothing = transforms.Lambda(lambda picture: None)
    coins = {
        "jitter": (transforms.RandomApply([nothing], group["jitter"]), lambda out: out is None),
        "grayscale": (transforms.RandomGrayscale(group["grayscale"]), lambda out: out.getpixel((0, 0))[1] > 0),
        "flip": (transforms.RandomHorizontalFlip(group["flip"]), lambda out: out.getpixel((0, 0)) == (0, 0, 0)),
    }
    return columns | {name: [fell(coin(marked)) for _ in range(samples)] for name, (coin, fell) in coins.items()}


def derived(columns):
    values = {name: np.array(column, float) for name, column in columns.items()}
    values["share of the area"] = values["height"] * values["width"] / 1024
    values["log of the aspect"] = np.log(values["width"] / values["height"])
    values["whole image"] = values["share of the area"] == 1
    return values


def print_row(name, a, b, quantiles=True):
    """One figure of both sides: means, deviations, z, and the largest distance of the distributions."""
    errors = a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)
    z = (b.mean() - a.mean()) / math.sqrt(errors) if errors else 0.0
    spread = f"{a.std():9.4f} {b.std():9.4f} {z:6.2f}"
    if quantiles and len(np.unique(a)) > 2:
        distance, limit = kolmogorov(a, b)
        ends = " ".join(f"{np.quantile(side, q):.3g}" for q in (0.05, 0.5, 0.95) for side in (a, b))
        spread += f" {distance / limit:9.2f}   {ends}"
    print(f"{name:34} {a.mean():9.4f} {b.mean():9.4f} {spread}")


def kolmogorov(a, b):
    """The largest distance of the two distribution functions, and what equality exceeds once in twenty times."""
    places = np.union1d(a, b)
    below = [np.searchsorted(np.sort(side), places, side="right") / len(side) for side in (a, b)]
    return np.abs(below[0] - below[1]).max(), 1.358 * math.sqrt(1 / len(a) + 1 / len(b))


def head(what):
    print(f"\n{what:34} {'vssl':>9} {'PyTorch':>9} {'σ vssl':>9} {'σ PyT.':>9} {'z':>6} {'distance':>9}"
          "   quantiles 5, 50, 95 %, vssl and PyTorch in turn")


def parameters(views, recipe, samples):
    head(f"drawn for {samples} views")
    ours = derived(columns_of_vssl(drawn_by_vssl(views, samples)))
    theirs = derived(columns_of_torchvision(recipe["views"][0], samples))
    for name, values in ours.items():
        print_row(name, values, theirs[name])
    other = {
        "the other view": derived(columns_of_vssl(drawn_by_vssl(views, samples, view=1))),
        "the next epoch": derived(columns_of_vssl(drawn_by_vssl(views, samples, epoch=1))),
        "the next image": {name: np.roll(values, 1) for name, values in ours.items()},
    }
    names = ("share of the area", "log of the aspect", "top", "left", "flip", "jitter", "grayscale")
    for what, values in other.items():
        found = [np.corrcoef(ours[name], values[name])[0, 1] * math.sqrt(samples) for name in names]
        print(f"vssl's correlation with {what}, in standard errors: "
              + ", ".join(f"{name} {value:+.2f}" for name, value in zip(names, found)))


def statistics_of(a, b):
    """Figures of pairs of views [n, 3, h, w] that a method could notice."""
    found = {}
    for channel, name in enumerate(("red", "green", "blue")):
        found[f"mean of {name}"] = a[:, channel].mean((1, 2))
        found[f"deviation within a view of {name}"] = a[:, channel].std((1, 2))
    found["mean of squares"] = (a**2).mean((1, 2, 3))
    found["difference of columns, squared"] = (np.diff(a, axis=3) ** 2).mean((1, 2, 3))
    found["saturation (σ over channels)"] = a.std(1).mean((1, 2))
    flat = [side.reshape(len(side), -1) for side in (a, b)]
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in flat]
    found["cosine of two views of an image"] = (unit[0] * unit[1]).sum(1)
    found["squared distance of these"] = ((flat[0] - flat[1]) ** 2).mean(1)
    found["cosine of views of two images"] = (unit[0] * np.roll(unit[1], 1, 0)).sum(1)
    return found


def pixels(recipe, path, data, samples):
    """Views of the same images: vssl's in the order of its batches, torchvision's of the same images."""
    drawn, count = [], 0
    for batch in vssl.Views(path, data=data, workers=1):
        drawn.append(batch)
        count += len(batch.indices)
        if count >= samples:
            break
    indices = np.concatenate([batch.indices for batch in drawn])
    ours = [np.concatenate([batch.views[view] for batch in drawn]) for view in range(2)]
    raw, labels = images.split(recipe, data, images.TRAINING, recipe["data"].get("limit_train"))
    expected = np.stack(list(vssl.Views(path, data=data, workers=1).images))
    known = np.array_equal(expected, raw)
    print(f"\nthe {len(raw)} training images of both sides are the same, in the same order: {known};"
          f" {', '.join(map(str, np.bincount(labels)))} of each class")
    dataset = images.Views(recipe, raw)
    pairs = [dataset[index] for index in indices]
    theirs = [torch.stack([pair[view] for pair in pairs]).numpy() for view in range(2)]
    head(f"pixels of {len(indices)} pairs of views")
    ours, theirs = statistics_of(*ours), statistics_of(*theirs)
    for name, values in ours.items():
        print_row(name, values, theirs[name])


def order(recipe, path, data):
    views = vssl.Views(path, data=data, workers=1)
    total, batch = len(views.images), views.batch
    labels = np.asarray(views.images.labels)
    seen, shares, orders = np.zeros(total, int), [], []
    epochs = recipe["train"]["epochs"]
    for epoch in range(epochs):
        found = [one.indices for one in views.epoch(epoch)]
        flat = np.concatenate(found)
        if len(np.unique(flat)) != len(flat) or any(len(one) != batch for one in found):
            print(f"epoch {epoch} has an image twice, or a batch that is not whole")
        seen[flat] += 1
        orders.append(flat)
        shares += [np.bincount(labels[one], minlength=images.CLASSES) for one in found]
    rest = total % batch
    print(f"\norder: {epochs} epochs of {len(found)} batches of {batch}, the last {rest} of {total} images left out;"
          " no image twice in an epoch")
    expected = epochs * (total - rest)
    print(f"images seen in all epochs {(seen == epochs).sum()}, expected about {total * (1 - rest / total) ** epochs:.0f};"
          f" in all but one {(seen == epochs - 1).sum()}, in fewer {(seen < epochs - 1).sum()};"
          f" {seen.sum()} of {expected} places")
    places = [np.argsort(np.concatenate([flat, np.setdiff1d(np.arange(total), flat)])) for flat in orders]
    pairs = [np.corrcoef(a, b)[0, 1] * math.sqrt(total) for a, b in zip(places, places[1:])]
    with_index = [np.corrcoef(place, np.arange(total))[0, 1] * math.sqrt(total) for place in places]
    for what, errors in (("that in the next epoch", pairs), ("its number", with_index)):
        print(f"correlation of an image's place with {what}, in standard errors: "
              + " ".join(f"{error:+.2f}" for error in errors))
    shares = np.array(shares, float)
    exact = batch * 0.1 * 0.9 * (total - batch) / (total - 1)
    print(f"variance of a class's images in a batch: {shares.var(0).mean():.3f}, of a random order {exact:.3f} ±"
          f" {exact * math.sqrt(2 / shares.size):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--vssl", required=True, help="the binary")
    parser.add_argument("--data", default="data", help="folder of the datasets")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change of the recipe")
    parser.add_argument("--samples", type=int, default=10_000)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "recipe.toml")
        path.write_text(recipes.resolved(chosen.vssl, chosen.recipe, chosen.set))
        recipe = recipes.read(path)
        parameters(vssl.Views(path, data=chosen.data, workers=1), recipe, chosen.samples)
        pixels(recipe, path, chosen.data, chosen.samples)
        order(recipe, path, chosen.data)


if __name__ == "__main__":
    main()
