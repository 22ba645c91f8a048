"""`check_dataset`: everything that would spoil a training, found before it starts and named by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.checks.findings import (
    ClassSummary,
    DataReport,
    Finding,
    Severity,
    VolumeSummary,
    list_cases,
    sort_findings,
)
from dinoseg.data.checks.inspection import (
    CaseFacts,
    CaseFailure,
    count_patches,
    inspect_case,
    iterate_lesions,
)
from dinoseg.data.checks.volumes import (
    check_volumes,
    inspect_volumes,
    summarise_classes,
    summarise_volumes,
)
from dinoseg.data.labels.histograms import LabelHistogram, MaskValues, merge_values, read_values
from dinoseg.data.labels.mapping import LabelMapping, format_value
from dinoseg.data.layouts.dataset import Dataset, choose_mapping, declared_mapping, make_dataset
from dinoseg.data.layouts.surveys import Survey, survey_data
from dinoseg.data.splits.duplicates import find_exact, find_near, read_fingerprints
from dinoseg.data.splits.splits import (
    Splits,
    find_crossing_groups,
    find_repeated_cases,
    find_split_file,
    resolve_splits,
)
from dinoseg.data.splits.volume_duplicates import find_equal
from dinoseg.errors import DataError, FileFormatError, LabelError
from dinoseg.progress import Progress, Silent

_MAX_ASPECT = 8


def check_dataset(
    root: Path | str,
    *,
    size: int = 256,
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
    findings += [Finding("error", "split", problem) for problem in survey.split_problems]
    masks, broken = _read_masks(survey.cases, steps)
    histogram = merge_values(masks)
    dataset, problems = _open(survey, histogram)
    findings += problems
    usable = [case for case in survey.cases if case.id not in broken]
    look = _look_at_volumes if survey.is_volumes else partial(_look_at_images, size=size, patch=patch)
    seen = look(usable, dataset, steps)
    failures = [*broken.values(), *seen.failures]
    findings += [Finding("error", failure.topic, failure.message) for failure in failures]
    findings += seen.findings
    if survey.split_problems and splits is None:
        chosen = None  # the layout's own splits are named as wrong already
    else:
        chosen, split_findings = _choose_splits(dataset, splits)
        findings += split_findings
    findings += _check_leaks(dataset, chosen, seen, steps)
    findings += _check_foreground(dataset, chosen)
    return _summarise(dataset, histogram, seen, chosen, findings)


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
    """

    ids: frozenset[str]
    failures: Sequence[CaseFailure]
    findings: Sequence[Finding]
    classes: Mapping[int, ClassSummary]
    sizes: Sequence[tuple[int, int]] = ()
    kinds: Mapping[str, int] = field(default_factory=dict)
    volumes: VolumeSummary | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


def _look_at_images(
    cases: Sequence[CaseFiles], dataset: Dataset, progress: Progress, *, size: int, patch: int
) -> _Seen:
    facts, failures = _inspect(cases, dataset.labels, progress)
    return _Seen(
        ids=frozenset(case.id for case in facts),
        failures=failures,
        findings=_check_images(facts) + _check_labels(facts, dataset, size=size, patch=patch),
        classes=_summarise_classes(dataset, facts, size=size, patch=patch),
        sizes=sorted((case.info.size for case in facts), key=lambda size: (size[0] * size[1], size)),
        kinds=dict(Counter(f"{case.info.format} {case.info.mode}" for case in facts).most_common()),
    )


def _look_at_volumes(cases: Sequence[CaseFiles], dataset: Dataset, progress: Progress) -> _Seen:
    facts, failures = inspect_volumes(cases, dataset.labels, progress)
    return _Seen(
        ids=frozenset(case.id for case in facts),
        failures=failures,
        findings=check_volumes(facts, dataset),
        classes=summarise_classes(facts, dataset.classes),
        volumes=summarise_volumes(facts),
        digests={case.id: case.digest for case in facts},
    )


def _read_masks(
    cases: Sequence[CaseFiles], progress: Progress
) -> tuple[list[MaskValues], dict[str, CaseFailure]]:
    masks, broken = [], {}
    for case in progress.track(cases, total=len(cases), label="Reading masks"):
        if case.label is None:
            continue
        try:
            masks.append(read_values(case.label))
        except FileFormatError as error:
            broken[case.id] = CaseFailure(case.id, "unreadable", str(error))
        except LabelError as error:
            broken[case.id] = CaseFailure(case.id, "label", str(error))
    return masks, broken


def _open(survey: Survey, histogram: LabelHistogram) -> tuple[Dataset, list[Finding]]:
    try:
        mapping = choose_mapping(survey.declaration, histogram, declared_mapping(survey))
        dataset = make_dataset(survey, mapping, histogram)
    except LabelError as error:
        unknown = Dataset(survey.root, survey.cases, {}, LabelMapping(), survey.layout)
        return unknown, [Finding("error", "label", str(error))]
    return dataset, [Finding("warning", "label", mapping.note)] if mapping.note else []


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


