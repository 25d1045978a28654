"""Sets of images."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from . import _vssl
from ._errors import Note, UsageError

Path = Union[str, "os.PathLike[str]"]
SPLITS = ("train", "validation", "test")


class Images(Sequence["npt.NDArray[np.uint8]"]):
    """A set of images: ``images[i]`` reads and decodes one of them, ``[h, w, 3]``.

    ``Images.open`` opens what the command reads: a folder, an archive, shards, a list, or the data of a recipe.
    ``Images.of`` takes arrays, PIL images and paths.
    """

    def __init__(self, native: _vssl.Images) -> None:
        self._native = native
        for note in native.notes:
            warnings.warn(note, Note, stacklevel=3)

    @classmethod
    def open(
        cls, path: Path, *, split: str = "train", format: str | None = None, data: Path | None = None
    ) -> Images:
        """Opens one split of the images at ``path``.

        ``split`` is "train", "validation" (the test images, where there are no validation images) or "test".
        ``format`` is a name of ``data.format`` in recipes; by default it is recognised from the names of the files.
        ``data`` is the folder in which a relative path is looked for, too: ``VSSL_DATA``, or ``data``.
        What was taken for what, and what was left out, is told as a warning.
        """
        if split not in SPLITS:
            raise UsageError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
        return cls(_vssl.Images.open(os.fspath(path), split, format, data_root(data)))

    @classmethod
    def of(cls, images: Any) -> Images:
        """The images that are given, without labels.

        ``images`` is an array of bytes ``[n, h, w, c]`` (or ``[n, h, w]``, which is grey) or a sequence whose
        entries are all arrays ``[h, w, c]``, all PIL images or all paths. Grey is repeated in three channels, and a
        fourth channel is dropped. PIL images become RGB by Pillow's ``convert``.
        """
        if isinstance(images, np.ndarray):
            return cls(_vssl.Images.of_array(rgb(images, 4)))
        if isinstance(images, (str, bytes, os.PathLike)) or not isinstance(images, Iterable):
            raise UsageError(f"images are {type(images).__name__}; expected an array or a sequence of images")
        found = list(images)
        if found and all(isinstance(one, (str, os.PathLike)) for one in found):
            return cls(_vssl.Images.of_files([os.fspath(one) for one in found]))
        return cls(_vssl.Images.of_arrays([rgb(picture(one, place), 3) for place, one in enumerate(found)]))

    def __len__(self) -> int:
        return len(self._native)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = index.__index__()
        if place < 0:
            place += len(self)
        if place < 0:
            raise IndexError(f"image {index} of {len(self)}")
        return self._native.pixels(place)

    @property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """The class of each image, ``[n]``; ``None`` where there are no classes."""
        return self._native.labels()

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the labels."""
        return self._native.classes()

    def name(self, index: int) -> str:
        """The name of an image: its path, or the file and the place in it."""
        return self._native.name(index)


def data_root(data: Path | None) -> str:
    """The folder of the datasets, as the command finds it."""
    return os.fspath(data if data is not None else os.environ.get("VSSL_DATA") or "data")


def opened(images: Any, split: str, data: Path | None = None) -> Images:
    """What is meant by ``images`` where a path, an array, a sequence or a set may be given."""
    if isinstance(images, Images):
        return images
    if isinstance(images, (str, os.PathLike)):
        return Images.open(pathlib.Path(images), split=split, data=data)
    return Images.of(images)


def picture(one: Any, place: int) -> npt.NDArray[np.uint8]:
    """An image as an array."""
    if isinstance(one, np.ndarray):
        return one
    if hasattr(one, "convert"):  # A PIL image; Pillow need not be installed.
        return np.asarray(one.convert("RGB"))
    raise UsageError(
        f"image {place} is {type(one).__name__}; expected arrays [h, w, c], PIL images or paths, all of one kind"
    )


def rgb(array: npt.NDArray[Any], dimensions: int) -> npt.NDArray[np.uint8]:
    """An array of bytes with three channels, contiguous."""
    if array.dtype != np.uint8:
        raise UsageError(f"the images are {array.dtype}; expected uint8, from 0 to 255")
    if array.ndim == dimensions - 1:
        array = array[..., None]
    if array.ndim != dimensions or array.shape[-1] not in (1, 3, 4):
        expected = ["h", "w", "1, 3 or 4 channels"] if dimensions == 3 else ["n", "h", "w", "1, 3 or 4 channels"]
        raise UsageError(f"an array of shape {list(array.shape)}; expected [{', '.join(expected)}]")
    if array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=-1)
    return np.ascontiguousarray(array[..., :3])
