#!/usr/bin/env python3
"""Trains the quick start, embeds its test images, and draws a map of them.

    pip install vssl matplotlib
    python crates/vssl-python/examples/tutorial.py --out tutorial

It runs in the root of the repository, which has the recipe and the images, and takes some minutes on two cores.
`--steps 20` cuts the training short.
"""

import argparse
import pathlib

import matplotlib
import numpy as np

import vssl

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=pathlib.Path, default="recipes/quickstart.toml")
    parser.add_argument("--out", type=pathlib.Path, default="tutorial", help="folder of the run and of the map")
    parser.add_argument("--steps", type=int, help="train this many steps only")
    parser.add_argument("--images", type=int, default=1000, help="images on the map, at most")
    return parser.parse_args()


def directions(features):
    """The two directions in which features vary most: a map without a further package."""
    centred = features - features.mean(axis=0)
    _, _, axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    return centred @ axes[:2].T


def draw(path, places, labels, classes):
    figure, axes = pyplot.subplots(figsize=(8, 6))
    for label, name in enumerate(classes):
        own = places[labels == label]
        axes.scatter(own[:, 0], own[:, 1], s=6, label=name)
    axes.set(title="Test images by the trained encoder", xticks=[], yticks=[])
    axes.legend(markerscale=3, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=150, bbox_inches="tight")


def main():
    chosen = arguments()
    settings = {} if chosen.steps is None else {"train.max_steps": chosen.steps}
    # The lines of the training are those of the command. Ctrl-C saves; vssl.resume goes on.
    run = vssl.pretrain(chosen.recipe, out=chosen.out / "run", force=True, **settings)
    print(f"loss: {run.metrics['loss'][0]:.3f} at first, {run.metrics['loss'][-1]:.3f} at the end")

    encoder = run.encoder()
    recipe = run.path / "recipe.toml"
    known, asked = (vssl.Images.open(recipe, split=split) for split in ("train", "validation"))
    train, test = encoder.embed(known), encoder.embed(asked)
    print(f"kNN: {vssl.knn(train, known.labels, test, asked.labels).top1:.1f} %")
    print(f"effective rank: {vssl.effective_rank(test):.1f} of {encoder.info.dim}")

    shown = slice(0, chosen.images)
    draw(chosen.out / "map.png", directions(test[shown]), asked.labels[shown], asked.classes)
    print(f"the map is in {chosen.out / 'map.png'}")


if __name__ == "__main__":
    main()
