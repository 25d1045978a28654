"""The input pipeline of a training: batches of random views."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _vssl
from ._errors import Error, ImageWarning, UsageError
from ._images import Images, Path, data_root, opened
from ._settings import overrides


@dataclass(frozen=True)
class View:
    """The properties of a view that are the same for every image."""

    size: int
    """The side in pixels."""
    local: bool
    """Whether it is a small local crop, which only the student sees."""


@dataclass(frozen=True)
class Replaced:
    """An image that could not be read; another image has its place in the batch."""

    place: int
    """The place in the batch."""
    error: str
    """The message, which names the image."""


@dataclass(frozen=True)
class Batch:
    """The data of one step."""

    step: int
    """The number of the step in the whole training, from 0."""
    epoch: int
    """The number of the epoch, from 0."""
    indices: npt.NDArray[np.int64]
    """The numbers of the images, ``[n]``."""
    labels: npt.NDArray[np.int64] | None
    """The classes of the images, ``[n]``; ``None`` where there are none."""
    views: list[npt.NDArray[Any]]
    """Each ``[n, channels, size, size]``, in the order of the view groups."""
    replaced: list[Replaced]
    """The images that could not be read and were replaced."""


class Views:
    """Batches of random views, as vssl's own training sees them, for a training in another framework.

    A batch is a function of the seed and the step: neither the number of threads nor the step at which a training goes
    on changes a byte of it. Threads of vssl make the batches ahead of their use, without the interpreter's lock; a
    ``DataLoader`` around them needs no workers (``num_workers=0``).

    ``source`` is the path of a recipe, or a sequence of view groups: dictionaries with the keys of a recipe's
    ``[[views]]``. ``images`` is as in :meth:`Encoder.embed`; a recipe names its own images, and
    other files are read as those are. Iterating goes from the step ``start`` to the end of the ``epochs`` (by default
    those of the recipe; of view groups, without end).

    ``batch`` is the number of images over all ``world`` ranks; this rank gets its share of each batch. ``dtype`` is
    "float32", normalised by ``mean`` and ``std``, or "uint8", as they were before that. With view groups these two say
    how many channels the images have: 3, unless both are given. ``layout`` is "contiguous", or "channels_last" for
    arrays of the same shape whose channels lie beside each other, as ``torch.channels_last`` has them. ``settings`` are
    changes of the recipe, such as ``{"views": ...}`` or ``{"data.limit_train": 1000}``.
    """

    def __init__(
        self,
        source: Path | Sequence[Mapping[str, Any]],
        images: Any = None,
        *,
        batch: int | None = None,
        epochs: int | None = None,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        seed: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: str = "float32",
        layout: str = "contiguous",
        split: str = "train",
        workers: int | None = None,
        prefetch: int | None = None,
        on_bad_image: str | None = None,
        data: Path | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        means = None if mean is None else list(mean)
        deviations = None if std is None else list(std)
        given = {
            "batch": batch,
            "seed": seed,
            "mean": means,
            "std": deviations,
            "rank": rank,
            "world": world,
            "workers": workers,
            "prefetch": prefetch,
            "on_bad_image": on_bad_image,
            "bytes": among("dtype", dtype, ("float32", "uint8")) == "uint8",
            "planes": among("layout", layout, ("contiguous", "channels_last")) == "contiguous",
        }
        for name, value in given.items():
            if isinstance(value, int) and value < 0:
                raise UsageError(f"{name} is {value}; expected a number of at least 0")
        if start < 0 or (epochs is not None and epochs < 0):
            raise UsageError(f"start is {start} and epochs is {epochs}; expected numbers of at least 0")
        self._planes = bool(given["planes"])
        if isinstance(source, (str, os.PathLike)):
            recipe = os.fspath(source)
            changes = overrides(settings or {})
            self._images = (
                opened(images, split, data, _vssl.Reading.of_recipe(recipe, changes))
                if images is not None
                else Images(_vssl.Images.of_recipe(recipe, changes, split, data_root(data)))
            )
            self._native = _vssl.Views.of_recipe(recipe, changes, self._images._native, given)
        else:
            if images is None:
                raise UsageError("view groups name no images; expected images")
            if settings:
                raise UsageError("settings are changes of a recipe; expected them in the view groups")
            groups = json.dumps([dict(group) for group in source])
            reading = _vssl.Reading(len(means)) if means and deviations else None
            self._images = opened(images, split, data, reading)
            self._native = _vssl.Views.of_groups(groups, self._images._native, given)
        self.start = start
        self._epochs = epochs

    @property
    def images(self) -> Images:
        """The images."""
        return self._images

    @property
    def batch(self) -> int:
        """The number of images of a batch, over all ranks."""
        return self._native.batch()

    @property
    def views(self) -> list[View]:
        """The views of an image, in the order of :attr:`Batch.views`."""
        return [View(size, local) for size, local in self._native.shapes()]

    @property
    def steps_per_epoch(self) -> int:
        """The whole batches of an epoch. The images that do not fill one are left out, others in every epoch."""
        return self._native.steps_per_epoch

    @property
    def steps(self) -> int | None:
        """The steps of the whole training; ``None`` without end."""
        if self._epochs is not None:
            return self._epochs * self.steps_per_epoch
        return self._native.total_steps

    def __len__(self) -> int:
        steps = self.steps
        if steps is None:
            raise TypeError("these views have no end; expected epochs")
        return max(0, steps - self.start)

    def __iter__(self) -> Iterator[Batch]:
        steps = self.steps
        return self._between(self.start, 2**63 - 1 if steps is None else max(steps, self.start))

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, counted from 0, without those before the step ``start``."""
        if number < 0:
            raise UsageError(f"epoch {number}; expected a number of at least 0")
        first, end = number * self.steps_per_epoch, (number + 1) * self.steps_per_epoch
        return self._between(min(max(first, self.start), end), end)

    def parameters(self, epoch: int, index: int, view: int) -> dict[str, Any]:
        """What was drawn for a view of an image: the crop (``top``, ``left``, ``height``, ``width``), its ``size`` and
        ``interpolation``, then in the order of application ``jitter`` (pairs of a name and a factor, or ``None``),
        ``grayscale``, ``blur`` (a standard deviation in pixels, or ``None``), ``solarize``, ``equalize`` and ``flip``.
        """
        if min(epoch, index, view) < 0:
            raise UsageError(f"epoch {epoch}, image {index}, view {view}; expected numbers of at least 0")
        found: dict[str, Any] = json.loads(self._native.parameters(epoch, index, view))
        return found

    def _between(self, start: int, end: int) -> Iterator[Batch]:
        refuse_workers()
        return self._batches(self._native.batches(start, end))

    def _batches(self, batches: _vssl.Batches) -> Iterator[Batch]:
        try:
            for step, epoch, indices, labels, views, replaced in batches:
                if not self._planes:
                    views = [view.transpose(0, 3, 1, 2) for view in views]
                bad = [Replaced(place, error) for place, error in replaced]
                for one in bad:
                    warnings.warn(f"step {step}: replaced: {one.error}", ImageWarning, stacklevel=2)
                yield Batch(step, epoch, indices, labels, views, bad)
        finally:
            batches.close()


def among(name: str, value: str, expected: tuple[str, ...]) -> str:
    """A setting of a few names."""
    if value not in expected:
        raise UsageError(f"{name} is {value!r}; expected one of {', '.join(expected)}")
    return value


def refuse_workers() -> None:
    """Refuses the workers of a DataLoader, each of which would make every batch."""
    data = sys.modules.get("torch.utils.data")
    if data is not None and data.get_worker_info() is not None:
        raise Error(
            "vssl.Views in a worker of a DataLoader: every worker would make every batch. Expected num_workers=0: "
            "the views have threads of their own (workers=N)"
        )
