"""`check_dataset`: everything that would spoil a training, found before it starts and named by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.checks.copies import find_copies, summarise_copies
from dinoseg.data.checks.findings import DataReport, Finding, list_cases, sort_findings
from dinoseg.data.checks.foreground import check_foreground
from dinoseg.data.checks.inspection import (
    CaseFacts,
    CaseFailure,
    inspect_case,
    summarise_intensities,
)
from dinoseg.data.checks.regions import count_patches
from dinoseg.data.checks.resolution import (
    Resolution,
    collect_widths,
    describe_proposal,
    find_unresolved,
    judge_resolution,
)
from dinoseg.data.checks.summaries import ClassSummary, Copy, IntensityRange, VolumeSummary
from dinoseg.data.checks.volumes import (
    check_volumes,
    inspect_volumes,
    summarise_classes,
    summarise_volumes,
)
from dinoseg.data.labels.histograms import LabelHistogram, MaskValues, merge_values, read_values
from dinoseg.data.labels.mapping import LabelMapping, format_value
from dinoseg.data.layouts.dataset import (
    Dataset,
    choose_mapping,
    count_labels,
    declared_mapping,
    make_dataset,
)
from dinoseg.data.layouts.remarks import Remark
from dinoseg.data.layouts.surveys import Survey, survey_data
from dinoseg.data.splits.splits import (
    Splits,
    find_crossing_groups,
    find_repeated_cases,
    find_split_file,
    resolve_splits,
)
from dinoseg.errors import DataError, FileFormatError, LabelError
from dinoseg.progress import Progress, Silent

_MAX_ASPECT = 8
_LARGE_SHARE = 0.3  # of the pixels
_FEWEST_ALIKE = 4
_ALIKE = 0.02  # mean difference of 16×16 shares
_MOST = 0.9


def check_dataset(
    root: Path | str,
    *,
    size: int = 320,
    patch: int = 16,
    splits: Path | str | None = None,
    progress: Progress | None = None,
) -> DataReport:
    """Look at every file, mask and split of a data set; nothing that is wrong with it raises.

    Args:
        root: a folder, or a CSV file.
        size: side in pixels that training will resize images to.
        patch: side in pixels of a patch of the backbone.
        splits: a splits.json or splits_final.json (its first fold) to check instead of the data set's own.
        progress: shows the reading.
    """
    splits = None if splits is None else Path(splits)
    steps = progress or Silent()
    try:
        survey = survey_data(Path(root))
    except DataError as error:
        return DataReport(Path(root), findings=(Finding("error", "layout", str(error)),))
    findings = [Finding("error", "unpaired", problem) for problem in survey.problems]
    findings += [Finding("error", "label", problem) for problem in survey.label_problems]
    findings += [Finding("error", "split", problem) for problem in survey.split_problems]
    masks, broken = _read_masks(survey.cases, steps)
    dataset, histogram, problems = _open(survey, masks)
    findings += problems + _list_remarks(dataset.remarks)
    usable = [case for case in survey.cases if case.id not in broken]
    look = partial(_look_at_volumes if survey.is_volumes else _look_at_images, size=size, patch=patch)
    seen = look(usable, dataset, steps)
    failures = [*broken.values(), *seen.failures]
    findings += [Finding("error", failure.topic, failure.message) for failure in failures]
    findings += seen.findings
    if survey.split_problems and splits is None:
        chosen = None  # the layout's own splits are named as wrong already
    else:
        chosen, split_findings = _choose_splits(dataset, splits)
        findings += split_findings
    copies = _find_copies(dataset, chosen, seen, steps)
    findings += _check_leaks(dataset, chosen) + summarise_copies(dataset, copies, split=chosen is not None)
    findings += check_foreground(dataset, chosen, seen.shown)
    return _summarise(dataset, histogram, seen, chosen, copies, findings)


@dataclass(frozen=True)
class _Seen:
    """What the images or volumes of a data set show.

    Attributes:
        ids: of the readable cases.
        failures: of the others.
        findings: what is odd.
        classes: class id -> its numbers.
        sizes: (height, width) of images, fewest pixels first.
        kinds: kind of image -> number.
        volumes: grids of volumes; None for images.
        digests: case id -> hash of the voxels, for volumes.
        shown: case id -> the classes that its mask shows.
        intensities: of images.
        resolution: of images, or of axial slices.
    """

    ids: frozenset[str]
    failures: Sequence[CaseFailure]
    findings: Sequence[Finding]
    classes: Mapping[int, ClassSummary]
    sizes: Sequence[tuple[int, int]] = ()
    kinds: Mapping[str, int] = field(default_factory=dict)
    volumes: VolumeSummary | None = None
    digests: Mapping[str, str] | None = None
    shown: Mapping[str, frozenset[int]] = field(default_factory=dict)
    intensities: tuple[IntensityRange, ...] = ()
    resolution: Resolution | None = None


def _look_at_images(
    cases: Sequence[CaseFiles], dataset: Dataset, progress: Progress, *, size: int, patch: int
) -> _Seen:
    facts, failures = _inspect(cases, dataset.labels, progress)
    resolution = judge_resolution(facts, size=size, patch=patch)
    return _Seen(
        ids=frozenset(case.id for case in facts),
        failures=failures,
        findings=[
            *_check_images(facts),
            *_check_masks(dataset),
            *_check_sameness(facts),
            *find_unresolved(facts, resolution, dataset.classes),
        ],
        classes=_summarise_classes(dataset, facts, resolution),
        sizes=sorted((case.info.size for case in facts), key=lambda size: (size[0] * size[1], size)),
        kinds=dict(Counter(f"{case.info.format} {case.info.mode}" for case in facts).most_common()),
        shown={case.id: frozenset(case.pixels) for case in facts},
        intensities=summarise_intensities(facts),
        resolution=resolution,
    )


def _look_at_volumes(
    cases: Sequence[CaseFiles], dataset: Dataset, progress: Progress, *, size: int, patch: int
) -> _Seen:
    facts, failures = inspect_volumes(cases, dataset.labels, progress)
    slices = [mask for case in facts for mask in case.slices]
    return _Seen(
        ids=frozenset(case.id for case in facts),
        failures=failures,
        findings=check_volumes(facts, dataset),
        classes=summarise_classes(facts, dataset.classes),
        volumes=summarise_volumes(facts),
        digests={case.id: case.digest for case in facts},
        shown={case.id: frozenset(case.voxels) for case in facts},
        resolution=judge_resolution(slices, size=size, patch=patch) if slices else None,
    )


def _read_masks(
    cases: Sequence[CaseFiles], progress: Progress
) -> tuple[list[MaskValues], dict[str, CaseFailure]]:
    masks, broken = [], {}
    for case in progress.track(cases, total=len(cases), label="Reading masks"):
        if case.label is None:
            continue
        try:
            masks += [read_values(path, case.series) for path in case.labels]
        except FileFormatError as error:
            broken[case.id] = CaseFailure(case.id, "unreadable", str(error))
        except LabelError as error:
            broken[case.id] = CaseFailure(case.id, "label", str(error))
    return masks, broken


def _open(survey: Survey, masks: Sequence[MaskValues]) -> tuple[Dataset, LabelHistogram, list[Finding]]:
    known = declared_mapping(survey)
    try:
        histogram = count_labels(survey.declaration, masks, known)
        mapping = choose_mapping(survey.declaration, histogram, known)
        if not survey.label_problems:
            return make_dataset(survey, mapping, histogram), histogram, []
        problems = []
    except LabelError as error:
        # What follows from a wrong declaration is not worth a line of its own.
        problems = [] if survey.label_problems else [Finding("error", "label", str(error))]
    unknown = Dataset(survey.root, survey.cases, {}, LabelMapping(), survey.layout, remarks=survey.remarks)
    return unknown, merge_values(masks), problems


def _list_remarks(remarks: Sequence[Remark]) -> list[Finding]:
    return [
        Finding("warning" if remark.matters else "info", remark.topic, remark.message) for remark in remarks
    ]


def _inspect(
    cases: Sequence[CaseFiles], mapping: LabelMapping, progress: Progress
) -> tuple[list[CaseFacts], list[CaseFailure]]:
    facts, failures = [], []
    for case in progress.track(cases, total=len(cases), label="Reading cases"):
        # Without a mapping the images are still worth reading.
        files = case if mapping.kind != "unknown" else CaseFiles(case.id, case.image, None, case.group, None)
        result = inspect_case(files, mapping)
        if isinstance(result, CaseFacts):
            facts.append(result)
        else:
            failures.append(result)
    return facts, failures


def _check_images(facts: Sequence[CaseFacts]) -> list[Finding]:
    flat = [case.id for case in facts if case.flat]
    dark = [case.id for case in facts if case.dark]
    long = [case.id for case in facts if max(case.info.size) > _MAX_ASPECT * min(case.info.size)]
    return [
        *list_cases("warning", "flat", flat, "the image is one flat colour"),
        *list_cases(
            "warning",
            "dark",
            dark,
            "only 12 of 16 bits are used, so that the image looks black (multiply it by 16),",
        ),
        *list_cases("warning", "aspect", long, f"the image is more than {_MAX_ASPECT} times as long as wide"),
    ]


def _check_masks(dataset: Dataset) -> list[Finding]:
    empty = [case.id for case in dataset.cases if case.id in dataset.empty]
    undecided = [case.id for case in dataset.cases if case.id in dataset.undecided]
    return [
        *list_cases("info", "empty", empty, "the mask is empty"),
        *list_cases("info", "undecided", undecided, "every pixel of the mask is ignored"),
    ]


def _check_sameness(facts: Sequence[CaseFacts]) -> list[Finding]:
    """A warning where large masks hardly differ from case to case, as fields of view do."""
    large = [case for case in facts if case.outline.mean() >= _LARGE_SHARE]
    if len(large) < _FEWEST_ALIKE or 2 * len(large) < len(facts):
        return []
    usual = np.median([case.outline for case in large], axis=0)
    alike = [case.id for case in large if np.abs(case.outline - usual).mean() <= _ALIKE]
    if len(alike) < _MOST * len(large):
        return []
    what = "the mask is large and nearly the same as in the others (a field of view? a template?)"
    return list_cases("warning", "sameness", alike, what)


def _choose_splits(dataset: Dataset, path: Path | None) -> tuple[Splits | None, list[Finding]]:
    own = any(case.split for case in dataset.cases)
    try:
        if path is None and not own and find_split_file(dataset.root) is None:
            advice = f"no splits yet; `dinoseg data split {dataset.root}` draws them by group"
            return None, [Finding("info", "split", advice)]
        return resolve_splits(dataset, path=path), []
    except DataError as error:
        return None, [Finding("error", "split", str(error))]


def _check_leaks(dataset: Dataset, splits: Splits | None) -> list[Finding]:
    problems = find_repeated_cases(splits) + find_crossing_groups(dataset, splits) if splits else ()
    return [Finding("error", "leak", problem) for problem in problems]


def _find_copies(
    dataset: Dataset, splits: Splits | None, seen: _Seen, progress: Progress
) -> tuple[Copy, ...]:
    parts = splits.find_split() if splits else {case.id: case.group for case in dataset.cases}
    return find_copies(dataset, parts, seen.ids, progress, digests=seen.digests)


def _summarise(
    dataset: Dataset,
    histogram: LabelHistogram,
    seen: _Seen,
    splits: Splits | None,
    copies: tuple[Copy, ...],
    findings: list[Finding],
) -> DataReport:
    resolution = seen.resolution
    values = {format_value(value, colour=histogram.colour): n for value, n in histogram.pixels.items()}
    return DataReport(
        root=dataset.root,
        layout=dataset.layout,
        cases=len(dataset.cases),
        groups=len({case.group for case in dataset.cases}),
        splits={name: len(ids) for name, ids in splits.items()} if splits else {},
        smallest=seen.sizes[0] if seen.sizes else None,
        largest=seen.sizes[-1] if seen.sizes else None,
        image_kinds=seen.kinds,
        mapping=dataset.labels.describe() if dataset.labels.kind != "unknown" else "",
        histogram=values,
        classes=seen.classes,
        empty=len(dataset.empty),
        findings=sort_findings(findings),
        volumes=seen.volumes,
        undecided=len(dataset.undecided),
        intensities=seen.intensities,
        copies=copies,
        size=resolution.size if resolution else None,
        proposed_size=resolution.proposed if resolution else None,
        proposed_window=resolution.window if resolution else None,
        proposal=describe_proposal(resolution) if resolution else "",
    )


def _summarise_classes(
    dataset: Dataset, facts: Sequence[CaseFacts], resolution: Resolution
) -> dict[int, ClassSummary]:
    size, patch = resolution.size, resolution.patch
    total = max(sum(case.pixel_count for case in facts), 1)
    summaries = {}
    for id_, name in dataset.classes.items():
        if id_ == 0:
            continue
        areas = [area for case in facts for area in count_patches(case, id_, size=size, patch=patch)]
        thin = id_ in resolution.thin
        summaries[id_] = ClassSummary(
            name=name,
            cases=sum(id_ in case.pixels for case in facts),
            pixel_share=sum(case.pixels.get(id_, 0) for case in facts) / total,
            lesions=len(areas),
            small_lesions=0 if thin else sum(bool(area < 1) for area in areas),
            width=float(np.median(collect_widths(facts, id_))) if thin else None,
            trained_width=float(np.median(collect_widths(facts, id_, size=size))) if thin else None,
        )
    return summaries
