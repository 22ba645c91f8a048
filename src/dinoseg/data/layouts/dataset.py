"""From a folder or a CSV to a `Dataset`: the layouts people have, paired by name.

    images/ masks/                          with splits/{train,val,test}.txt and groups.csv if wanted
    train|val|test/ with images/ masks/     or Original/ and "Ground truth/", img/ and label/, …
    images/train masks/train, …             the same the other way round
    x.jpg x_mask.png                        in one folder, or in two
    a CSV                                   columns image, mask and, if wanted, group, split
    imagesTr/ labelsTr/ dataset.json        nnU-Net raw and the Medical Segmentation Decathlon
    *.h5                                    volumes with `image` and `label` in one file
    x.npz                                   MedSegBench's train_images, train_label, … (unpacked once)

The files may be images or volumes, but not both; a volume is one case.

Anything that cannot be paired without guessing is an error that names the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dinoseg.data.cases.files import CaseFiles, shorten, stem_of
from dinoseg.data.labels.declarations import FILE_NAME, Declaration
from dinoseg.data.labels.histograms import LabelHistogram, MaskValues, merge_values
from dinoseg.data.labels.inference import infer_mapping, read_masks
from dinoseg.data.labels.mapping import LabelMapping, format_values, keep_ids, name_classes
from dinoseg.data.labels.palettes import choose_palette_reading
from dinoseg.data.labels.parts import MaskPart
from dinoseg.data.layouts.doubts import find_covering, find_turned
from dinoseg.data.layouts.remarks import Remark
from dinoseg.data.layouts.surveys import Survey, survey_data
from dinoseg.errors import LabelError, LayoutError, SplitError
from dinoseg.progress import Progress, Silent
from dinoseg.streams import keeping_filters

__all__ = ["CaseFiles", "Dataset", "open_dataset"]


@dataclass(frozen=True)
class Dataset:
    """The cases of a folder or CSV, and what their mask values mean.

    Attributes:
        root: the folder (that of the CSV).
        cases: every case; those of the layout's splits first, in the order of its lists.
        classes: class id -> name, 0 is the background; empty if labels were not scanned or declared.
        labels: mask value -> class id.
        layout: the recognised layout in words.
        empty: ids of the cases whose mask is all background, as far as masks were scanned.
        undecided: ids of the cases whose mask has no pixel but what is ignored.
        channel_names: what the channels of volumes are, where dataset.json says so.
        regions: name -> class ids whose union it is, where dataset.yaml or dataset.json says so; a
            model learns the classes themselves.
        remarks: what is there and not used, and what may mean something else than it seems to.
    """

    root: Path
    cases: tuple[CaseFiles, ...]
    classes: dict[int, str]
    labels: LabelMapping
    layout: str = ""
    empty: frozenset[str] = field(default=frozenset(), repr=False)
    channel_names: tuple[str, ...] = ()
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    undecided: frozenset[str] = field(default=frozenset(), repr=False)
    remarks: tuple[Remark, ...] = field(default=(), repr=False)

    @property
    def is_volumes(self) -> bool:
        """Whether the cases are volumes; never some of them."""
        return any(case.is_volume for case in self.cases)

    def find(self, case_ids: Iterable[str]) -> tuple[CaseFiles, ...]:
        """The cases with these ids, in their order.

        Raises:
            SplitError: an id is unknown.
        """
        known = {case.id: case for case in self.cases}
        ids = list(case_ids)
        unknown = [id_ for id_ in ids if id_ not in known]
        if unknown:
            raise SplitError(f"{self.root} has no case {shorten(map(repr, unknown))}")
        return tuple(known[id_] for id_ in ids)


@keeping_filters()
def open_dataset(
    root: Path | str,
    *,
    scan_labels: bool = True,
    labels: LabelMapping | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Recognise the layout of `root`, pair images with masks, and find out what mask values mean.

    Args:
        root: a folder, or a CSV file.
        scan_labels: read every mask to infer the mapping. Without, the mapping is `labels`, the
            one declared in dataset.yaml, or of the kind "unknown". Label volumes whose classes are
            declared or given are not scanned either: that takes minutes and would tell nothing new.
        labels: the mapping to use instead of inferring one, e.g. that of a trained model.
        progress: shows the reading of masks, and is told what of the folder is not used or doubtful.

    Raises:
        LayoutError: no known layout, an unreadable folder, or files that cannot be paired.
        LabelError: dataset.yaml is wrong, or the mask values allow no safe mapping.
        SplitError: the layout's own splits name unknown cases, or one case twice.
        FileFormatError: a mask cannot be read.
    """
    survey = survey_data(Path(root))
    refuse_problems(survey)
    known = labels or declared_mapping(survey)
    scan = scan_labels and not (known and survey.is_volumes)
    histogram = None
    if scan:
        paths = [path for case in survey.cases for path in case.labels]
        histogram = count_labels(survey.declaration, read_masks(paths, progress), known)
    mapping = choose_mapping(survey.declaration, histogram, known)
    dataset = make_dataset(survey, mapping, histogram)
    for remark in dataset.remarks:
        if remark.matters:
            (progress or Silent()).note(remark.message)
    return dataset


