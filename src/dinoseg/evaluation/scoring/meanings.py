"""What the values of labels and of masks mean, when they may have been written by different programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dinoseg.data.labels.declarations import Declaration
from dinoseg.data.labels.histograms import MaskValues
from dinoseg.data.labels.inference import infer_mapping, read_masks
from dinoseg.data.labels.mapping import LabelMapping, format_values, keep_ids, name_classes
from dinoseg.data.layouts.dataset import choose_mapping, count_labels
from dinoseg.errors import LabelError, UsageError
from dinoseg.evaluation.scoring.masks import LabelFiles
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
    source: LabelFiles,
    classes: ClassValues | None,
    progress: Progress,
) -> Meaning:
    """Decide what the values mean: as given, else as declared, else as all files together allow.

    Args:
        labels: files of the labels.
        masks: files to score.
        source: where the labels are from, with what is declared there.
        classes: name -> value or values in the files, where a person says so.
        progress: shows the reading of files.

    Raises:
        UsageError: `classes` gives a value twice, or none, or each mask has a declared class.
        LabelError: values that allow no safe reading, or masks with values that no label has.
    """
    declaration = source.declaration
    each = declaration.merge is not None and bool(declaration.merge.classes)
    if each and classes is not None:
        raise UsageError(f"dataset.yaml of {source.root} gives every mask a class (merge); leave classes out")
    known, names = _given(classes) if classes is not None else _declared(source)
    if known is not None and source.is_volumes:
        reading = _Reading(known, known)
    else:
        held, given = read_masks(labels, progress), read_masks(masks, progress)
        apart = known is not None or each
        reading = _read_apart(known, held, given, source, each) if apart else _infer(held, given, source)
    return Meaning(
        classes=names or name_classes(reading.labels.class_count),
        labels=reading.labels,
        masks=reading.masks,
        regions=declaration.regions if classes is None else {},
        note=reading.note,
    )


@dataclass(frozen=True)
class _Reading:
    """How the values of labels and of masks become class ids."""

    labels: LabelMapping
    masks: LabelMapping
    note: str = ""


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


def _declared(source: LabelFiles) -> tuple[LabelMapping | None, dict[int, str]]:
    names = dict(source.declaration.classes)
    if source.declaration.labels is None and names and source.is_volumes:
        return keep_ids(len(names), kind="declared"), names
    return source.declaration.labels, names


def _infer(labels: list[MaskValues], masks: list[MaskValues], source: LabelFiles) -> _Reading:
    """One mapping, which the values of all files together allow."""
    count = len(source.declaration.classes) or None
    together = count_labels(source.declaration, [*labels, *masks], None)
    mapping = infer_mapping(together, class_count=count)
    reading = _Reading(replace(mapping, parts=source.parts), mapping, mapping.note)
    if mapping.kind in ("binary", "threshold"):
        return reading
    held = {value for mask in together.masks[: len(labels)] for value in _values(mask, mapping)}
    foreign = set(together.pixels) - held - {0}
    if foreign and not (count and max(foreign) < count):
        raise LabelError(
            f"the masks hold {format_values(sorted(foreign), colour=mapping.colour)}, which no label holds; "
            "say what the values mean with --classes 1=NAME,2=NAME, or declare classes in dataset.yaml"
        )
    return reading


def _read_apart(
    known: LabelMapping | None,
    labels: list[MaskValues],
    masks: list[MaskValues],
    source: LabelFiles,
    each: bool,
) -> _Reading:
    """A mapping of the labels that does not depend on the masks, and how masks are read beside it."""
    histogram = count_labels(source.declaration, labels, known)
    if known is None:
        mapping = choose_mapping(source.declaration, histogram, None)
    else:  # a value without a class makes a failure of its case
        mapping = replace(known, palette=histogram.palette)
    mapping = replace(mapping, parts=source.parts)
    if each:
        return _Reading(mapping, keep_ids(mapping.class_count), mapping.note)
    return _read_masks(mapping, masks)


def _values(mask: MaskValues, mapping: LabelMapping) -> set[int]:
    return set(mask.counts(colour=mapping.colour))


def _read_masks(known: LabelMapping, masks: list[MaskValues]) -> _Reading:
    """The mapping of the labels, or class ids where masks hold those instead, as `predict` writes them."""
    raw = {value for mask in masks for value in mask.counts(colour=False)}
    ids = bool(raw) and not any(mask.colour for mask in masks) and max(raw) < known.class_count
    if known.threshold is not None:
        ids = ids and known.threshold > 1
    else:
        ids = ids and (known.colour or not raw <= set(known.table))
    if ids:
        note = "the masks hold class ids, the labels other values"
        return _Reading(known, keep_ids(known.class_count), note)
    histogram = count_labels(Declaration(), masks, known)
    return _Reading(known, replace(known, palette=histogram.palette, parts={}))
