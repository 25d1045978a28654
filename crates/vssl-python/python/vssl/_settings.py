"""Changes of a recipe."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ._errors import UsageError


def overrides(settings: Mapping[str, Any], before: str = "") -> list[str]:
    """Settings as ``--set`` takes them. ``{"train": {"epochs": 3}}`` and ``{"train.epochs": 3}`` are the same."""
    found = []
    for key, value in settings.items():
        name = before + key
        if isinstance(value, Mapping):
            found.extend(overrides(value, name + "."))
        else:
            found.append(f"{name}={text(name, value)}")
    return found


def text(name: str, value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(text(name, one) for one in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {text(name, one)}" for key, one in value.items()) + " }"
    if hasattr(value, "item"):  # A number of numpy.
        return text(name, value.item())
    raise UsageError(f"{name} is {value!r}; expected a number, a text, true or false, or a list of these")
