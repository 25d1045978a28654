"""Training."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any, Union

from . import _vssl
from ._images import Path, data_root
from ._run import Run, run
from ._settings import overrides

#: What is told of a training: the lines of the command (``True``), nothing (``False``), or every event, to a function.
Progress = Union[bool, Callable[[dict[str, Any]], None]]


def pretrain(
    recipe: Path,
    *,
    out: Path | None = None,
    progress: Progress = True,
    verbose: bool = False,
    device: str = "cpu",
    data: Path | None = None,
    force: bool = False,
    **settings: Any,
) -> Run:
    """Trains ``recipe`` in the folder ``out`` (``runs/<recipe>-<seed>``) and returns the run: ``vssl pretrain``.

    ``settings`` are changes of the recipe: ``train={"epochs": 3}`` or ``**{"train.epochs": 3}``. ``progress`` prints
    the lines of the command, or calls a function with every event, a dictionary of the fields of
    ``vssl pretrain --json``; ``verbose`` prints all figures. ``force`` replaces a run that is in ``out`` already.

    Ctrl-C saves the state and raises ``KeyboardInterrupt``; :func:`resume` goes on from there, bit for bit. So does any
    exception that ``progress`` raises. A second Ctrl-C does not wait until the state is saved.
    """
    job = {"recipe": os.fspath(recipe), "out": None if out is None else os.fspath(out), "force": force}
    return trained(job, progress, verbose, device, data, False, settings)


def resume(
    path: Path,
    *,
    progress: Progress = True,
    verbose: bool = False,
    device: str = "cpu",
    data: Path | None = None,
    allow_changed_data: bool = False,
    **settings: Any,
) -> Run:
    """Goes on with the run in the folder ``path``: ``vssl pretrain --resume``. A finished run is returned as it is,
    unless ``settings`` ask for more, such as ``train={"epochs": 300}``. The other arguments are those of
    :func:`pretrain`; ``allow_changed_data`` goes on although the images are others than before."""
    job = {"recipe": None, "out": os.fspath(path), "force": False}
    return trained(job, progress, verbose, device, data, allow_changed_data, settings)


def trained(
    job: dict[str, Any],
    progress: Progress,
    verbose: bool,
    device: str,
    data: Path | None,
    allow_changed_data: bool,
    settings: dict[str, Any],
) -> Run:
    """Trains and reads the run."""
    events = callable(progress)
    job.update(
        overrides=overrides(settings),
        device=device,
        data=data_root(data),
        allow_changed_data=allow_changed_data,
        lines=not events,
        verbose=verbose,
    )

    def tell(text: str) -> None:
        if callable(progress):
            progress(json.loads(text))
        elif progress:
            print(text, flush=True)

    summary = json.loads(_vssl.pretrain(job, tell))
    return run(pathlib.Path(summary["run"]))
