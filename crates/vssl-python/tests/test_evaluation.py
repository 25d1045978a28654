"""Evaluations of arrays, against the same formulas in numpy and against the command."""

import json

import numpy as np
import pytest
from conftest import alone, command

import vssl

GENERATOR = np.random.default_rng(3)
CLASSES = GENERATOR.normal(size=(4, 12))
TRAIN_LABELS, TEST_LABELS = GENERATOR.integers(0, 4, 300), GENERATOR.integers(0, 4, 90)
TRAIN = (CLASSES[TRAIN_LABELS] + 1.4 * GENERATOR.normal(size=(300, 12))).astype(np.float32)
TEST = (CLASSES[TEST_LABELS] + 1.4 * GENERATOR.normal(size=(90, 12))).astype(np.float32)
SETS = (TRAIN, TRAIN_LABELS, TEST, TEST_LABELS)


def shares(values):
    return values / values.sum()


def entropy(p):
    return float(-(p * np.log(p)).sum())


def test_neighbours_vote_as_in_numpy():
    unit = lambda rows: rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    cosine = unit(TEST) @ unit(TRAIN).T
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :20]
    weights = np.exp(np.take_along_axis(cosine, nearest, 1) / 0.07)
    votes = np.stack([(weights * (TRAIN_LABELS[nearest] == c)).sum(1) for c in range(4)], 1)
    right = votes.argmax(1) == TEST_LABELS
    found = vssl.knn(*SETS)
    assert (found.k, found.temperature) == (20, 0.07)
    assert found.top1 == pytest.approx(100 * right.mean())
    assert found.top5 == 100.0
    balanced = np.mean([right[TEST_LABELS == c].mean() for c in range(4)])
    assert found.balanced_top1 == pytest.approx(100 * balanced)


def test_several_neighbours_are_one_search():
    cells = vssl.knn(*SETS, k=[1, 5], temperature=[0.07, 1.0])
    assert [(cell.k, cell.temperature) for cell in cells] == [(1, 0.07), (1, 1.0), (5, 0.07), (5, 1.0)]
    assert cells[3] == vssl.knn(*SETS, k=5, temperature=1.0)
    distances = np.linalg.norm(TEST[:, None].astype(np.float64) - TRAIN[None], axis=2)
    right = TRAIN_LABELS[distances.argmin(1)] == TEST_LABELS
    assert vssl.knn(*SETS, k=1, distance="euclidean").top1 == pytest.approx(100 * right.mean())


def test_the_command_says_the_same(tmp_path):
    for name, array in (("a", TRAIN), ("b", TEST), ("a.labels", TRAIN_LABELS), ("b.labels", TEST_LABELS)):
        np.save(tmp_path / f"{name}.npy", array)
    ended = command(
        *("knn", "--features", tmp_path / "a.npy", "--queries", tmp_path / "b.npy", "--labels"),
        *(tmp_path / "a.labels.npy", "--query-labels", tmp_path / "b.labels.npy", "--k", "7", "--json"),
    )
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    own = vssl.knn(*SETS, k=7).top1
    assert any(f'"top1": {own}' in json.dumps(line) for line in lines), lines


def test_the_probe_finds_the_classes():
    found = vssl.linear_probe(*SETS)
    again = vssl.linear_probe(*SETS)
    assert found == again, "deterministic"
    assert found.top1 > 60 and found.top5 == 100.0 and len(found.tried) == 6
    assert found.l2 in [strength for strength, _ in found.tried]
    fixed = vssl.linear_probe(*SETS, l2=1e-2)
    assert fixed.l2 == 1e-2 and fixed.tried == [] and fixed.stop in ("gradient", "precision")


def test_the_probe_is_the_minimum_that_numpy_finds():
    rows = TRAIN.astype(np.float64)
    standard = lambda x: np.hstack([(x - rows.mean(0)) / rows.std(0), np.ones((len(x), 1))])
    train, test, l2 = standard(rows), standard(TEST), 1e-2
    weights = np.zeros((13, 4))
    penalty = np.full((13, 1), l2)
    penalty[-1] = 0  # The bias is free.
    for _ in range(4000):
        p = np.exp(train @ weights)
        gradient = train.T @ (p / p.sum(1, keepdims=True) - np.eye(4)[TRAIN_LABELS]) / len(train) + penalty * weights
        weights -= 0.3 * gradient
    assert np.abs(gradient).max() < 1e-8
    right = (test @ weights).argmax(1) == TEST_LABELS
    found = vssl.linear_probe(*SETS, l2=l2, tolerance=1e-6)
    assert found.top1 == pytest.approx(100 * right.mean())
    assert found.balanced_top1 == pytest.approx(100 * np.mean([right[TEST_LABELS == c].mean() for c in range(4)]))
    assert any(vssl.linear_probe(*SETS, l2=other).top1 != found.top1 for other in (1.0, 1e-5)), "the strength matters"