def count_labels(
    declaration: Declaration, masks: Sequence[MaskValues], known: LabelMapping | None
) -> LabelHistogram:
    """The values of all masks together, palette files read as declared or as fits them.

    Raises:
        LabelError: palettes that allow no safe reading.
    """
    if declaration.palette:
        return merge_values(masks, declaration.palette)
    if known and (known.colour or known.threshold is not None):
        return merge_values(masks, "colours")
    return merge_values(masks, choose_palette_reading(masks, numbers=known is not None))


def is_ct(dataset: Dataset) -> bool:
    """Whether the (first) channel of the volumes is said to be CT, in Hounsfield units."""
    return any(name.strip().lower() == "ct" for name in dataset.channel_names[:1])


def make_dataset(survey: Survey, mapping: LabelMapping, histogram: LabelHistogram | None) -> Dataset:
    """The data set of a survey once it is known what its masks mean.

    Raises:
        LabelError: fewer names are declared than the masks hold classes.
    """
    stored = survey.declaration.stored
    mapping = replace(mapping, parts=find_parts(survey), stored=stored)
    masks = {mask.path: mask for mask in histogram.masks} if histogram else {}
    note = (Remark("label", mapping.note, matters=True),) if mapping.note else ()
    doubts = (
        note + find_covering(survey.cases, masks, mapping) + find_turned(survey.cases, stored=stored)
        if masks
        else note
    )
    return Dataset(
        root=survey.root,
        cases=survey.cases,
        classes=choose_classes(survey.declaration, mapping, survey.root),
        labels=mapping,
        layout=survey.layout,
        empty=find_empty(survey.cases, masks, mapping),
        channel_names=survey.declaration.channel_names,
        regions=survey.declaration.regions,
        undecided=find_undecided(survey.cases, masks, mapping),
        remarks=survey.remarks + doubts,
    )


def find_parts(survey: Survey) -> dict[Path, tuple[MaskPart, ...]]:
    """The first mask of a case -> all of them with their classes, where they are joined."""
    merge = survey.declaration.merge
    if merge is None:
        return {}
    return {
        case.labels[0]: tuple(
            MaskPart(path, merge.classes.get(merge.ending_of(stem_of(path)))) for path in case.labels
        )
        for case in survey.cases
        if merge.classes or len(case.labels) > 1
    }


def declared_mapping(survey: Survey) -> LabelMapping | None:
    """What masks mean as far as it is declared; the values of label volumes are ids of declared classes."""
    declared = survey.declaration
    if declared.labels is None and declared.classes and survey.is_volumes:
        return keep_ids(len(declared.classes), kind="declared")
    return declared.labels


