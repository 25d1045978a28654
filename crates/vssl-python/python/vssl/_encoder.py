"""Frozen encoders."""

from __future__ import annotations

import json
import os
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _vssl
from ._errors import Error, ImageWarning, Note, UsageError
from ._images import Path, opened

#: The largest number of images left out that a warning names.
NAMED = 20


@dataclass(frozen=True)
class EncoderInfo:
    """What an encoder is."""

    path: str
    """The run folder or the file."""
    architecture: str
    """The architecture as recipes name it."""
    backbone: dict[str, Any]
    """The settings of the architecture, ``[backbone]`` of a recipe."""
    dim: int
    """The length of a feature."""
    pooling: str | None
    """How the tokens of a transformer become the feature, as recipes name it; ``None`` for other networks."""
    size: int
    """The side in pixels of the square that the network sees."""
    resize: int | None
    """The shorter side before the centre is cut out; ``None`` leaves images of the right size as they are."""
    mean: tuple[float, ...]
    """The mean of each channel, of pixels from 0 to 1."""
    std: tuple[float, ...]
    """The standard deviation of each channel."""
    network: str | None
    """"student" or "teacher"; ``None`` where the file does not say."""
    step: int | None
    """The number of training steps; ``None`` where the file does not say."""
    method: str | None
    """The method of the run; ``None`` for a file."""
    has_posterior: bool
    """Whether ``posterior`` works."""
    device: str
    """The device on which it computes."""


@dataclass(frozen=True)
class Embedding:
    """Features of images and the distributions that the method assigns to them. Row *i* is of image *i*; an image
    that was left out has a row of NaN."""

    features: npt.NDArray[np.float32]
    """``[n, dim]``."""
    mean: npt.NDArray[np.float32]
    """The mean of the posterior, ``[n, d]``."""
    variance: npt.NDArray[np.float32] | None
    """The variance of the posterior, ``[n, d]``; ``None`` with the cosine objective."""
    variance_direction: npt.NDArray[np.float32] | None
    """With the cosine objective, which uses only the direction of this vector, ``[n, d]``; entries may be negative."""
    uncertainty: npt.NDArray[np.float32]
    """KL(posterior ‖ prior) of each image, ``[n]``; larger for a less certain image."""


class Encoder:
    """A frozen encoder: from a run, from a fine-tuning, or from a file that ``vssl export`` or ``vssl import`` wrote.

    It knows the size and the normalisation that its images need. Calls from several threads wait for each other; the
    interpreter's lock is released while an encoder computes.
    """

    def __init__(self, native: _vssl.Encoder) -> None:
        self._native = native
        for note in native.notes:
            warnings.warn(note, Note, stacklevel=3)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        network: str = "student",
        checkpoint: str = "latest",
        pooling: str | None = None,
        device: str = "cpu",
    ) -> Encoder:
        """Loads the encoder at ``path``.

        ``network`` ("student" or "teacher") and ``checkpoint`` ("latest", "best" or "step-N") choose among those of
        a run. ``pooling`` ("token", "mean" or "token-mean") is the feature of a transformer; unless given, it is what
        ``evaluation.pooling`` of the run's recipe says, and otherwise the network's own. ``device`` is as in ``vssl embed --device``; a wheel has ``cpu`` only, unless it was built otherwise.
        """
        if not re.fullmatch(r"latest|best|step-\d+", checkpoint):
            raise UsageError(f"checkpoint is {checkpoint!r}; expected latest, best or step-N, as in step-1000")
        return cls(_vssl.Encoder.load(os.fspath(path), network, checkpoint, pooling, device))

    @property
    def info(self) -> EncoderInfo:
        """What the encoder is."""
        found = json.loads(self._native.info)
        found["mean"], found["std"] = tuple(found["mean"]), tuple(found["std"])
        return EncoderInfo(**found)

    def embed(
        self,
        images: Any,
        *,
        split: str = "train",
        batch: int | None = None,
        skip_unreadable: bool = False,
        workers: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """The features of images, ``[n, dim]``: the bits of ``vssl embed --features-only``.

        ``images`` is an array of bytes ``[n, h, w, c]``, a sequence of arrays, PIL images or paths, an
        :class:`Images`, or the path of a set of images, of which ``split`` is taken. They have the channels that the
        encoder was trained with; with three of them, grey is repeated and a fourth is dropped. ``batch`` is the number
        of images of a forward pass and ``workers`` that of threads that decode; neither changes a feature. An image
        that cannot be read is an error; with ``skip_unreadable`` it has a row of NaN, and a warning names it.
        """
        found = opened(images, split, reading=self._native.reading())
        answer = self._native.embed(found._native, checked(batch), skip_unreadable, checked(workers))
        return whole(answer, len(found))[0]

    def posterior(
        self,
        images: Any,
        *,
        split: str = "train",
        batch: int | None = None,
        skip_unreadable: bool = False,
        workers: int | None = None,
    ) -> Embedding:
        """Features, means, variances and uncertainties of images: the bits of ``vssl embed``.

        Only a run has these, and only of a method with distributions, such as VSSL. The arguments are those of
        :meth:`embed`.
        """
        found = opened(images, split, reading=self._native.reading())
        answer = self._native.posterior(found._native, checked(batch), skip_unreadable, checked(workers))
        if answer is None:
            raise UsageError(
                f"{self.info.path}: no posterior; expected the run of a method with distributions, such as vssl"
            )
        arrays, is_direction = answer
        features, mean, variance, uncertainty = whole(arrays, len(found))
        return Embedding(
            features=features,
            mean=mean,
            variance=None if is_direction else variance,
            variance_direction=variance if is_direction else None,
            uncertainty=uncertainty[:, 0],
        )


def checked(count: int | None) -> int | None:
    """A number of images or threads."""
    if count is not None and count < 1:
        raise UsageError(f"a number of {count}; expected at least 1")
    return count


def counted(images: int) -> str:
    """A number of images in words."""
    return f"{images} image" if images == 1 else f"{images} images"


def whole(answer: tuple[Any, Any, list[str]], images: int) -> list[npt.NDArray[np.float32]]:
    """The arrays with a row for each image."""
    arrays, indices, left_out = answer
    if not left_out and len(indices) == images and arrays:
        return list(arrays)
    if not arrays:
        last = left_out[-1] if left_out else "the set is empty"
        raise Error(f"none of {counted(images)} could be read; the last: {last}")
    more = f"\n… and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    warnings.warn(
        f"{counted(len(left_out))} left out, with rows of NaN:\n" + "\n".join(left_out[:NAMED]) + more,
        ImageWarning,
        stacklevel=4,
    )
    filled = []
    for array in arrays:
        rows = np.full((images, array.shape[1]), np.nan, dtype=np.float32)
        rows[indices] = array
        filled.append(rows)
    return filled
