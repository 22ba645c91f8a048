"""The data of a run: one folder, several, or arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dinoseg.config.training import Training
from dinoseg.data import Dataset, open_dataset
from dinoseg.data.layouts.joined import open_joined
from dinoseg.data.sources.arrays import IN_MEMORY, Arrays, open_arrays
from dinoseg.errors import UsageError
from dinoseg.progress import Progress

Data = Path | str | Sequence[Path | str]


@dataclass(frozen=True)
class Opened:
    """What a run learns from, and how config.yaml names it."""

    dataset: Dataset
    folders: Sequence[Path | str]


@contextmanager
def opened_data(
    data: Data | None, arrays: Arrays | None, how: Training, progress: Progress
) -> Iterator[Opened]:
    """Read the data; arrays last until the block ends.

    Raises:
        DataError: the data cannot be read.
        UsageError: no folder is named, or the options are not for several.
    """
    if arrays is not None:
        with open_arrays(arrays, progress) as dataset:
            yield Opened(dataset, [IN_MEMORY])
        return
    folders = [data] if isinstance(data, Path | str) else list(data or ())
    yield Opened(_open_folders(folders, how, progress), folders)


def _open_folders(folders: Sequence[Path | str], how: Training, progress: Progress) -> Dataset:
    if len(folders) == 1:
        return open_dataset(folders[0], progress=progress)
    if not folders:
        raise UsageError("data names no folder; name one at least")
    if how.shots_from == "first":
        raise UsageError("shots_from 'first' takes the first of one list; several data folders have several")
    return open_joined([Path(folder) for folder in folders], progress)
