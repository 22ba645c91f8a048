"""DICOM SEG and RTSTRUCT as masks to be scored: which series each was drawn on, its UIDs say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.volumes import volume_suffix
from dinoseg.errors import DataError, LayoutError
from dinoseg.evaluation.scoring.masks import LabelFiles, MaskPairs

MASKS = "masks"  # where `predict` writes them


def pair_segmentations(place: Path, labels: LabelFiles) -> MaskPairs | None:
    """Pair the SEG and RTSTRUCT files of a folder with series; None where there is none of either.

    Args:
        place: a folder with such files, or one whose `masks/` holds them; names do not matter.
        labels: of a DICOM data set.

    Raises:
        LayoutError: two were drawn on one series, or none on any of these.
    """
    by_series = {_uid(case): case for case in labels.cases if case.series is not None}
    if not by_series or not place.is_dir():
        return None
    found: dict[str, Path] = {}
    extra: list[Path] = []
    for path, series in _list_objects(place):
        uid = next((uid for uid in series if uid in by_series), None)
        if uid is None:
            extra.append(path)
        elif uid in found:
            raise LayoutError(
                f"{found[uid]} and {path} were both drawn on the series of {by_series[uid].id}; "
                "keep one of them"
            )
        else:
            found[uid] = path
    if not found and extra:
        raise LayoutError(
            f"none of the {len(extra)} segmentations in {place} ({extra[0].name}) was drawn on a series of "
            f"{labels.root}; name the data set of these series"
        )
    if not found:
        return None
    pairs = tuple((found[uid], case) for uid, case in by_series.items() if uid in found)
    lacking = tuple(case for uid, case in by_series.items() if uid not in found)
    return MaskPairs(pairs, lacking, tuple(extra))


def _uid(case: CaseFiles) -> str:
    return str(getattr(case.series, "uid", ""))


def _list_objects(place: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Files that are a SEG or RTSTRUCT, with the UIDs of their series."""
    from dinoseg.data.dicom import read_label_object

    for folder in (place, place / MASKS):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_file() and not path.name.startswith(".") and not volume_suffix(path):
                try:
                    yield path, read_label_object(path).series
                except DataError:  # another file: pictures, predictions.json
                    continue
