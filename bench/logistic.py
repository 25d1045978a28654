#!/usr/bin/env python3
"""scikit-learn's LogisticRegression(solver="lbfgs"): the counterpart of `vssl bench logistic`.

Both fit the same function, the mean cross entropy plus half the penalty times the squared weights
(C = 1 / (penalty * images)), to the same standardised single-precision features. With --vssl the
program runs both in turn, --rounds times, on features that it makes: mixtures of a few hundred
hidden numbers, rectified, so that columns are as much alike as those of a network.

    python bench/logistic.py --images 5000 --dim 2048 --classes 100 --vssl target/release/vssl

The last line is one JSON object. `within_s` is the time until a loss within 1e-4 of the lowest
that either program found; it is taken from the losses that the programs compute on their way.
scikit-learn stops at an absolute gradient, which with many classes is where it begins, so its
--tolerance is given as a share of the largest entry of the gradient at zero weights, as vssl's is.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--l2", type=float, default=1e-4)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--double", action="store_true", help="double precision in scikit-learn")
    parser.add_argument("--vssl", help="the binary to run in turn")
    parser.add_argument("--rounds", type=int, default=1)
    return parser.parse_args()


def make(chosen, numpy):
    generator = numpy.random.default_rng(0)
    labels = numpy.arange(chosen.images) % chosen.classes
    hidden = min(chosen.dim, 512)
    spread = numpy.arange(1, hidden + 1, dtype=numpy.float32) ** -0.75
    centres = generator.standard_normal((chosen.classes, hidden), dtype=numpy.float32)
    values = 0.4 * centres[labels]
    values += generator.standard_normal((chosen.images, hidden), dtype=numpy.float32)
    mix = generator.standard_normal((hidden, chosen.dim), dtype=numpy.float32)
    values = numpy.maximum((values * spread) @ mix, 0)
    values += 0.01 * generator.standard_normal(values.shape, dtype=numpy.float32)
    values -= values.mean(0)
    values /= values.std(0)
    return values.astype(numpy.float32), labels.astype(numpy.int64)


def scikit(chosen, values, labels, numpy):
    from sklearn.linear_model import LogisticRegression
    from sklearn.linear_model._linear_loss import LinearModelLoss

    targets = numpy.zeros((chosen.images, chosen.classes), numpy.float32)
    targets[numpy.arange(chosen.images), labels] = 1
    at_zero = numpy.abs((1 / chosen.classes - targets).T @ values).max() / chosen.images
    del targets
    trace = []
    compute = LinearModelLoss.loss_gradient
    began = time.perf_counter()

    def recorded(self, *given, **named):
        result = compute(self, *given, **named)
        trace.append((time.perf_counter() - began, float(result[0])))
        return result

    LinearModelLoss.loss_gradient = recorded
    strength = 1 / (chosen.l2 * chosen.images)
    tolerance = chosen.tolerance * float(at_zero)
    fit = LogisticRegression(C=strength, tol=tolerance, max_iter=chosen.iterations)
    fit.fit(values, labels)
    LinearModelLoss.loss_gradient = compute
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "loss": min(loss for _, loss in trace), "trace": trace,
            "evaluations": len(trace), "iterations": int(fit.n_iter_[0])}


def vssl(chosen, folder):
    command = [
        chosen.vssl, "bench", "logistic", "--features", f"{folder}/x.npy", "--labels",
        f"{folder}/y.npy", "--l2", str(chosen.l2), "--tolerance", str(chosen.tolerance),
        "--iterations", str(chosen.iterations), "--threads", str(chosen.threads), "--json",
    ]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def within(found, best):
    return next((at for at, loss in found["trace"] if loss <= best * (1 + 1e-4)), None)


def main():
    chosen = arguments()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(chosen.threads)  # Read when the libraries are loaded.
    import numpy
    import sklearn

    values, labels = make(chosen, numpy)
    given = values.astype(numpy.float64) if chosen.double else values
    with tempfile.TemporaryDirectory() as folder:
        numpy.save(f"{folder}/x.npy", values)
        numpy.save(f"{folder}/y.npy", labels)
        found = {"scikit-learn": [], "vssl": []}
        for _ in range(chosen.rounds):
            if chosen.vssl:
                found["vssl"].append(vssl(chosen, folder))
            found["scikit-learn"].append(scikit(chosen, given, labels, numpy))
    best = min(run["loss"] for runs in found.values() for run in runs)
    line = {name: getattr(chosen, name) for name in ("images", "dim", "classes", "l2", "threads")}
    line["scikit-learn version"] = sklearn.__version__
    for name, runs in found.items():
        if runs:
            line[name] = [
                {key: run[key] for key in ("seconds", "loss", "evaluations", "iterations")}
                | {"within_s": within(run, best)}
                for run in runs
            ]
    if chosen.vssl:
        pairs = list(zip(found["scikit-learn"], found["vssl"]))
        line["ratio"] = sorted(a["seconds"] / float(b["seconds"]) for a, b in pairs)
        reached = [(within(a, best), within(b, best)) for a, b in pairs]
        line["ratio_within"] = sorted(a / b for a, b in reached if a and b)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
