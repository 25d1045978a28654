#!/usr/bin/env python3
"""Runs two benchmarks in turn and prints how many times faster the first one is.

    python bench/compare.py [--pairs 3] [--key images_per_s] A ... --against B ...

A and B are commands whose last line is a JSON object. A machine slows down and speeds up while it
works, so a ratio means something only between runs that follow each other: every pair is printed,
and the median of their ratios. With --at-least the exit code is 1 if the median is below it.
"""

import argparse
import json
import statistics
import subprocess
import sys


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--key", default="images_per_s", help="which number is compared")
    parser.add_argument("--at-least", type=float, help="the median ratio that is asked for")
    parser.add_argument("commands", nargs=argparse.REMAINDER, metavar="A ... --against B ...")
    chosen = parser.parse_args()
    words = [word for word in chosen.commands if word != "--"]
    if words.count("--against") != 1 or words[0] == "--against" or words[-1] == "--against":
        parser.error("expected two commands with --against between them")
    if chosen.pairs < 1:
        parser.error("expected at least one pair")
    cut = words.index("--against")
    return chosen, words[:cut], words[cut + 1:]


def measure(command, key):
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(done.stdout.splitlines()[-1])[key]
    except (IndexError, KeyError, ValueError):
        print(done.stderr, file=sys.stderr)
        raise SystemExit(f"no {key} on the last line of: {' '.join(command)}")


def main():
    chosen, first, second = arguments()
    ratios = []
    for pair in range(1, chosen.pairs + 1):
        a, b = measure(first, chosen.key), measure(second, chosen.key)
        ratios.append(a / b)
        print(f"pair {pair}: {a:.4g} against {b:.4g}, ratio {a / b:.2f}", flush=True)
    median = statistics.median(ratios)
    print(json.dumps({"key": chosen.key, "pairs": chosen.pairs, "ratio": round(median, 3)}))
    if chosen.at_least is not None and median < chosen.at_least:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
