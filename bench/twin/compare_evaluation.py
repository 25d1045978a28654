#!/usr/bin/env python3
"""An encoder of vssl's, evaluated by vssl and by PyTorch and scikit-learn.

    python bench/twin/compare_evaluation.py --vssl target/release/vssl --data data RUN

RUN is a finished run folder whose recipe the twin can read. Features: torchvision's layers beside `vssl embed`. Nearest
neighbours: k and temperature of the recipe, cosines in double precision. Linear: scikit-learn's LogisticRegression on
standardised features, its strength chosen on every tenth image of each class, as vssl defines it. Needs scikit-learn.
"""

import argparse
import json
import subprocess
import tempfile
import warnings
from pathlib import Path

import images
import networks
import numpy as np
import recipe as recipes
import torch
import vssl_run
from safetensors.torch import load_file

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
HELD_OUT = 10


def features_by_torch(recipe, encoder, pixels):
    network = networks.Resnet18(recipe["backbone"]["width"])
    vssl_run.load(network, load_file(encoder))
    network.eval()
    normalised = images.normalised(recipe)
    with torch.no_grad():
        return torch.cat([
            network(torch.stack([normalised(image) for image in block]))
            for block in np.split(pixels, range(500, len(pixels), 500))
        ])


def features_by_vssl(chosen, encoder, recipe, split, to):
    subprocess.run(
        [chosen.vssl, "embed", encoder, "--images", recipe, "--data", chosen.data, "--split", split, "--to", to,
         "--threads", "1", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return torch.from_numpy(np.load(to))


def neighbours(train, labels, test, k, temperature):
    """The classes with the largest sums of exp(cosine / temperature) over the k nearest; ties go to lower numbers."""
    train, test = (torch.nn.functional.normalize(side.double()) for side in (train, test))
    predicted = []
    for block in test.split(1000):
        cosines = block @ train.T
        top = cosines.topk(k)
        votes = torch.zeros(len(block), images.CLASSES, dtype=torch.float64)
        votes.scatter_add_(1, torch.from_numpy(labels)[top.indices], (top.values / temperature).exp())
        predicted.append(votes.argmax(1))
    return torch.cat(predicted).numpy()


def held_out(labels):
    seen, held = np.zeros(images.CLASSES, int), np.zeros(len(labels), bool)
    for row, label in enumerate(labels):
        seen[label] += 1
        held[row] = seen[label] % HELD_OUT == 0
    return held


def linear(train, labels, test):
    """The strength that was chosen, and the classes of the test images."""
    from sklearn.linear_model import LogisticRegression

    train, test = train.double().numpy(), test.double().numpy()
    mean, deviation = train.mean(0), train.std(0)
    train, test = ((side - mean) / np.where(deviation > 0, deviation, 1) for side in (train, test))
    held = held_out(labels)

    def fit(rows, strength):
        regression = LogisticRegression(C=1 / (strength * rows.sum()), tol=1e-4, max_iter=1000)
        return regression.fit(train[rows], labels[rows])

    accuracies = [fit(~held, strength).score(train[held], labels[held]) for strength in STRENGTHS]
    strength = STRENGTHS[int(np.argmax(accuracies))]
    return strength, fit(np.ones(len(labels), bool), strength).predict(test)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--vssl", required=True, help="the binary")
    parser.add_argument("--data", default="data", help="folder of the datasets")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    path = chosen.run / "recipe.toml"
    recipe = recipes.read(path)
    train, labels = images.split(recipe, chosen.data, images.TRAINING, recipe["data"].get("limit_train"))
    test, test_labels = images.split(recipe, chosen.data, images.TEST)
    with tempfile.TemporaryDirectory() as folder:
        encoder, again = Path(folder, "encoder.safetensors"), Path(folder, "imported.safetensors")
        export = [chosen.vssl, "export", chosen.run, "--to", encoder, "--quiet"]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        vssl_run.imported(chosen, recipe, load_file(encoder), again)
        both = [features_by_torch(recipe, encoder, pixels) for pixels in (train, test)]
        ours = [features_by_vssl(chosen, encoder, path, split, Path(folder, f"{split}.npy"))
                for split in ("train", "validation")]
        for name, a, b in zip(("training", "test"), ours, both):
            print(f"features of the {name} images: largest difference {(a - b).abs().max():.1e}, of numbers up to"
                  f" {b.abs().max():.2f}; |difference| / |features| {((a - b).norm() / b.norm()):.1e}")
        figures = vssl_run.evaluated(chosen, again, path)
    summary = json.loads((chosen.run / "summary.json").read_text())
    k, temperature = recipe["knn"]["k"], recipe["knn"]["temperature"]
    nearest = neighbours(both[0], labels, both[1], k, temperature)
    strength, answered = linear(both[0], labels, both[1])
    print(f"{'':12} {'in the run':>12} {'imported':>12} {'PyTorch, scikit-learn':>24}")
    for name, predicted in (("knn_top1", nearest), ("linear_top1", answered)):
        right = 100 * (predicted == test_labels).mean()
        inside = "not measured" if summary.get(name) is None else f"{summary[name]:.2f}"
        print(f"{name:12} {inside:>12} {figures[name]:12.2f} {right:24.2f}")
    print(f"strength that scikit-learn's fits chose: {strength}")


if __name__ == "__main__":
    main()
