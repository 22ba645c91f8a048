"""What JSON knows, of whatever is to be written."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any


def to_plain(value: Any, *, relative_to: Path | None = None) -> Any:
    """Dataclasses, settings, paths and arrays as what JSON knows; NaN and infinities as null.

    Args:
        value: whatever is to be written.
        relative_to: paths below this folder are given relative to it.
    """
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return to_plain(named, relative_to=relative_to)
    if hasattr(value, "model_dump"):  # settings; pydantic is not loaded to know them
        return to_plain(value.model_dump(), relative_to=relative_to)
    if isinstance(value, Mapping):
        return {str(key): to_plain(item, relative_to=relative_to) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item, relative_to=relative_to) for item in value]
    if isinstance(value, bool | int | str | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, PurePath):
        if relative_to is not None and value.is_relative_to(relative_to):
            return value.relative_to(relative_to).as_posix()
        return str(value)
    return to_plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def digest_json(value: Any) -> str:
    """Sha256 of a JSON value, however it is laid out."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