def _check_labels(facts: list[CaseFacts], dataset: Dataset, *, size: int, patch: int) -> list[Finding]:
    empty = [case.id for case in dataset.cases if case.id in dataset.empty]
    findings = list_cases("info", "empty", empty, "the mask is empty")
    lesions = list(iterate_lesions(facts, size=size, patch=patch))
    small = [(area, case) for case, area in lesions if area < 1]
    if small:
        area, case = min(small)
        still = sum(4 * area < 1 for area, _ in small)
        message = (
            f"{len(small)} of {len(lesions)} regions ({len(small) / len(lesions):.1%}) in "
            f"{len({case for _, case in small})} cases are below one {patch}×{patch} patch at {size}×{size}; "
            f"the smallest covers {area:.2g} patches ({case}); at {2 * size}×{2 * size} {still} would be"
        )
        findings.append(Finding("warning", "small", message))
    return findings + _check_specks(facts)


def _check_specks(facts: Sequence[CaseFacts]) -> list[Finding]:
    cases = [case.id for case in facts if case.specks]
    if not cases:
        return []
    count = sum(case.specks for case in facts)
    what = f"{count} specks of a few pixels beside large regions (probably debris, not counted above)"
    return list_cases("info", "specks", cases, what)


def _choose_splits(dataset: Dataset, path: Path | None) -> tuple[Splits | None, list[Finding]]:
    own = any(case.split for case in dataset.cases)
    if path is None and not own and find_split_file(dataset.root) is None:
        advice = f"no splits yet; `dinoseg data split {dataset.root}` draws them by group"
        return None, [Finding("info", "split", advice)]
    try:
        return resolve_splits(dataset, path=path), []
    except DataError as error:
        return None, [Finding("error", "split", str(error))]


def _check_leaks(dataset: Dataset, splits: Splits | None, seen: _Seen, progress: Progress) -> list[Finding]:
    findings = []
    parts = {case.id: case.group for case in dataset.cases}
    if splits:
        problems = find_repeated_cases(splits) + find_crossing_groups(dataset, splits)
        findings += [Finding("error", "leak", problem) for problem in problems]
        parts = splits.find_split()
    if seen.volumes:
        exact = find_equal({id_: digest for id_, digest in seen.digests.items() if id_ in parts}, parts)
        near = []
    else:
        cases = [case for case in dataset.cases if case.id in seen.ids and case.id in parts]
        prints = read_fingerprints(cases, progress=progress)
        exact = find_exact(prints, parts)
        same = {(pair.first, pair.second) for pair in exact}
        near = [pair for pair in find_near(prints, parts) if (pair.first, pair.second) not in same]
    where = "stand in two splits" if splits else "stand in two groups; give them one in groups.csv"
    severity: Severity = "error" if splits else "warning"
    for pair in exact:
        names = f"{pair.first} ({parts[pair.first]}) and {pair.second} ({parts[pair.second]})"
        findings.append(Finding(severity, "duplicate", f"{names} are the same image and {where}"))
    for pair in near:
        names = f"{pair.first} ({parts[pair.first]}) and {pair.second} ({parts[pair.second]})"
        message = f"{names} look nearly the same ({pair.bits} of 255 bits differ) and {where}"
        findings.append(Finding("warning", "near-duplicate", message))
    return findings


def _check_foreground(dataset: Dataset, splits: Splits | None) -> list[Finding]:
    ids = splits.train if splits else tuple(case.id for case in dataset.cases)
    which = "training" if splits else ""
    if dataset.labels.kind == "unknown" or not ids or not dataset.empty.issuperset(ids):
        return []
    message = f"all {len(ids)} {which} masks are empty (only background): is this the right mask folder?"
    return [Finding("error", "foreground", " ".join(message.split()))]


def _summarise(
    dataset: Dataset,
    histogram: LabelHistogram,
    seen: _Seen,
    splits: Splits | None,
    findings: list[Finding],
) -> DataReport:
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
    )


def _summarise_classes(
    dataset: Dataset, facts: Sequence[CaseFacts], *, size: int, patch: int
) -> dict[int, ClassSummary]:
    total = max(sum(case.pixel_count for case in facts), 1)
    summaries = {}
    for id_, name in dataset.classes.items():
        if id_ == 0:
            continue
        areas = [area for case in facts for area in count_patches(case, id_, size=size, patch=patch)]
        summaries[id_] = ClassSummary(
            name=name,
            cases=sum(id_ in case.pixels for case in facts),
            pixel_share=sum(case.pixels.get(id_, 0) for case in facts) / total,
            lesions=len(areas),
            small_lesions=sum(bool(area < 1) for area in areas),
        )
    return summaries
