#!/usr/bin/env python3
"""Initial weights of vssl beside those of PyTorch and torchvision, tensor by tensor, over some seeds.

    python bench/twin/compare_weights.py --vssl target/release/vssl --data data recipes/cifar10-small/vssl.toml

The twin's encoder has torchvision's initial values to the bit; this is checked first, for a width of 64. Of each tensor
the table has the standard deviation that its formula says, those that were drawn, and how far they are from it in
standard errors; the last lines sum up. With `--evaluate` the untrained encoders are evaluated as well.
"""

import argparse
import itertools
import math
import statistics
import tempfile
from pathlib import Path

import methods
import networks
import numpy as np
import recipe as recipes
import torch
import torchvision
import vssl_run


def check_torchvision():
    torch.manual_seed(0)
    own = networks.Resnet18(64).state_dict()
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().state_dict()
    same = all(torch.equal(value, theirs[name]) for name, value in own.items())
    print(f"an encoder of width 64 has torchvision's initial values to the bit: {same}")


def expected(name, shape):
    """The standard deviation and the fourth moment over its square that PyTorch's formulas say, and the bound;
    `None` for constants."""
    if len(shape) == 4:
        return math.sqrt(2 / (shape[0] * shape[2] * shape[3])), 3.0, math.inf
    if ".linear." in name or ".output." in name:
        return None if len(shape) == 1 else (1 / math.sqrt(3 * shape[1]), 1.8, 1 / math.sqrt(shape[1]))
    return None


def drawn(chosen, path, recipe, seeds, folder):
    """The initial students of both sides for each seed."""
    ours, theirs = [], []
    for seed in seeds:
        run = folder / str(seed)
        seeded = folder / f"{seed}.toml"
        seeded.write_text(path.read_text().replace("\nseed = 0 ", f"\nseed = {seed} "))
        ours.append(vssl_run.as_before_the_first_step(vssl_run.one_step_at_rate_0(chosen, seeded, run)["student"]))
        torch.manual_seed(seed)
        theirs.append({name: value for name, value in methods.make(recipe).student.state_dict().items()
                       if not name.endswith("num_batches_tracked")})
    return {"vssl": ours, "PyTorch": theirs}


def compare(sides):
    first = sides["vssl"][0]
    if any(set(student) != set(first) for students in sides.values() for student in students):
        raise SystemExit("the two sides have other tensors")
    errors = {side: [] for side in sides}
    heads = (f" {side:>10} {'off by':>7} {'σ⁻⁴m₄':>6}" for side in sides)
    print(f"{'tensor':40} {'σ expected':>10}" + "".join(heads))
    constants = 0
    for name, tensor in first.items():
        formula = expected(name, tuple(tensor.shape))
        if formula is None and not name.endswith(("linear.bias", "output.bias")):
            equal = all(torch.equal(a[name], b[name]) for a, b in zip(*sides.values()))
            constants += equal
            if not equal:
                print(f"{name:40} differs: {[students[0][name].flatten()[:3].tolist() for students in sides.values()]}")
            continue
        row = ""
        for side, students in sides.items():
            values = torch.stack([student[name] for student in students]).flatten().double().numpy()
            if formula is None:  # A bias: its bound is that of the weight beside it.
                width = students[0][name.replace("bias", "weight")].shape[1]
                formula = 1 / math.sqrt(3 * width), 1.8, 1 / math.sqrt(width)
            deviation, fourth, bound = formula
            if np.abs(values).max() > bound * (1 + 1e-6):
                print(f"{name}: {side} exceeds the bound {bound}")
            off = (np.mean(values**2) / deviation**2 - 1) / math.sqrt((fourth - 1) / len(values))
            errors[side] += [off, values.mean() / (deviation / math.sqrt(len(values)))]
            row += f" {values.std():10.6f} {off:7.2f} {np.mean(values**4) / deviation**4:6.3f}"
        print(f"{name:40} {deviation:10.6f}{row}")
    print(f"{constants} tensors are the same constants on both sides: scales and variances 1, shifts and means 0")
    for side, all_errors in errors.items():
        print(f"{side}: root mean square of {len(all_errors)} errors of means and squares in standard errors "
              f"{math.sqrt(statistics.fmean(x * x for x in all_errors)):.3f}, largest {max(map(abs, all_errors)):.2f}; "
              f"largest correlation between seeds in standard errors {correlation(sides[side]):.2f}")


def correlation(students):
    """Largest correlation of the same tensor for two seeds, in standard errors."""
    largest = 0.0
    for name, tensor in students[0].items():
        if tensor.ndim > 1:
            values = [student[name].flatten().double().numpy() for student in students]
            pairs = itertools.combinations([value / np.linalg.norm(value) for value in values], 2)
            largest = max([largest, *(abs(a @ b) * math.sqrt(tensor.numel()) for a, b in pairs)])
    return largest


def evaluate(chosen, path, recipe, sides, seeds, folder):
    print("untrained encoders:")
    means = {}
    for side, students in sides.items():
        found = []
        for seed, student in zip(seeds, students):
            encoder = {name.removeprefix("backbone."): value for name, value in student.items()
                       if name.startswith("backbone.")}
            file = folder / f"{side}-{seed}.safetensors"
            vssl_run.imported(chosen, recipe, encoder, file)
            found.append(vssl_run.evaluated(chosen, file, path))
        for metric in ("knn_top1", "linear_top1"):
            values = [figures[metric] for figures in found]
            mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
            means.setdefault(metric, []).append((mean, error))
            print(f"  {side:8} {metric:12} {mean:6.2f} ± {error:.2f}   {' '.join(f'{value:.1f}' for value in values)}")
    for metric, ((a, ea), (b, eb)) in means.items():
        print(f"  {metric}: PyTorch − vssl {b - a:+.2f} ± {math.hypot(ea, eb):.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--vssl", required=True, help="the binary")
    parser.add_argument("--data", default="data", help="folder of the datasets")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change of the recipe")
    parser.add_argument("--seeds", type=int, default=8, help="number of seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--evaluate", action="store_true", help="evaluate the untrained encoders")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    check_torchvision()
    with tempfile.TemporaryDirectory() as folder:
        folder, seeds = Path(folder), range(chosen.first, chosen.first + chosen.seeds)
        path = folder / "recipe.toml"
        path.write_text(recipes.resolved(chosen.vssl, chosen.recipe, [*chosen.set, "seed=0"]))
        recipe = recipes.read(path)
        sides = drawn(chosen, path, recipe, seeds, folder)
        compare(sides)
        if chosen.evaluate:
            evaluate(chosen, path, recipe, sides, seeds, folder)


if __name__ == "__main__":
    main()
