"""Evaluations of features in arrays: the figures of ``vssl evaluate`` and ``vssl knn``, in percent."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, Union, overload

import numpy as np
import numpy.typing as npt

from . import _vssl
from ._errors import UsageError


#: One number.
Whole = Union[int, "np.integer[Any]"]
Real = Union[float, "np.integer[Any]", "np.floating[Any]"]


class Knn(NamedTuple):
    """The accuracies of nearest neighbours, percent."""

    k: int
    """The number of neighbours."""
    temperature: float
    """The temperature of the weights."""
    top1: float
    """The share of images whose class has most votes."""
    top5: float
    """The share of images whose class is among the first five."""
    balanced_top1: float
    """The mean over the classes of the share of right images in each."""


class LinearProbe(NamedTuple):
    """The accuracies of a linear probe, percent."""

    top1: float
    """The share of images whose class is the first."""
    top5: float
    """The share of images whose class is among the first five."""
    balanced_top1: float
    """The mean over the classes of the share of right images in each."""
    l2: float
    """The strength λ that was chosen."""
    tried: list[tuple[float, float]]
    """Each λ with its top-1 on the held-out tenth; empty where nothing was to be chosen."""
    iterations: int
    """The iterations of the last fit."""
    stop: str
    """Why it ended: "gradient", "precision" or "iterations"."""


class Spectrum(NamedTuple):
    """How much of the feature space is used."""

    effective_rank: float
    """From 1 (all features on one line) to ``min(n, dim)``."""
    spread: float
    """About 1 for directions all around, 0 where all agree."""
    mean_cosine: float
    """The mean cosine between the features of two images."""
    singular_values: npt.NDArray[np.float64]
    """The singular values, largest first."""


class AlphaReq(NamedTuple):
    """The exponent of a spectrum that decays as ``n**-alpha``."""

    weighted: float
    """Of a fit whose n-th point has the weight 1/n, as for the published figures."""
    unweighted: float
    """Of ordinary least squares on the same points."""


class Lidar(NamedTuple):
    """What LiDAR says of features."""

    lidar: float
    """The effective number of directions that tell images apart."""
    entropy: float
    """Its logarithm."""
    top_eigenvalue: float
    """The largest eigenvalue."""


@overload
def knn(
    train: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    k: Whole = 20,
    temperature: Real = 0.07,
    distance: str = "cosine",
) -> Knn: ...


@overload
def knn(
    train: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    k: Sequence[int] | npt.NDArray[np.integer[Any]],
    temperature: Real | Sequence[float] | npt.NDArray[np.floating[Any]] = 0.07,
    distance: str = "cosine",
) -> list[Knn]: ...


def knn(
    train: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    k: Whole | Sequence[int] | npt.NDArray[np.integer[Any]] = 20,
    temperature: Real | Sequence[float] | npt.NDArray[np.floating[Any]] = 0.07,
    distance: str = "cosine",
) -> Knn | list[Knn]:
    """Weighted nearest neighbours (Wu et al. 2018, arXiv:1805.01978) of each test row among the training rows.

    Features are ``[n, dim]``, labels ``[n]`` from 0. ``distance`` is "cosine" or "euclidean", which uses no
    temperature. Several ``k`` (and ``temperature``) are answered from one search, as a list.
    """
    ks = [operator.index(one) for one in listed(k)]
    temperatures = [float(one) for one in listed(temperature)]
    if any(one < 0 for one in ks):
        raise UsageError(f"knn k is {min(ks)}; expected at least 1")
    pairs = (rows("train", train), classes("train_labels", train_labels)), (
        rows("test", test),
        classes("test_labels", test_labels),
    )
    cells = [Knn(k, t, *figures) for k, t, figures in _vssl.knn(*pairs, ks, temperatures, distance)]
    single = is_number(k) and is_number(temperature)
    return cells[0] if single else cells


def linear_probe(
    train: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    l2: Real | Sequence[float] | npt.NDArray[np.floating[Any]] | None = None,
    tolerance: float | None = None,
    iterations: int | None = None,
) -> LinearProbe:
    """Multinomial logistic regression on standardised features, fitted to its minimum; deterministic.

    Features are ``[n, dim]``, labels ``[n]`` from 0. λ is chosen among ``l2`` (1, 1e-1 … 1e-5) on a held-out tenth.
    ``tolerance`` (1e-4) and ``iterations`` (300) end a fit.
    """
    strengths = None if l2 is None else [float(one) for one in listed(l2)]
    figures, chosen, tried, count, stop = _vssl.linear_probe(
        (rows("train", train), classes("train_labels", train_labels)),
        (rows("test", test), classes("test_labels", test_labels)),
        strengths,
        tolerance,
        iterations,
    )
    top1, top5, balanced = figures
    return LinearProbe(top1, top5, balanced, chosen, tried, count, stop)


def spectrum(features: npt.ArrayLike) -> Spectrum:
    """Effective rank, spread, mean cosine and singular values of features ``[n, dim]``."""
    rank, spread, cosine, values = _vssl.spectrum(rows("features", features))
    return Spectrum(rank, spread, cosine, np.asarray(values))


def effective_rank(features: npt.ArrayLike) -> float:
    """The exponential of the entropy of the normalised singular values of features ``[n, dim]``, not centred."""
    return spectrum(features).effective_rank


def rankme(features: npt.ArrayLike, *, eps: float | None = None) -> float:
    """RankMe (Garrido et al. 2023, arXiv:2210.02885, eq. 1) of features ``[n, dim]``; ``eps`` is the paper's 1e-7."""
    return _vssl.rank_me(rows("features", features), eps)


def alpha_req(features: npt.ArrayLike, *, range: tuple[int, int] | None = None) -> AlphaReq:
    """α-ReQ (Agrawal et al. 2022) of features ``[n, dim]``: the decay of their covariance's eigenvalues at the places
    of ``range``, counted from 0; (3, 100) as for the published figures."""
    if range is not None and not 0 <= range[0] <= range[1]:
        raise UsageError(f"range is {range}; expected the first place and the one after the last")
    return AlphaReq(*_vssl.alpha_req(rows("features", features), range))


def lidar(
    features: npt.ArrayLike, views: int, *, delta: float | None = None, epsilon: float | None = None
) -> Lidar:
    """LiDAR (Thilak et al. 2024, arXiv:2312.04000) of features ``[images * views, dim]``: the rows are views of images,
    image after image."""
    if views < 0:
        raise UsageError(f"views of an image is {views}; expected at least 2")
    return Lidar(*_vssl.lidar(rows("features", features), views, delta, epsilon))


def is_number(value: Any) -> bool:
    """Whether it is one number, of Python or of numpy."""
    return isinstance(value, (int, float, np.number)) or (isinstance(value, np.ndarray) and value.ndim == 0)


def listed(value: Any) -> list[Any]:
    """One number or several, as a list."""
    return [value] if is_number(value) else list(value)


def rows(name: str, features: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Features in single precision, contiguous."""
    array: npt.NDArray[Any] = np.asarray(features)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise UsageError(f"{name} is an array {array.dtype} {list(array.shape)}; expected numbers [n, dim]")
    return np.ascontiguousarray(array, dtype=np.float32)


def classes(name: str, labels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Labels as the native functions take them."""
    array: npt.NDArray[Any] = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UsageError(f"{name} is an array {array.dtype} {list(array.shape)}; expected whole numbers [n]")
    return np.ascontiguousarray(array, dtype=np.int64)
