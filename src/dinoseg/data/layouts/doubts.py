"""Images and masks that can be used, but may mean something else than they seem to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dinoseg.data.cases.files import CaseFiles, shorten
from dinoseg.data.images import image_info
from dinoseg.data.labels.histograms import MaskValues
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.data.layouts.remarks import Remark
from dinoseg.errors import FileFormatError

NEARLY_ALL = 0.9
_MANY = 0.1  # of the cases: fewer are large findings
_NAMED = 5


def find_covering(
    cases: Sequence[CaseFiles], masks: Mapping[Path, MaskValues], mapping: LabelMapping
) -> tuple[Remark, ...]:
    """A remark where the foreground covers nearly everything: a field of view, or colours swapped.

    Args:
        cases: of the data set.
        masks: the values of every mask file.
        mapping: what they mean.
    """
    full = [case.id for case in cases if _share(case, masks, mapping) >= NEARLY_ALL]
    if not full:
        return ()
    many = len(full) >= _MANY * len(cases)
    message = (
        f"the foreground covers at least {NEARLY_ALL:.0%} of the pixels in {len(full)} of {len(cases)} cases "
        "(is it a field of view, or are foreground and background swapped?): "
    )
    return (Remark("coverage", message + shorten(full, limit=_NAMED), many),)


def find_turned(cases: Sequence[CaseFiles], *, stored: bool) -> tuple[Remark, ...]:
    """A remark on images with an EXIF orientation whose masks have none; unreadable files are skipped.

    Args:
        cases: of images and masks.
        stored: it is declared that masks were drawn on the stored pixels.
    """
    if stored:
        return ()
    turned, fitting = [], []
    for case in cases:
        if case.label is None or case.is_volume:
            continue
        try:
            image = image_info(case.image)
            mask = image_info(case.label) if image.oriented else None
        except FileFormatError:
            continue
        if mask is not None and not mask.oriented:
            turned.append(case.id)
            if mask.size != image.size and mask.size == image.size[::-1] and image.orientation >= 5:
                fitting.append(case.id)
    if not turned:
        return ()
    one = len(turned) == 1
    but = f", but for {len(fitting)} that fit only the stored pixels and are turned" if fitting else ""
    message = (
        f"{len(turned)} {'image carries' if one else 'images carry'} an EXIF orientation and "
        f"{'its mask' if one else 'their masks'} none: masks are taken as drawn on the upright image{but}; "
        "say `masks: stored` in dataset.yaml if they were drawn on the stored pixels: "
        f"{shorten(turned, limit=_NAMED)}"
    )
    return (Remark("orientation", message, matters=True),)


def _share(case: CaseFiles, masks: Mapping[Path, MaskValues], mapping: LabelMapping) -> float:
    """Share of the decided pixels that are foreground, in the mask of a case that shows most."""
    shares = [0.0]
    for path in case.labels:
        if path not in masks:
            continue
        counts = masks[path].counts(colour=mapping.colour)
        decided = sum(count for value, count in counts.items() if not mapping.ignores(value))
        shown = sum(count for value, count in counts.items() if mapping.is_foreground(value))
        shares.append(shown / max(decided, 1))
    return max(shares)
