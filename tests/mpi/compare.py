"""The losses of runs that differ in nothing but the number of ranks: `compare.py RUN…`.

The first step has to agree to 1e-5, what rounding makes of later ones to 1e-2: behind it stand
half a million ReLUs, and the gradient jumps with each that rounding turns.
"""

import json
import sys
from pathlib import Path


def losses(run):
    lines = map(json.loads, Path(run, "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"], line["probe_loss"]) for line in lines if line["kind"] == "step"]


first, *others = sys.argv[1:]
expected = losses(first)
assert len(expected) >= 4, f"{first}: {len(expected)} steps"
for run in others:
    got = losses(run)
    assert len(got) == len(expected), f"{run}: {len(got)} steps, expected {len(expected)}"
    for (step, *one), (other_step, *other) in zip(expected, got):
        assert step == other_step
        for a, b in zip(one, other):
            error = abs(a - b) / abs(a)
            limit = 1e-5 if step == 1 else 1e-2
            assert error <= limit, f"{run}, step {step}: {b}, expected {a} ({error:.1e})"
            print(f"{run}: step {step}: {a:.6f} and {b:.6f}, {error:.1e} apart")
