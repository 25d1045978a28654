"""Launches and times of kernels, out of what CubeCL writes when its profiling is on. Used by bench/gpu/run."""

import re

LONGEST = 10


def launches(log):
    """Microseconds and number of launches of each kernel, from the lines that CubeCL writes."""
    units = {"ns": 1e-3, "µs": 1.0, "us": 1.0, "ms": 1e3, "s": 1e6}
    found = {}
    if not log.exists():
        return found
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r".*?\|\s*([0-9.]+)(ns|µs|us|ms|s)\s*\|\s*([^|]+)$", line)
        if match:
            spent, count = found.get(match[3].strip(), (0.0, 0))
            found[match[3].strip()] = (spent + float(match[1]) * units[match[2]], count + 1)
    return found


def per_step(few, many, steps):
    change = {}
    for name, (spent, count) in many.items():
        before = few.get(name, (0.0, 0))
        change[name] = ((spent - before[0]) / steps, (count - before[1]) / steps)
    longest = sorted(change.items(), key=lambda item: -item[1][0])[:LONGEST]
    return {
        "launches_a_step": round(sum(count for _, count in change.values()), 1),
        "kernel_ms_a_step": round(sum(spent for spent, _ in change.values()) / 1e3, 3),
        "longest": [{"kernel": name, "ms_a_step": round(spent / 1e3, 3), "launches_a_step": round(count, 1)}
                    for name, (spent, count) in longest],
    }
