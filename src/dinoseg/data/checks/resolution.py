"""Whether a training size resolves what masks show, and which one would.

A lesion is resolved where it covers a patch of the backbone; a thin structure (a vessel) where it is two
pixels wide: narrower, it falls between the samples. The proposed size is the smallest multiple of 32 at
which 90 % of the lesions, and half the length of the thin structures, are resolved. Where the images have
that resolution themselves, windows of the training size show it at the same cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.checks.findings import Finding, list_cases
from dinoseg.data.checks.inspection import CaseFacts, inspect_case
from dinoseg.data.checks.regions import MeasuredMask, iterate_lesions
from dinoseg.data.labels.mapping import LabelMapping

RESOLVED = 0.9  # of the lesions
WIDTH = 2.0  # pixels
USUAL = 320  # px: below, Dice gained with the size on most data measured (docs/training.md)
LARGEST = 1024  # beyond, windows cost less than a larger picture
LOOKED_AT = 8  # cases, before a training
_STEP = 32


@dataclass(frozen=True)
class Resolution:
    """What of the masks a training size resolves.

    Attributes:
        size: side in pixels that images are resized to.
        patch: side in pixels of a patch of the backbone.
        compact: classes of lesions, by id.
        thin: classes of which at least half the area is thin and narrower than a patch, by id.
        proposed: the size that resolves enough, above `LARGEST` as well; None where nothing is shown.
        native: side of the images, median of their geometric mean sides.
        window: side of windows at native resolution that resolve what the size does not; None where they
            would not, or the size does.
    """

    size: int
    patch: int
    compact: tuple[int, ...]
    thin: tuple[int, ...]
    proposed: int | None
    native: float
    window: int | None = None


def judge_resolution(facts: Sequence[MeasuredMask], *, size: int, patch: int) -> Resolution:
    """Measure what a training size resolves."""
    classes = sorted({id_ for case in facts for id_ in case.regions})
    thin = tuple(id_ for id_ in classes if _is_thin(facts, id_, size, patch))
    compact = tuple(id_ for id_ in classes if id_ not in thin)
    wanted = [_size_for_lesions(facts, compact, patch), *(_size_for_width(facts, id_) for id_ in thin)]
    largest = max(wanted)
    proposed = int(np.ceil(largest / _STEP)) * _STEP if largest > 0 else None
    native = float(np.median([case.pixel_count**0.5 for case in facts])) if facts else 0.0
    window = size if proposed is not None and size < proposed <= native else None
    return Resolution(size, patch, compact, thin, proposed, native, window)


def note_resolution(
    cases: Sequence[CaseFiles], mapping: LabelMapping, *, size: int, names: Mapping[int, str], patch: int = 16
) -> tuple[str, ...]:
    """What a training size doesn't resolve, before a training: the warnings of `data check`, of a few cases.

    Args:
        cases: images with masks, of which a few, evenly spread, are read.
        mapping: from mask values to class ids.
        size: side in pixels that images are resized to.
        names: of the classes.
        patch: side in pixels of a patch of the backbone.
    """
    places = sorted({int(place) for place in np.linspace(0, len(cases) - 1, LOOKED_AT)})
    looked = [inspect_case(cases[place], mapping) for place in places]
    facts = [case for case in looked if isinstance(case, CaseFacts)]
    resolution = judge_resolution(facts, size=size, patch=patch)
    if resolution.proposed is None or resolution.proposed <= size:
        return ()
    found = find_unresolved(facts, resolution, dict(names))
    more = "" if len(facts) == len(cases) else f" ({len(facts)} of {len(cases)} cases were looked at)"
    return tuple(f"{each.message}{more}" for each in found if each.severity == "warning")


def collect_widths(
    facts: Sequence[MeasuredMask], class_id: int, *, size: int | None = None
) -> NDArray[np.float64]:
    """Widths along the thin structures of one class, in pixels of the images, or at size × size."""
    found = [
        case.regions[class_id].widths * (1.0 if size is None else case.scale(size))
        for case in facts
        if class_id in case.regions
    ]
    return np.concatenate([np.zeros(0), *found])


def find_unresolved(
    facts: Sequence[MeasuredMask], resolution: Resolution, names: dict[int, str]
) -> list[Finding]:
    """Warnings about lesions below one patch and structures that are too thin, and specks."""
    thin = [_describe_thin(facts, id_, resolution, names.get(id_, str(id_))) for id_ in resolution.thin]
    return [*_find_small(facts, resolution), *(finding for finding in thin if finding), *_find_specks(facts)]


def describe_proposal(resolution: Resolution) -> str:
    """The proposed size as a line of the summary; "" where nothing is shown."""
    size, proposed, patch = resolution.size, resolution.proposed, resolution.patch
    if proposed is None:
        return ""
    parts = [f"{RESOLVED:.0%} of the regions cover a {patch}×{patch} patch"] if resolution.compact else []
    parts += [f"thin structures are {WIDTH:g} px wide"] if resolution.thin else []
    what = " and ".join(parts)
    enlarged = "" if proposed <= resolution.native else " (which enlarges the images)"
    if proposed <= size:
        if size < USUAL:
            return (
                f"size: {size}×{size} resolves the masks, as from {proposed}×{proposed} up {what}; up to "
                f"{USUAL}×{USUAL} Dice often still gains"
            )
        return f"size: {size}×{size} is enough; from {proposed}×{proposed} up {what}"
    windows = _word_windows(resolution)
    if proposed > LARGEST:
        return f"size: only from {proposed}×{proposed}{enlarged} up {what}{windows}"
    way = f"--size {proposed}{windows}"
    return f"size: {proposed} is proposed instead of {size}{enlarged}: from there up {what}; {way}"


def _word_windows(resolution: Resolution) -> str:
    """The end of an advice: windows in place of a larger size, or "" where they would not help."""
    window = resolution.window
    return (
        "" if window is None else f"; or learn from windows of full resolution: --set train.window={window}"
    )


def _is_thin(facts: Sequence[MeasuredMask], id_: int, size: int, patch: int) -> bool:
    regions = [case.regions[id_] for case in facts if id_ in case.regions]
    thin = sum(each.thin_area for each in regions)
    if not thin or 2 * thin < sum(int(each.areas.sum()) for each in regions):
        return False
    return bool(np.median(collect_widths(facts, id_, size=size)) < patch)


def _size_for_lesions(facts: Sequence[MeasuredMask], classes: Sequence[int], patch: int) -> float:
    areas = [area for _, area in iterate_lesions(facts, classes, size=1, patch=patch)]
    return float(np.quantile(areas, 1 - RESOLVED, method="lower")) ** -0.5 if areas else 0.0


def _size_for_width(facts: Sequence[MeasuredMask], id_: int) -> float:
    return float(WIDTH / np.median(collect_widths(facts, id_, size=1)))


def _find_small(facts: Sequence[MeasuredMask], resolution: Resolution) -> list[Finding]:
    size, patch = resolution.size, resolution.patch
    lesions = list(iterate_lesions(facts, resolution.compact, size=size, patch=patch))
    small = [(area, case) for case, area in lesions if area < 1]
    if not small:
        return []
    area, case = min(small)
    still = sum(4 * area < 1 for area, _ in small)
    message = (
        f"{len(small)} of {len(lesions)} regions ({len(small) / len(lesions):.1%}) in "
        f"{len({case for _, case in small})} cases are below one {patch}×{patch} patch at {size}×{size}; "
        f"the smallest covers {area:.2g} patches ({case}); at {2 * size}×{2 * size} {still} would be"
        f"{_word_windows(resolution)}"
    )
    return [Finding("warning", "small", message)]


def _describe_thin(
    facts: Sequence[MeasuredMask], id_: int, resolution: Resolution, name: str
) -> Finding | None:
    size = resolution.size
    trained, stored = collect_widths(facts, id_, size=size), collect_widths(facts, id_)
    if np.median(trained) >= WIDTH:
        return None
    enough = int(np.ceil(_size_for_width(facts, id_) / _STEP)) * _STEP
    way = f"at {enough}×{enough} they are {WIDTH:g} px{_word_windows(resolution)}"
    message = (
        f"class {id_} {name} is thin: {np.median(stored):.1f} px wide in the images (median along its "
        f"length), {np.median(trained):.1f} px at {size}×{size}, where {np.mean(trained < 1):.0%} of the "
        f"length is below one pixel; {way}"
    )
    return Finding("warning", "thin", message)


def _find_specks(facts: Sequence[MeasuredMask]) -> list[Finding]:
    specks = {case.id: sum(each.specks for each in case.regions.values()) for case in facts}
    cases = [id_ for id_, count in specks.items() if count]
    if not cases:
        return []
    count = sum(specks.values())
    what = f"{count} specks of a few pixels beside large regions (probably debris, not counted above)"
    return list_cases("info", "specks", cases, what)
