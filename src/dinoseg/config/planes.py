"""Directions in which volumes are cut into slices: one, or several that are averaged."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator

Plane = Literal["axial", "coronal", "sagittal"]


def _read_planes(value: Any) -> Any:
    """One plane as its word, several as a tuple, of what was set: a word, several with commas, a list.

    Raises:
        ValueError: it is nothing of these, or a plane is unknown or stands twice.
    """
    known = get_args(Plane)
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)) or not words:
        raise ValueError(f"give one of {', '.join(known)}, or a list of several")
    names = tuple(str(word).strip() for word in words)
    for name in names:
        if name not in known:
            raise ValueError(f"a plane is one of {', '.join(known)}, not {name!r}")
    if len(set(names)) < len(names):
        raise ValueError("a plane is named twice")
    return names[0] if len(names) == 1 else names


Planes = Annotated[Plane | tuple[Plane, ...], BeforeValidator(_read_planes)]
