"""Whether two run folders hold the same training, bit for bit: `same.py EXPECTED GOT`.

Compared are the tensors of the last checkpoint, the figures of every logged step and evaluation, and the result,
without what depends on the clock, on the folder or on how often the run was started.
"""

import json
import sys
from pathlib import Path

CLOCK = {"time", "images_per_s", "loader_wait", "seconds", "peak_rss_mib", "run", "folder", "notes"}


def tensors(run):
    latest = Path(run, "checkpoints", "latest").read_text().strip()
    files = sorted(Path(run, "checkpoints", latest).glob("*.safetensors"))
    assert files, f"{run}: no tensors in {latest}"
    return latest, {file.name: file.read_bytes() for file in files}


def without_clock(value):
    return {key: item for key, item in value.items() if key not in CLOCK}


def metrics(run):
    return [without_clock(json.loads(line)) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


expected, got = sys.argv[1:]
assert tensors(expected) == tensors(got), f"{got}: other tensors than {expected}"
assert metrics(expected) == metrics(got), f"{got}: other figures than {expected}"
summaries = [without_clock(json.loads(Path(run, "summary.json").read_text())) for run in (expected, got)]
assert summaries[0] == summaries[1], f"{got}: {summaries[1]}, expected {summaries[0]}"
