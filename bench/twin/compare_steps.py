#!/usr/bin/env python3
"""Some steps of vssl and of the twin from the same weights on the same views with the same noise.

    python bench/twin/compare_steps.py --vssl target/release/vssl --data data recipes/cifar10-small/*.toml

vssl trains once without an effect (rate 0), which leaves the initial weights in a checkpoint, and once in earnest. The
twin takes these weights and the views of `vssl.Views` (so the Python package of vssl is needed), and takes the steps
in single and in double precision. The double ones stand for the exact result: a side is right as far as its distance
from them is that of rounding, which PyTorch's own single precision shows.

The warm-up is cut to a tenth of an epoch, so that the steps go up the warm-up and down the whole cosine. AdamW's first
steps are almost the signs of the gradients, so rounding of the smallest ones becomes whole steps and grows fast. With
`--gentle` it grows slowly: a large epsilon, small rates, and a weight decay that shows.
"""

import argparse
import tempfile
from pathlib import Path

import methods
import noise
import recipe as recipes
import torch
import training
import vssl
from vssl_run import NO_EVALUATION, as_before_the_first_step, load, one_step_at_rate_0, trained

SHORT = ["schedule.warmup_epochs=0.1", "log.every_steps=1", *NO_EVALUATION]

GENTLE = ["optimizer.eps=0.1", "optimizer.lr=1e-4", "schedule.start=1e-6", "optimizer.weight_decay=10"]


def repeated(recipe, start, views, dtype):
    """The same steps by the twin: the method, its optimiser, and loss, gradient norm and rate of each step."""
    method = methods.make(recipe)
    load(method.student, start)
    method.begin()
    method.to(dtype).train()
    adam = training.optimiser(recipe, method)
    length = training.Length(recipe, recipe["data"]["limit_train"])
    figures = []
    for number, batch in enumerate(views):
        rate = training.rate(recipe, length, number)
        drawn = noise.posterior(recipe["seed"], number)
        images = [view.to(dtype) for view in batch]
        loss, norm = training.step(method, adam, images, drawn, number, rate, length)
        figures.append((loss.item(), norm.item(), rate))
    return method, adam, figures


def state(method, adam):
    """All tensors of the twin under vssl's names."""
    names = [name for name, _ in method.student.named_parameters()]
    moments = adam.state_dict()["state"]
    optimizer = {
        f"{moment}.{name}": moments[index][moment].flatten()
        for index, name in enumerate(names) for moment in ("exp_avg", "exp_avg_sq")
    }
    return {"student": method.student.state_dict(), "memory": method.teacher.state_dict(), "optimizer": optimizer}


def kind(part, name):
    if "running_" in name:
        return f"{part}: running statistics"
    return f"{part}: {name.partition('.')[0]}" if part == "optimizer" else f"{part}: movement of parameters"


def distances(found, exact, start):
    """For each kind of tensors, |found − exact| / |exact| over all numbers of the kind; of parameters the denominator is
    how far they have moved from `start`."""
    sums = {}
    for part, tensors in exact.items():
        for name, tensor in tensors.items():
            if name.endswith("num_batches_tracked"):
                continue
            other = found[part][name].to(torch.float64).reshape(tensor.shape)
            moves = part != "optimizer" and "running_" not in name
            reference = tensor - start[name] if moves else tensor
            pair = sums.setdefault(kind(part, name), [0.0, 0.0])
            pair[0] += (other - tensor).square().sum().item()
            pair[1] += reference.square().sum().item()
    return {kind: (difference / whole) ** 0.5 for kind, (difference, whole) in sums.items()}


def compare(chosen, recipe_path, folder):
    changes = [*chosen.set, *(GENTLE if chosen.gentle else []), f"train.max_steps={chosen.steps}", *SHORT]
    path = folder / "recipe.toml"
    path.write_text(recipes.resolved(chosen.vssl, recipe_path, changes))
    recipe = recipes.read(path)
    first = one_step_at_rate_0(chosen, path, folder / "start")
    last, logged = trained(chosen, path, folder / "run", [])
    drawn = vssl.Views(path, data=chosen.data, workers=1)
    views = [[torch.from_numpy(view) for view in batch.views] for batch, _ in zip(drawn, range(chosen.steps))]
    start = as_before_the_first_step(first["student"])
    report_gradients(recipe, start, views[0], first["optimizer"])
    results = {dtype: repeated(recipe, start, views, dtype) for dtype in (torch.float32, torch.float64)}
    exact, single = results[torch.float64], results[torch.float32]
    report(logged, exact[2], single[2])
    reference = state(*exact[:2])
    ours, theirs = (distances(side, reference, start) for side in (last, state(*single[:2])))
    for name in ours:
        print(f"  {name:32} {ours[name]:10.1e} {theirs[name]:10.1e}")


def report_gradients(recipe, start, views, first):
    """The gradients of the first step, tensor by tensor: vssl's are in the moments of its step without an effect."""
    found = {}
    for dtype in (torch.float32, torch.float64):
        method, adam, _ = repeated(recipe, start, [views], dtype)
        found[dtype] = state(method, adam)["optimizer"]
    worst = {"vssl": (0.0, ""), "PyTorch": (0.0, "")}
    for name, exact in found[torch.float64].items():
        if name.startswith("exp_avg.") and exact.norm() > 1e-9:
            for side, other in ("vssl", first[name]), ("PyTorch", found[torch.float32][name]):
                distance = ((other.to(torch.float64) - exact).norm() / exact.norm()).item()
                worst[side] = max(worst[side], (distance, name.removeprefix("exp_avg.")))
    print(f"{recipe['method']}: relative distance from double precision\n  gradients of the first step, worst tensor: "
          + ", ".join(f"{side} {distance:.1e} ({name})" for side, (distance, name) in worst.items()))


def report(logged, exact, single):
    print(f"  {'step':>4} {'loss':>12} {'vssl':>10} {'PyTorch':>10}"
          f" {'gradient':>10} {'vssl':>10} {'PyTorch':>10} {'rate':>10} {'vssl':>10}")
    last = len(exact) - 1
    for index, (line, reference, other) in enumerate(zip(logged, exact, single, strict=True)):
        if index in {0, 1, 2, 4, 9, 14, 19, 29, 39, 49, 79, 99, last}:
            ours = line["loss"], line["gradient_norm"], line["lr"]
            a, b, c = (abs(x - y) / abs(y) for x, y in zip(ours, reference))
            d, e, _ = (abs(x - y) / abs(y) for x, y in zip(other, reference))
            print(f"  {index + 1:4} {reference[0]:12.7f} {a:10.1e} {d:10.1e} {reference[1]:10.4f} {b:10.1e} {e:10.1e}"
                  f" {reference[2]:10.3e} {c:10.1e}")
    print(f"  after the last step{'vssl':>24}{'PyTorch':>11}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--vssl", required=True, help="the binary")
    parser.add_argument("--data", default="data", help="folder of the datasets")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change of the recipes")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--gentle", action="store_true", help="settings with which rounding grows slowly")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for recipe in chosen.recipes:
        with tempfile.TemporaryDirectory() as folder:
            compare(chosen, recipe, Path(folder))


if __name__ == "__main__":
    main()
