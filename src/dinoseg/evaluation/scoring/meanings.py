"""What the values of labels and of masks mean, when they may have been written by different programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.labels.declarations import Declaration
from dinoseg.data.labels.histograms import MaskValues, merge_values, read_values
from dinoseg.data.labels.mapping import LabelMapping, format_values, infer_mapping, keep_ids, name_classes
from dinoseg.data.volumes import volume_suffix
from dinoseg.errors import LabelError, UsageError
from dinoseg.progress import Progress

_MOST = 254  # ids above are not class ids: 255 is what nobody decided

ClassValues = Mapping[str, int | Sequence[int]]


@dataclass(frozen=True)
class Meaning:
    """What is scored, and how the values of files become class ids.

    Attributes:
        classes: id -> name, 0 the background.
        labels: of the labels.
        masks: of the masks.
        regions: name -> class ids.
        note: what a person should know, or "".
    """

    classes: Mapping[int, str]
    labels: LabelMapping
    masks: LabelMapping
    regions: Mapping[str, tuple[int, ...]]
    note: str = ""


def find_meaning(
    labels: Sequence[Path],
    masks: Sequence[Path],
    *,
    declaration: Declaration,
    classes: ClassValues | None,
    progress: Progress,
) -> Meaning:
    """Decide what the values mean: as given, else as declared, else as all files together allow.

    Args:
        labels: files of the labels.
        masks: files to score.
        declaration: of the labels' folder.
        classes: name -> value or values in the files, where a person says so.
        progress: shows the reading of files.

    Raises:
        UsageError: `classes` gives a value twice, or none.
        LabelError: values that allow no safe reading, or masks with values that no label has.
    """
    known, names = _given(classes) if classes is not None else _declared(declaration, labels)
    regions = declaration.regions if classes is None else {}
    if known is not None and any(map(volume_suffix, labels)):
        return Meaning(names or name_classes(known.class_count), known, known, regions)
    histograms = [_read_values(paths, progress) for paths in (labels, masks)]
    if known is None:
        known = _infer(*histograms, count=len(names) or None)
        return Meaning(names or name_classes(known.class_count), known, known, regions, known.note)
    read, note = _read_masks(known, histograms[1])
    return Meaning(names or name_classes(known.class_count), known, read, regions, note)


def _read_values(paths: Sequence[Path], progress: Progress) -> list[MaskValues]:
    if not paths:
        return []
    return [read_values(path) for path in progress.track(paths, total=len(paths), label="Reading masks")]


def _given(classes: ClassValues) -> tuple[LabelMapping, dict[int, str]]:
    values = {name: (given,) if isinstance(given, int) else tuple(given) for name, given in classes.items()}
    listed = [value for several in values.values() for value in several]
    if not listed or len(set(listed)) < len(listed) or min(listed) < 0 or not all(values.values()):
        raise UsageError(
            f"classes {dict(classes)}: give every class its own values of 0 or more in the files"
        )
    as_they_are = max(listed) <= _MOST and all(len(several) == 1 for several in values.values())
    table, names = {0: 0}, {0: "background"}
    for name, several in values.items():
        if 0 in several:
            names[0] = name
            table.update(dict.fromkeys(several, 0))
            continue
        id_ = several[0] if as_they_are else max(names) + 1
        names[id_] = name
        table.update(dict.fromkeys(several, id_))
    if len(names) < 2:
        raise UsageError(f"classes {dict(classes)}: name a class besides the background, such as 1=lesion")
    return LabelMapping(dict(sorted(table.items())), "declared"), dict(sorted(names.items()))


def _declared(declaration: Declaration, labels: Sequence[Path]) -> tuple[LabelMapping | None, dict[int, str]]:
    names = dict(declaration.classes)
    if declaration.labels is None and names and any(map(volume_suffix, labels)):
        return keep_ids(len(names), kind="declared"), names
    return declaration.labels, names


def _infer(labels: list[MaskValues], masks: list[MaskValues], *, count: int | None) -> LabelMapping:
    together = merge_values([*labels, *masks])
    mapping = infer_mapping(together, class_count=count)
    if mapping.kind in ("binary", "threshold"):
        return mapping
    foreign = set(together.pixels) - {value for mask in labels for value in _values(mask, mapping)} - {0}
    if foreign and not (count and max(foreign) < count):
        raise LabelError(
            f"the masks hold {format_values(sorted(foreign), colour=mapping.colour)}, which no label holds; "
            "say what the values mean with --classes 1=NAME,2=NAME, or declare classes in dataset.yaml"
        )
    return mapping


def _values(mask: MaskValues, mapping: LabelMapping) -> set[int]:
    return set(mask.counts(colour=mapping.colour))


def _read_masks(known: LabelMapping, masks: list[MaskValues]) -> tuple[LabelMapping, str]:
    """The mapping of the labels, or class ids where masks hold those instead, as `predict` writes them."""
    found = {value for mask in masks for value in _values(mask, known)}
    if known.threshold is not None:
        ids = bool(found) and found <= {0, 1} and known.threshold > 1
    else:
        ids = not found <= set(known.table) and all(value < known.class_count for value in found)
    if not ids:
        return known, ""
    return keep_ids(known.class_count), "the masks hold class ids, the labels other values"
