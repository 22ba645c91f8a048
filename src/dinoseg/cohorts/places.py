"""Which places lie in a store and not on this machine."""

from __future__ import annotations

import re
from pathlib import Path

PLACE = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/{1,2}(?P<rest>.*)", re.DOTALL)  # a path folds two slashes
_OURS = {"hf", "file"}  # shared models, and folders


def is_remote(place: Path | str) -> bool:
    """Whether a place lies in a store, not on this machine: s3://bucket/scans, also as a path writes it."""
    found = PLACE.fullmatch(str(place))
    return found is not None and found["scheme"] not in _OURS
