"""Prints table.md from the CSV files of `vssl uncertainty` beside this script, named <run>-<seed>.csv."""

import csv
from pathlib import Path

OTHER = ["fashion-mnist", "photographs", "made-noise", "made-waves", "made-flat"]
CORRUPTIONS = ["blur", "noise", "contrast"]
RUNS = ["vssl", "vssl-gaussian", "simclr"]
SEEDS = [0, 1]


def figures(run):
    """{score with a star for baselines: {(measure, set, strength): one value a seed}}"""
    scores = {}
    for seed in SEEDS:
        with open(Path(__file__).parent / f"{run}-{seed}.csv", newline="") as file:
            for line in csv.DictReader(file):
                name = line["score"] + ("" if line["of_posterior"] == "true" else "*")
                key = line["measure"], line["set"], line["strength"]
                scores.setdefault(name, {}).setdefault(key, []).append(100 * float(line["value"]))
    return scores


def each(values):
    return " / ".join(f"{value:.1f}" for value in values)


def mean(values):
    return f"{sum(values) / len(values):.1f}"


print("# Two seeds each: seed 0 / seed 1\n")
print("AUROC in %; corruptions: mean of both seeds, strength 1 … strength 5; excess AURC in %. A star: a baseline that")
print("needs no distribution. Made by `table.py` of the CSV files beside it.")
for run in RUNS:
    titles = ["score", *OTHER, *(f"{c} 1 … 5" for c in CORRUPTIONS), "errors", "excess AURC"]
    print(f"\n## {run}\n\n| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for name, found in figures(run).items():
        cells = [name, *(each(found["auroc", other, ""]) for other in OTHER)]
        for c in CORRUPTIONS:
            cells.append(f"{mean(found['auroc', c, '1'])} … {mean(found['auroc', c, '5'])}")
        cells += [each(found[measure, "errors", ""]) for measure in ("auroc", "excess-aurc")]
        print(f"| {' | '.join(cells)} |")
