"""What a source holds, as one digest: of an image, of a volume in several files, of a series."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from dinoseg.data.images import content_digest
from dinoseg.data.sources.channels import list_channels
from dinoseg.data.volumes import volume_stem, volume_suffix

_HEADERS = (".nhdr", ".mhd")  # the voxels lie in other files beside them


def digest_source(path: Path, *, channels: int = 1, files: Sequence[Path] = ()) -> str:
    """sha256 of a file's bytes; of several files that are one source, of their names and digests.

    Args:
        path: an image, a volume, or the folder or zip of a series.
        channels: of the model; each may be a file of its own.
        files: of a series that was given file by file, in place of all that `path` stands for.

    Raises:
        FileFormatError: a file cannot be read.
    """
    files = sorted(files) or _list_files(path, channels)
    if len(files) == 1:
        return content_digest(files[0])
    lines = "\n".join(f"{file.name} {content_digest(file)}" for file in files)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _list_files(path: Path, channels: int) -> Sequence[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    suffix = volume_suffix(path)
    if suffix in _HEADERS:
        name = volume_stem(path) + "."
        return sorted(file for file in path.parent.iterdir() if file.is_file() and file.name.startswith(name))
    return list_channels(path, channels) if suffix else [path]