def test_numbers_of_numpy_are_numbers():
    found = vssl.knn(*SETS, k=np.int64(5), temperature=np.float32(0.5))
    assert found == vssl.knn(*SETS, k=5, temperature=0.5)
    assert vssl.knn(*SETS, k=np.array([5]), temperature=np.array([0.5])) == [found]
    probe = vssl.linear_probe(*SETS, l2=np.float32(0.5), tolerance=np.float32(1e-4), iterations=np.int32(300))
    assert probe.l2 == 0.5 and probe.tried == []
    with pytest.raises(TypeError):
        vssl.knn(*SETS, k=5.5)


def test_a_forked_process_is_refused_and_does_not_wait():
    alone("""
import os, signal
import numpy as np, vssl
rows, labels = np.random.default_rng(0).normal(size=(600, 16)).astype(np.float32), np.arange(600) % 3
calls = [lambda: vssl.knn(rows, labels, rows, labels), lambda: vssl.linear_probe(rows, labels, rows, labels, l2=1.0)]
for call in calls:
    call()
for call in calls:
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            call()
        except vssl.Error as error:
            os._exit(0 if "spawn" in str(error) else 2)
        os._exit(3)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
""")


def test_figures_without_labels_are_numpys():
    rows = TRAIN.astype(np.float64)
    values = np.linalg.svd(rows, compute_uv=False)
    assert vssl.effective_rank(TRAIN) == pytest.approx(np.exp(entropy(shares(values))), rel=1e-9)
    assert vssl.rankme(TRAIN) == pytest.approx(np.exp(entropy(shares(values) + 1e-7)), rel=1e-9)
    assert vssl.rankme(TRAIN, eps=1e-5) == pytest.approx(np.exp(entropy(shares(values) + 1e-5)), rel=1e-9)
    spectrum = vssl.spectrum(TRAIN)
    np.testing.assert_allclose(spectrum.singular_values, values, rtol=1e-9)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = (unit @ unit.T).sum() - len(unit)
    assert spectrum.mean_cosine == pytest.approx(cosine / (len(unit) * (len(unit) - 1)), abs=1e-12)
    eigenvalues = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    places = np.arange(3, 12)
    slope = -np.polyfit(np.log(places + 1), np.log(shares(eigenvalues)[places]), 1)[0]
    assert vssl.alpha_req(TRAIN).unweighted == pytest.approx(slope, rel=1e-9)
    assert vssl.alpha_req(TRAIN, range=(0, 12)) != vssl.alpha_req(TRAIN)


def test_lidar_is_numpys():
    images, views = 60, 5
    rows = TRAIN.astype(np.float64).reshape(images, views, 12)
    means = rows.mean(1)
    between = np.cov(means.T)
    scatter = rows - means[:, None]
    within = np.einsum("ivj,ivk->jk", scatter, scatter) / (images * (views - 1)) + 1e-4 * np.eye(12)
    eigenvalues = np.linalg.eigvals(np.linalg.solve(within, between)).real
    found = vssl.lidar(TRAIN, views)
    assert found.lidar == pytest.approx(np.exp(entropy(shares(eigenvalues + 1e-8))), rel=1e-6)
    assert found.top_eigenvalue == pytest.approx(eigenvalues.max(), rel=1e-6)
    assert found.entropy == pytest.approx(np.log(found.lidar))


def test_any_array_of_numbers_will_do():
    expected = vssl.knn(*SETS, k=3)
    assert vssl.knn(TRAIN.astype(np.float64), TRAIN_LABELS.astype(np.uint8), TEST.tolist(), list(TEST_LABELS), k=3) == expected
    assert vssl.knn(np.asfortranarray(TRAIN), TRAIN_LABELS, TEST, TEST_LABELS, k=3) == expected


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: vssl.knn(*SETS, k=0), "knn k is 0"),
        (lambda: vssl.knn(*SETS, k=[]), "knn k is 0"),
        (lambda: vssl.knn(*SETS, temperature=0.0), "temperature is 0"),
        (lambda: vssl.knn(*SETS, distance="manhattan"), "expected \"cosine\" or \"euclidean\""),
        (lambda: vssl.knn(TRAIN, -TRAIN_LABELS, TEST, TEST_LABELS), "label of row"),
        (lambda: vssl.knn(TRAIN, TRAIN_LABELS / 2, TEST, TEST_LABELS), "expected whole numbers"),
        (lambda: vssl.rankme(TRAIN[0]), r"expected numbers \[n, dim\]"),
        (lambda: vssl.lidar(TRAIN, 1), "views of an image is 1"),
    ],
)
def test_wrong_arguments_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_features_that_do_not_fit_are_named():
    bad = TEST.copy()
    bad[5, 2] = np.nan
    with pytest.raises(vssl.Error, match="row 5, column 2 is NaN"):
        vssl.knn(TRAIN, TRAIN_LABELS, bad, TEST_LABELS)
    with pytest.raises(vssl.Error, match="labels has 4 entries, expected 300"):
        vssl.knn(TRAIN, TRAIN_LABELS[:4], TEST, TEST_LABELS)
    with pytest.raises(vssl.Error, match="width has 11 entries, expected 12"):
        vssl.linear_probe(TRAIN, TRAIN_LABELS, TEST[:, :11], TEST_LABELS)