def refuse_problems(survey: Survey) -> None:
    """Raise on files that cannot be paired, on wrong declarations and splits; a long list is cut.

    Raises:
        LayoutError: unpaired or ambiguous files.
        LabelError: dataset.yaml is wrong.
        SplitError: a split list that does not fit the cases.
    """
    more = f"; `dinoseg data check {survey.root}` shows all"
    for problems, kind in (
        (survey.label_problems, LabelError),  # first: how masks are joined stands there
        (survey.problems, LayoutError),
        (survey.split_problems, SplitError),
    ):
        if problems:
            raise kind(shorten(problems) + (more if len(problems) > 3 else ""))


def choose_mapping(
    declaration: Declaration, histogram: LabelHistogram | None, given: LabelMapping | None
) -> LabelMapping:
    """The given mapping, else the declared one, else the one that the values of the masks allow.

    Raises:
        LabelError: values that the mapping does not know, or that allow no mapping.
    """
    known = given or declaration.labels
    if histogram is None:
        return known or LabelMapping()
    one_each = bool(declaration.merge and declaration.merge.classes)
    if known is None:
        count = 2 if one_each else len(declaration.classes) or None
        mapping = infer_mapping(histogram, class_count=count)
    else:
        mapping = replace(known, palette=histogram.palette)
        if mapping.threshold is None:
            _refuse_unknown(mapping, histogram)
    if one_each and mapping.class_count > 2:
        raise LabelError(
            f"{FILE_NAME} gives every mask one class (merge), but they hold several ({mapping.describe()})"
        )
    return mapping


def choose_classes(declaration: Declaration, mapping: LabelMapping, root: Path) -> dict[int, str]:
    """The declared names, or those of `name_classes`.

    Raises:
        LabelError: fewer names are declared than the masks hold classes.
    """
    if mapping.kind == "unknown":
        return dict(declaration.classes)
    if not declaration.classes:
        return name_classes(mapping.class_count)
    if mapping.class_count > len(declaration.classes):
        raise LabelError(
            f"{root / FILE_NAME} names {len(declaration.classes)} classes, "
            f"the masks hold {mapping.class_count} ({mapping.describe()})"
        )
    return dict(declaration.classes)


def find_empty(
    cases: Sequence[CaseFiles], masks: Mapping[Path, MaskValues], mapping: LabelMapping
) -> frozenset[str]:
    """Ids of the cases whose masks show background and no class; what is ignored may be beside it."""
    found = _collect_values(cases, masks, mapping)
    undecided = find_undecided(cases, masks, mapping)
    return frozenset(
        id_
        for id_, values in found.items()
        if id_ not in undecided and not any(map(mapping.is_foreground, values))
    )


def find_undecided(
    cases: Sequence[CaseFiles], masks: Mapping[Path, MaskValues], mapping: LabelMapping
) -> frozenset[str]:
    """Ids of the cases of which every pixel is ignored."""
    found = _collect_values(cases, masks, mapping)
    return frozenset(id_ for id_, values in found.items() if all(map(mapping.ignores, values)))


def _collect_values(
    cases: Sequence[CaseFiles], masks: Mapping[Path, MaskValues], mapping: LabelMapping
) -> dict[str, set[int]]:
    """Case id -> the values of all its masks; without cases whose masks were not read."""
    return {
        case.id: {value for path in case.labels for value in masks[path].counts(colour=mapping.colour)}
        for case in cases
        if case.labels and all(path in masks for path in case.labels)
    }


def _refuse_unknown(mapping: LabelMapping, histogram: LabelHistogram) -> None:
    colour = mapping.colour or histogram.colour
    for mask in histogram.masks:
        unknown = sorted(set(mask.counts(colour=colour)) - set(mapping.table))
        if unknown:
            values = format_values(unknown, colour=colour)
            raise LabelError(
                f"{mask.path} holds {values} without a class ({mapping.describe()}); see {FILE_NAME}"
            )
