"""The digests of files, remembered: a data set is hashed once, however often it is trained on."""

from __future__ import annotations

from dinoseg.data.images import content_digest
from dinoseg.data.memory import FileMemory


def remember_digests() -> FileMemory[str]:
    """sha256 of files by `find`, to be used in a `with` block."""
    return FileMemory("sha256", content_digest)
