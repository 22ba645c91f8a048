"""DICOM as it leaves a hospital or an archive: image series, each with a SEG or RTSTRUCT that refers to it.

case1/ct/*.dcm  case1/seg.dcm          a folder for each case, with sub-folders or without
*.dcm                                  or all files in one folder

Which label belongs to which series, their UIDs say; folders only give the cases their names. Classes are the
names of segments or structures. Where these are not the same in every case, dataset.yaml declares `classes`
and, for further spellings, `names`. The patient is the group.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dinoseg.data.cases.files import CaseFiles, natural_key, shorten
from dinoseg.data.dicom import LabelledSeries, LabelObject, read_label_object
from dinoseg.data.dicom.entries import Entry, open_place
from dinoseg.data.dicom.headers import NOT_IMAGES, Header
from dinoseg.data.dicom.labels import LABEL_MODALITIES
from dinoseg.data.dicom.series import SortedHeaders, sort_headers
from dinoseg.data.labels.declarations import FILE_NAME, Declaration
from dinoseg.errors import DataError, FileFormatError

_MOST_LOOKED_AT = 1000  # files, until a folder counts as one without DICOM
_BACKGROUND = "background"


@dataclass(frozen=True)
class DicomCases:
    """The cases of a DICOM data set.

    Attributes:
        cases: one for each image series with a label.
        problems: one line for each object that belongs to no case.
        declaration: the classes, as declared or from the names, and the modality as the channel's name.
    """

    cases: tuple[CaseFiles, ...]
    problems: tuple[str, ...]
    declaration: Declaration


def holds_dicom(root: Path) -> bool:
    """Whether a DICOM file lies in a folder or its sub-folders; looks at the first thousand files."""
    looked = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(folder, name)
            looked += 1
            if looked > _MOST_LOOKED_AT:
                return False
            if path.is_file() and _is_dicom(path):
                return True
    return False


def find_dicom_cases(root: Path, declared: Declaration) -> DicomCases:
    """Pair series and labels by the UIDs they refer to.

    Args:
        root: the folder, looked into with all sub-folders.
        declared: the content of dataset.yaml.

    Raises:
        DinosegError: pydicom is not installed.
    """
    with open_place(root) as entries:
        found = sort_headers(root, entries)
    problems = [each.reason for each in found.damaged]
    images = {uid: files for uid, files in found.groups.items() if files[0].modality not in NOT_IMAGES}
    labels, broken = _read_labels(found)
    pairs, unpaired = _pair(root, images, labels)
    names, unclear = _choose_names(root, [label for _, label in pairs], declared)
    problems += [*broken, *unpaired, *unclear]
    cases = _make_cases(root, images, pairs, names)
    modalities = {files[0].modality for uid, files in images.items() if uid in {uid for uid, _ in pairs}}
    channels = tuple(modalities) if len(modalities) == 1 else ()
    classes = declared.classes or {0: _BACKGROUND, **{id_: name for name, id_ in names.items()}}
    if len(classes) < 2:  # nothing was found to name
        classes = {}
    return DicomCases(cases, tuple(problems), replace(declared, classes=classes, channel_names=channels))


def _is_dicom(path: Path) -> bool:
    try:
        return Entry(path, path.stat().st_size).is_dicom()
    except (OSError, FileFormatError):
        return False


def _read_labels(found: SortedHeaders) -> tuple[list[LabelObject], list[str]]:
    labels, problems = [], []
    for files in found.groups.values():
        for file in files:
            if file.modality in LABEL_MODALITIES:
                try:
                    labels.append(read_label_object(file.entry.place))
                except DataError as error:
                    problems.append(str(error))
            elif file.modality in NOT_IMAGES:
                problems.append(f"{file.entry.place} has the modality {file.modality}; take it away")
    return labels, problems


def _pair(
    root: Path, images: Mapping[str, Sequence[Header]], labels: Sequence[LabelObject]
) -> tuple[list[tuple[str, LabelObject]], list[str]]:
    """UID of a series with its label, and one line for each of both that has no partner or several."""
    problems: list[str] = []
    drawn_on: dict[str, list[LabelObject]] = {}
    for label in labels:
        there = [uid for uid in dict.fromkeys(label.series) if uid in images]
        if len(there) == 1:
            drawn_on.setdefault(there[0], []).append(label)
        elif there:
            problems.append(f"{label.path} refers to {len(there)} of the series in {root}; one is possible")
        else:
            named = ", ".join(label.series) or "no series at all"
            problems.append(
                f"{label.path} refers to {named}, which is not in {root}; add it, or take this away"
            )
    for uid, several in drawn_on.items():
        if len(several) > 1:
            listed = " and ".join(str(label.path) for label in several)
            problems.append(f"{listed} are labels of the one series {uid}; keep one of them")
    for uid, files in images.items():
        if uid not in drawn_on:
            where = f"{_folder_of(files)}: the series {uid} ({files[0].modality}, {len(files)} files)"
            problems.append(f"{where} has no SEG or RTSTRUCT that refers to it; take it away, or add one")
    return [(uid, several[0]) for uid, several in drawn_on.items() if len(several) == 1], problems


def _choose_names(
    root: Path, labels: Sequence[LabelObject], declared: Declaration
) -> tuple[dict[str, int], list[str]]:
    """Name of a segment or structure -> class id, and one line for each that is not clear."""
    problems = [
        f"{label.path} names {name!r} {count} times; rename one"
        for label in labels
        for name, count in Counter(label.names).items()
        if count > 1
    ]
    if declared.classes:
        known = {name: id_ for id_, name in declared.classes.items() if id_} | dict(declared.names)
        for label in labels:
            unknown = [name for name in label.names if name not in known]
            if unknown:
                problems.append(
                    f"{label.path} names {shorten(map(repr, unknown))}, which {FILE_NAME} does not: give "
                    f"each a class there, or leave it out: `names: {{{unknown[0]!r}: 0}}`"
                )
        return {name: id_ for name, id_ in known.items() if id_}, problems
    names = list(labels[0].names) if labels else []
    for label in labels[1:]:
        if set(label.names) != set(names):
            every = sorted({name for each in labels for name in each.names})
            classes = ", ".join(f"{id_}: {name!r}" for id_, name in enumerate(every, start=1))
            problems.append(
                f"{label.path} names {shorten(label.names)}, and {labels[0].path} {shorten(names)}; say in "
                f"{root / FILE_NAME} which classes there are: `classes: {{0: {_BACKGROUND}, {classes}}}`"
            )
            break
    return {name: id_ for id_, name in enumerate(names, start=1)}, problems


def _make_cases(
    root: Path,
    images: Mapping[str, Sequence[Header]],
    pairs: Sequence[tuple[str, LabelObject]],
    names: Mapping[str, int],
) -> tuple[CaseFiles, ...]:
    folders = {uid: _common_folder([_folder_of(images[uid]), label.path.parent]) for uid, label in pairs}
    ids = _name_cases(root, pairs, folders)
    cases = []
    for uid, label in pairs:
        files, folder = images[uid], _folder_of(images[uid])
        patient = files[0].patient
        series = LabelledSeries(
            uid, folder, tuple(sorted(file.entry.place for file in files)), tuple(names.items())
        )
        group = f"patient-{patient}" if patient else ids[uid]
        cases.append(CaseFiles(ids[uid], folder, label.path, group, None, series=series))
    return tuple(sorted(cases, key=lambda case: natural_key(case.id)))


def _name_cases(
    root: Path, pairs: Sequence[tuple[str, LabelObject]], folders: Mapping[str, Path]
) -> dict[str, str]:
    """The folder of each case, or where several share one, the folder and the label's name."""
    by_folder = {uid: "_".join(folders[uid].relative_to(root).parts) for uid, _ in pairs}
    shared = Counter(by_folder.values())
    ids = {}
    for uid, label in pairs:
        name = by_folder[uid]
        alone = name and shared[name] == 1
        ids[uid] = name if alone else "_".join(part for part in (name, label.path.stem) if part)
    repeated = Counter(ids.values())
    return {uid: name if repeated[name] == 1 else f"{name}_{uid}" for uid, name in ids.items()}


def _folder_of(files: Sequence[Header]) -> Path:
    return _common_folder([file.entry.place.parent for file in files])


def _common_folder(folders: Sequence[Path]) -> Path:
    return Path(os.path.commonpath(folders))
