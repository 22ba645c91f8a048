"""From a folder or a CSV to a `Dataset`: the layouts people have, paired by name.

    images/ masks/                          with splits/{train,val,test}.txt and groups.csv if wanted
    train|val|test/ with images/ masks/     or Original/ and "Ground truth/", img/ and label/, …
    images/train masks/train, …             the same the other way round
    x.jpg x_mask.png                        in one folder, or in two
    a CSV                                   columns image, mask and, if wanted, group, split
    imagesTr/ labelsTr/ dataset.json        nnU-Net raw and the Medical Segmentation Decathlon
    *.h5                                    volumes with `image` and `label` in one file

The files may be images or volumes, but not both; a volume is one case.

Anything that cannot be paired without guessing is an error that names the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dinoseg.data.cases.files import CaseFiles, shorten
from dinoseg.data.labels.declarations import FILE_NAME, Declaration
from dinoseg.data.labels.histograms import LabelHistogram
from dinoseg.data.labels.mapping import (
    LabelMapping,
    format_values,
    infer_mapping,
    keep_ids,
    name_classes,
    scan_labels,
)
from dinoseg.data.layouts.surveys import Survey, survey_data
from dinoseg.errors import LabelError, LayoutError, SplitError
from dinoseg.progress import Progress
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
        channel_names: what the channels of volumes are, where dataset.json says so.
        regions: name -> class ids whose union it is, where dataset.yaml or dataset.json says so; a
            model learns the classes themselves.
    """

    root: Path
    cases: tuple[CaseFiles, ...]
    classes: dict[int, str]
    labels: LabelMapping
    layout: str = ""
    empty: frozenset[str] = field(default=frozenset(), repr=False)
    channel_names: tuple[str, ...] = ()
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

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
        progress: shows the reading of masks.

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
    histogram = _scan(survey.cases, progress) if scan else None
    mapping = choose_mapping(survey.declaration, histogram, known)
    return make_dataset(survey, mapping, histogram)


def make_dataset(survey: Survey, mapping: LabelMapping, histogram: LabelHistogram | None) -> Dataset:
    """The data set of a survey once it is known what its masks mean.

    Raises:
        LabelError: fewer names are declared than the masks hold classes.
    """
    return Dataset(
        root=survey.root,
        cases=survey.cases,
        classes=choose_classes(survey.declaration, mapping, survey.root),
        labels=mapping,
        layout=survey.layout,
        empty=find_empty(survey.cases, histogram, mapping) if histogram else frozenset(),
        channel_names=survey.declaration.channel_names,
        regions=survey.declaration.regions,
    )


def declared_mapping(survey: Survey) -> LabelMapping | None:
    """What masks mean as far as it is declared; the values of label volumes are ids of declared classes."""
    declared = survey.declaration
    if declared.labels is None and declared.classes and survey.is_volumes:
        return keep_ids(len(declared.classes), kind="declared")
    return declared.labels


def refuse_problems(survey: Survey) -> None:
    """Raise on files that cannot be paired and on wrong splits; a long list is cut.

    Raises:
        LayoutError: unpaired or ambiguous files.
        SplitError: a split list that does not fit the cases.
    """
    more = f"; `dinoseg data check {survey.root}` shows all"
    for problems, kind in ((survey.problems, LayoutError), (survey.split_problems, SplitError)):
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
    if known is None:
        return infer_mapping(histogram, class_count=len(declaration.classes) or None)
    if known.threshold is None:
        _refuse_unknown(known, histogram)
    return known


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
    cases: Sequence[CaseFiles], histogram: LabelHistogram, mapping: LabelMapping
) -> frozenset[str]:
    """Ids of the cases whose mask shows only background."""
    empty_masks = {
        mask.path
        for mask in histogram.masks
        if not any(map(mapping.is_foreground, mask.counts(colour=mapping.colour)))
    }
    return frozenset(case.id for case in cases if case.label in empty_masks)


def _refuse_unknown(mapping: LabelMapping, histogram: LabelHistogram) -> None:
    colour = mapping.colour or histogram.colour
    for mask in histogram.masks:
        unknown = sorted(set(mask.counts(colour=colour)) - set(mapping.table))
        if unknown:
            values = format_values(unknown, colour=colour)
            raise LabelError(
                f"{mask.path} holds {values} without a class ({mapping.describe()}); see {FILE_NAME}"
            )


def _scan(cases: Sequence[CaseFiles], progress: Progress | None) -> LabelHistogram:
    return scan_labels([case.label for case in cases if case.label is not None], progress)
