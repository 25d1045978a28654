#!/usr/bin/env python3
"""The nearest neighbours of scikit-learn by brute force: the counterpart of `vssl bench knn`.

Cosine, k neighbours of every query among all rows, a vote with the weights exp(s / 0.07). With
--unit the rows are made unit by hand and scikit-learn is asked for Euclidean distances, which give
the same neighbours by another of its programs. The rows
are single-precision noise around the centres of their classes, as the Rust program makes them from
another generator. Threads are those of the BLAS and of OpenMP.

    python bench/knn.py --train 100000 --queries 10000 --dim 512 --threads 2

The last line is one JSON object with the keys of `vssl bench knn --json`. Needs scikit-learn and
nothing else.
"""

import argparse
import json
import os
import time

TEMPERATURE = 0.07
APART = 0.2


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--k", type=int, default=200)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--unit", action="store_true", help="unit rows and Euclidean distances")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def main():
    chosen = arguments()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(chosen.threads)  # Read when the libraries are loaded.
    import numpy
    import sklearn
    from sklearn.neighbors import KNeighborsClassifier

    generator = numpy.random.default_rng(0)
    size = (chosen.classes, chosen.dim)
    centres = generator.random(size, dtype=numpy.float32) * 2 - 1

    def rows(count):
        labels = numpy.arange(count) % chosen.classes
        values = generator.random((count, chosen.dim), dtype=numpy.float32) * 2 - 1
        return values + numpy.float32(APART) * centres[labels], labels

    (known, classes), (asked, targets) = rows(chosen.train), rows(chosen.queries)

    def weights(distance):
        away = distance ** 2 / 2 if chosen.unit else distance
        return numpy.exp((1 - away) / TEMPERATURE)

    began = time.perf_counter()
    if chosen.unit:
        known /= numpy.linalg.norm(known, axis=1, keepdims=True)
        asked /= numpy.linalg.norm(asked, axis=1, keepdims=True)
    search = KNeighborsClassifier(
        chosen.k, algorithm="brute", metric="euclidean" if chosen.unit else "cosine",
        weights=weights, n_jobs=chosen.threads,
    )
    answers = search.fit(known, classes).predict(asked)
    seconds = time.perf_counter() - began
    print(json.dumps({
        "train": chosen.train,
        "queries": chosen.queries,
        "dim": chosen.dim,
        "k": chosen.k,
        "classes": chosen.classes,
        "threads": chosen.threads,
        "metric": "euclidean of unit rows" if chosen.unit else "cosine",
        "scikit-learn": sklearn.__version__,
        "seconds": round(seconds, 3),
        "queries_per_s": round(chosen.queries / seconds, 1),
        "product_gflops": round(
            2e-9 * chosen.train * chosen.queries * chosen.dim / seconds, 1),
        "top1": round(100 * float((answers == targets).mean()), 2),
    }))


if __name__ == "__main__":
    main()
