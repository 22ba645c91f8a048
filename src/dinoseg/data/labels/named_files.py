"""Files that a data set is described in, found whatever the case of their names."""

from __future__ import annotations

from pathlib import Path

from dinoseg.errors import LayoutError


def find_named(folder: Path, *names: str) -> Path | None:
    """The one entry of `folder` with any of these names (lower case), written in upper or lower case.

    Raises:
        LayoutError: there are several, such as dataset.yaml and Dataset.yml.
    """
    try:
        found = sorted(entry for entry in folder.iterdir() if entry.name.casefold() in names)
    except OSError:
        return None
    if len(found) > 1:
        listed = " and ".join(entry.name for entry in found)
        raise LayoutError(f"{folder} holds {listed}, which say the same thing; keep one of them")
    return found[0] if found else None
