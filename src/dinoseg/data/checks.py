"""`check_dataset`: everything that would spoil a training, found before it starts and named by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from dinoseg.data.case_files import CaseFiles, shorten
from dinoseg.data.duplicates import find_exact, find_near, read_fingerprints
from dinoseg.data.findings import ClassSummary, DataReport, Finding, Severity, sort_findings
from dinoseg.data.histograms import LabelHistogram, MaskValues, merge_values, read_values
from dinoseg.data.inspection import CaseFacts, CaseFailure, count_patches, inspect_case, iterate_lesions
from dinoseg.data.labels import LabelMapping, format_value
from dinoseg.data.layouts import Dataset, choose_classes, choose_mapping, find_empty
from dinoseg.data.splits import (
    FILE_NAME,
    Splits,
    find_crossing_groups,
    find_repeated_cases,
    resolve_splits,
)
from dinoseg.data.surveys import Survey, survey_data
from dinoseg.errors import DataError, FileFormatError, LabelError
from dinoseg.progress import Progress, Silent

_MAX_ASPECT = 8
_NAMED = 5


def check_dataset(
    root: Path | str,
    *,
    size: int = 256,
    patch: int = 16,
    splits: Path | None = None,
    progress: Progress | None = None,
) -> DataReport:
    """Look at every file, mask and split of a data set; nothing that is wrong with it raises.

    Args:
        root: a folder, or a CSV file.
        size: side in pixels that training will resize images to.
        patch: side in pixels of a patch of the backbone.
        splits: a splits.json to check instead of the data set's own.
        progress: shows the reading.
    """
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
    facts, failures = _inspect(usable, dataset.labels, steps)
    findings += [
        Finding("error", failure.topic, failure.message) for failure in [*broken.values(), *failures]
    ]
    findings += _check_images(facts) + _check_labels(facts, dataset, size=size, patch=patch)
    if survey.split_problems and splits is None:
        chosen = None  # the layout's own splits are named as wrong already
    else:
        chosen, split_findings = _choose_splits(dataset, splits)
        findings += split_findings
    findings += _check_leaks(dataset, chosen, {case.id for case in facts}, steps)
    findings += _check_foreground(dataset, chosen)
    return _summarise(dataset, histogram, facts, chosen, findings, size=size, patch=patch)


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
    return masks, broken


def _open(survey: Survey, histogram: LabelHistogram) -> tuple[Dataset, list[Finding]]:
    try:
        mapping = choose_mapping(survey.declaration, histogram, None)
        classes = choose_classes(survey.declaration, mapping, survey.root)
    except LabelError as error:
        unknown = Dataset(survey.root, survey.cases, {}, LabelMapping(), survey.layout)
        return unknown, [Finding("error", "label", str(error))]
    empty = find_empty(survey.cases, histogram, mapping)
    findings = [Finding("warning", "label", mapping.note)] if mapping.note else []
    return Dataset(survey.root, survey.cases, classes, mapping, survey.layout, empty), findings


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
        *_list_cases("warning", "flat", flat, "the image is one flat colour"),
        *_list_cases(
            "warning",
            "dark",
            dark,
            "only 12 of 16 bits are used, so that the image looks black (multiply it by 16),",
        ),
        *_list_cases(
            "warning", "aspect", long, f"the image is more than {_MAX_ASPECT} times as long as wide"
        ),
    ]


def _check_labels(facts: list[CaseFacts], dataset: Dataset, *, size: int, patch: int) -> list[Finding]:
    empty = [case.id for case in dataset.cases if case.id in dataset.empty]
    findings = _list_cases("info", "empty", empty, "the mask is empty")
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
    return _list_cases("info", "specks", cases, what)


def _choose_splits(dataset: Dataset, path: Path | None) -> tuple[Splits | None, list[Finding]]:
    own = any(case.split for case in dataset.cases)
    if path is None and not own and not (dataset.root / FILE_NAME).is_file():
        advice = f"no splits yet; `dinoseg data split {dataset.root}` draws them by group"
        return None, [Finding("info", "split", advice)]
    try:
        return resolve_splits(dataset, path=path), []
    except DataError as error:
        return None, [Finding("error", "split", str(error))]


def _check_leaks(
    dataset: Dataset, splits: Splits | None, readable: set[str], progress: Progress
) -> list[Finding]:
    findings = []
    parts = {case.id: case.group for case in dataset.cases}
    if splits:
        problems = find_repeated_cases(splits) + find_crossing_groups(dataset, splits)
        findings += [Finding("error", "leak", problem) for problem in problems]
        parts = splits.find_split()
    cases = [case for case in dataset.cases if case.id in readable and case.id in parts]
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
    facts: Sequence[CaseFacts],
    splits: Splits | None,
    findings: list[Finding],
    *,
    size: int,
    patch: int,
) -> DataReport:
    sizes = sorted((case.info.size for case in facts), key=lambda size: (size[0] * size[1], size))
    kinds = Counter(f"{case.info.format} {case.info.mode}" for case in facts)
    values = {format_value(value, colour=histogram.colour): n for value, n in histogram.pixels.items()}
    return DataReport(
        root=dataset.root,
        layout=dataset.layout,
        cases=len(dataset.cases),
        groups=len({case.group for case in dataset.cases}),
        splits={name: len(ids) for name, ids in splits.items()} if splits else {},
        smallest=sizes[0] if sizes else None,
        largest=sizes[-1] if sizes else None,
        image_kinds=dict(kinds.most_common()),
        mapping=dataset.labels.describe() if dataset.labels.kind != "unknown" else "",
        histogram=values,
        classes=_summarise_classes(dataset, facts, size=size, patch=patch),
        empty=len(dataset.empty),
        findings=sort_findings(findings),
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


def _list_cases(severity: Severity, topic: str, ids: Iterable[str], what: str) -> list[Finding]:
    names = list(ids)
    if not names:
        return []
    cases = "1 case" if len(names) == 1 else f"{len(names)} cases"
    return [Finding(severity, topic, f"{what} in {cases}: {shorten(names, limit=_NAMED)}")]
