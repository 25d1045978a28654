"""The folder of a run."""

from __future__ import annotations

import json
import os
import pathlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from . import _vssl
from ._encoder import Encoder
from ._errors import Note
from ._images import Path


@dataclass(frozen=True)
class Run:
    """What a run has written so far."""

    path: pathlib.Path
    """The folder."""
    recipe: dict[str, Any]
    """The resolved recipe, every setting."""
    summary: dict[str, Any] | None
    """The result, ``summary.json``; ``None`` before the end."""
    metrics: dict[str, npt.NDArray[Any]]
    """The figures of logged steps: an array for each name, with one entry a line. ``metrics["step"]`` and
    ``metrics["epoch"]`` say of which step; a line without a figure has NaN."""
    evaluations: dict[str, npt.NDArray[Any]]
    """The figures of evaluations between epochs, in the same form."""

    def encoder(self, *, network: str = "student", checkpoint: str = "latest", device: str = "cpu") -> Encoder:
        """The encoder of the run."""
        return Encoder.load(self.path, network=network, checkpoint=checkpoint, device=device)


def run(path: Path) -> Run:
    """Reads the run in the folder ``path``, while it trains or afterwards. A damaged line of its metrics is told as a
    warning and left out."""
    recipe, summary, metrics, evaluations, damaged = _vssl.read_run(os.fspath(path))
    for message in damaged:
        warnings.warn(message, Note, stacklevel=2)
    result = None if summary is None else json.loads(summary)
    return Run(pathlib.Path(path), json.loads(recipe), result, metrics, evaluations)
