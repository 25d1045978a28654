"""Sets of images."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from . import _vssl
from ._errors import Note, UsageError

Path = Union[str, "os.PathLike[str]"]
SPLITS = ("train", "validation", "test")

#: The channels that an array of images may have where so many are expected; exactly these, where nothing is said.
ACCEPTED = {3: (1, 3, 4)}


class Images(Sequence["npt.NDArray[np.uint8]"]):
    """A set of images: ``images[i]`` reads and decodes one of them, ``[h, w, channels]``.

    ``Images.open`` opens what the command reads: a folder, an archive, shards, a list, or the data of a recipe.
    ``Images.of`` takes arrays, PIL images and paths.
    """

    def __init__(self, native: _vssl.Images) -> None:
        self._native = native
        for note in native.notes:
            warnings.warn(note, Note, stacklevel=3)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        split: str = "train",
        format: str | None = None,
        data: Path | None = None,
        channels: int | None = None,
    ) -> Images:
        """Opens one split of the images at ``path``.

        ``split`` is "train", "validation" (the test images, where there are no validation images) or "test".
        ``format`` is a name of ``data.format`` in recipes; by default it is recognised from the names of the files.
        ``data`` is the folder in which a relative path is looked for, too: ``VSSL_DATA``, or ``data``.
        ``channels`` is ``data.channels`` of recipes: 3, or what the recipe at ``path`` says.
        What was taken for what, and what was left out, is told as a warning.
        """
        reading = None if channels is None else read_as(channels)
        return cls(_vssl.Images.open(os.fspath(path), one_of_splits(split), format, data_root(data), reading))

    @classmethod
    def of(cls, images: Any, *, channels: int = 3) -> Images:
        """The images that are given, without labels.

        ``images`` is an array of bytes ``[n, h, w, c]`` (or ``[n, h, w]``, which is grey) or a sequence whose
        entries are all arrays ``[h, w, c]``, all PIL images or all paths. With three ``channels`` grey is repeated, a
        fourth channel is dropped, and PIL images become RGB by Pillow's ``convert``; with another number the images
        have exactly these channels.
        """
        return cls(native(images, read_as(channels)))

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


def one_of_splits(split: str) -> str:
    """The name of a split."""
    if split not in SPLITS:
        raise UsageError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    return split


def read_as(channels: int) -> _vssl.Reading:
    """How images of so many channels are read."""
    if channels < 1:
        raise UsageError(f"channels is {channels}; expected at least 1")
    return _vssl.Reading(channels)


def opened(images: Any, split: str, data: Path | None = None, reading: _vssl.Reading | None = None) -> Images:
    """What is meant by ``images`` where a path, an array, a sequence or a set may be given. Files are read as
    ``reading`` says; a set that was opened otherwise is told as a warning."""
    if isinstance(images, Images):
        note = None if reading is None else reading.note(images._native)
        if note is not None:
            warnings.warn(note, Note, stacklevel=3)
        return images
    if isinstance(images, (str, os.PathLike)):
        path = os.fspath(images)
        return Images(_vssl.Images.open(path, one_of_splits(split), None, data_root(data), reading))
    return Images(native(images, reading or read_as(3)))


def native(images: Any, reading: _vssl.Reading) -> _vssl.Images:
    """Images that are given: an array, or arrays, PIL images or paths."""
    channels = reading.channels
    if isinstance(images, np.ndarray):
        if images.ndim == 3 and images.shape[-1] in (1, 3, 4, channels):
            raise UsageError(
                f"an array of shape {list(images.shape)} looks like one image; expected [n, h, w, c]: give [image]"
            )
        return _vssl.Images.of_array(with_channels(images, 4, channels))
    if isinstance(images, (str, bytes, os.PathLike)) or not isinstance(images, Iterable):
        raise UsageError(f"images are {type(images).__name__}; expected an array or a sequence of images")
    found = list(images)
    if found and all(isinstance(one, (str, os.PathLike)) for one in found):
        return _vssl.Images.of_files([os.fspath(one) for one in found], reading)
    pictures = (picture(one, place, channels) for place, one in enumerate(found))
    return _vssl.Images.of_arrays([with_channels(one, 3, channels) for one in pictures])


def picture(one: Any, place: int, channels: int) -> npt.NDArray[np.uint8]:
    """An image as an array."""
    if isinstance(one, np.ndarray):
        return one
    if hasattr(one, "convert"):  # A PIL image; Pillow need not be installed.
        if one.mode[0] in "IF":
            raise UsageError(
                f"image {place} is a PIL image of mode {one.mode!r}, and Pillow cuts off its numbers above 255; "
                "expected its path, or an array of bytes"
            )
        if channels == 3 or one.mode[0] == "P":  # A palette is not the picture.
            one = one.convert("RGB")
        elif one.mode == "1":
            one = one.convert("L")
        return np.asarray(one)
    raise UsageError(
        f"image {place} is {type(one).__name__}; expected arrays [h, w, c], PIL images or paths, all of one kind"
    )


def with_channels(array: npt.NDArray[Any], dimensions: int, channels: int) -> npt.NDArray[np.uint8]:
    """An array of bytes with so many channels, contiguous."""
    if array.dtype != np.uint8:
        raise UsageError(f"the images are {array.dtype}; expected uint8, from 0 to 255")
    if array.ndim == dimensions - 1:
        array = array[..., None]
    accepted = ACCEPTED.get(channels, (channels,))
    if array.ndim != dimensions or array.shape[-1] not in accepted:
        words = "1, 3 or 4 channels" if channels == 3 else "1 channel" if channels == 1 else f"{channels} channels"
        expected = ["h", "w", words] if dimensions == 3 else ["n", "h", "w", words]
        raise UsageError(f"an array of shape {list(array.shape)}; expected [{', '.join(expected)}]")
    if channels == 3:
        array = np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]
    return np.ascontiguousarray(array)
