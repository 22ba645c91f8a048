"""nnU-Net's raw data sets and those of the Medical Segmentation Decathlon: imagesTr, labelsTr, dataset.json.

imagesTr/x_0000.nii.gz x_0001.nii.gz   one file per channel; or x.nii.gz, which may be 4D (Decathlon)
labelsTr/x.nii.gz
imagesTs/ labelsTs/                    the test split, where labelsTs is there
dataset.json                           channels and labels, in the form of either version
splits_final.json                      folds; see `splits`
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoseg.data.case import IGNORE_ID
from dinoseg.data.cases.files import CaseFiles, natural_key, stem_of
from dinoseg.data.labels.declarations import Declaration
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.data.labels.named_files import find_named
from dinoseg.data.layouts.folders import Folder, open_folder, refuse_subfolders
from dinoseg.errors import LabelError, LayoutError

FILE_NAME = "dataset.json"
IMAGES, LABELS = "imagesTr", "labelsTr"
TEST_IMAGES, TEST_LABELS = "imagesTs", "labelsTs"
_IGNORE = "ignore"
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_PATIENT = re.compile(r"(patient\d+)_(?:ED|ES|frame\d+)", re.IGNORECASE)  # ACDC: two times of one heart


@dataclass(frozen=True)
class RawCases:
    """The cases of a raw data set, and one line for each file that belongs to none."""

    cases: tuple[CaseFiles, ...]
    problems: tuple[str, ...]


def is_raw(folder: Folder) -> bool:
    """Whether a folder has the layout of this module."""
    described = find_named(folder.path, FILE_NAME) is not None
    return described and any(entry.name == IMAGES for entry in folder.folders)


def find_raw_cases(root: Path, channel_names: Sequence[str]) -> RawCases:
    """Pair images and labels; a case is named by its label.

    Raises:
        LayoutError: a folder is missing or cannot be read.
    """
    has_test = (root / TEST_LABELS).is_dir()
    parts = [_pair(root / IMAGES, root / LABELS, channel_names, "train" if has_test else None)]
    if has_test:
        parts.append(_pair(root / TEST_IMAGES, root / TEST_LABELS, channel_names, "test"))
    cases = tuple(case for part in parts for case in part.cases)
    problems = [problem for part in parts for problem in part.problems]
    names = [case.id for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    problems += [f"{root}: {name} is in {LABELS} and in {TEST_LABELS}; rename one" for name in twice]
    return RawCases(cases, tuple(problems))


def group_of(case_id: str) -> str:
    """The patient where the name follows ACDC's pattern, else the case itself."""
    found = _PATIENT.fullmatch(case_id)
    return found.group(1) if found else case_id


def read_raw_declaration(path: Path) -> Declaration:
    """Read dataset.json: channels, classes, regions and the label to ignore.

    Raises:
        LabelError: no JSON object, labels in a form that is none of the two known ones, or a region
            that holds the background.
    """
    content = _load(path)
    channels = content.get("channel_names", content.get("modality", {}))
    labels = content.get("labels")
    if not isinstance(channels, dict) or not isinstance(labels, dict) or not labels:
        raise LabelError(
            f"{path} needs channel_names (or modality) and labels, e.g. "
            '"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}'
        )
    names = tuple(str(channels[key]) for key in sorted(channels, key=natural_key))
    values = _read_labels(labels, path)
    ignore = values.pop(_IGNORE, ())
    if any(len(group) != 1 for group in values.values()):
        return _declare_regions(values, ignore, names, path)
    classes = {group[0]: name for name, group in values.items()}
    if len(classes) < len(values):
        raise LabelError(f"{path} gives two names to one label; every name needs a value of its own")
    return _declare_classes(classes, ignore, names, path)


def _pair(images: Path, labels: Path, channel_names: Sequence[str], split: str | None) -> RawCases:
    for folder in (images, labels):
        if not folder.is_dir():
            raise LayoutError(f"{folder} is missing; beside {FILE_NAME} lie {IMAGES}/ and {LABELS}/")
    image_folder, label_folder = open_folder(images), open_folder(labels)
    whole = {stem_of(file): file for file in image_folder.files}
    parts = _group_channels(image_folder.files)
    cases: list[CaseFiles] = []
    used: set[Path] = set()
    problems = [*image_folder.problems, *refuse_subfolders(image_folder), *label_folder.problems]
    for label in label_folder.files:
        name = stem_of(label)
        found = {0: whole[name]} if name in whole else parts.get(name, {})
        used.update(found.values())
        problem = _find_channel_problem(label, found, channel_names, one_file=name in whole)
        if problem:
            problems.append(problem)
            continue
        cases.append(_make_case(name, found, label, split, 0 if name not in whole else len(channel_names)))
    problems += [f"{file}: no label of this name" for file in image_folder.files if file not in used]
    return RawCases(tuple(cases), tuple(problems))


def _make_case(
    name: str, found: Mapping[int, Path], label: Path, split: str | None, stored: int
) -> CaseFiles:
    files = tuple(found[number] for number in sorted(found))
    return CaseFiles(
        id=name,
        image=files[0],
        label=label,
        group=group_of(name),
        split=split,
        channels=files if len(files) > 1 else (),
        channel_indices=tuple(range(stored)) if stored > 1 else (),
    )


def _group_channels(files: Sequence[Path]) -> dict[str, dict[int, Path]]:
    parts: dict[str, dict[int, Path]] = {}
    for file in files:
        match = _CHANNEL.fullmatch(stem_of(file))
        if match:
            parts.setdefault(match.group(1), {})[int(match.group(2))] = file
    return parts


def _find_channel_problem(
    label: Path, found: Mapping[int, Path], channel_names: Sequence[str], *, one_file: bool
) -> str:
    if not found:
        return f"{label}: no image of this name (…_0000 and so on) in {IMAGES}"
    flat = CaseFiles("", next(iter(found.values())), None, "", None)
    if one_file or (not flat.is_volume and set(found) == {0}):  # a PNG holds red, green and blue
        return ""
    if not flat.is_volume:
        return f"{label}: its image has {len(found)} files; merge the channels of 2D images into one file"
    if sorted(found) != list(range(len(channel_names))):
        listed = ", ".join(f"{number:04d}" for number in sorted(found))
        return f"{label}: its image has the channels {listed}, {FILE_NAME} names {len(channel_names)}"
    return ""


def _read_labels(labels: Mapping[str, Any], path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> values, from {"liver": 1}, {"tumour": [2, 3]} or the older {"1": "liver"}."""
    if all(isinstance(name, str) and key.isdecimal() for key, name in labels.items()):
        found: dict[str, tuple[int, ...]] = {name: (int(key),) for key, name in labels.items()}
        if len(found) < len(labels):
            raise LabelError(f"{path} gives two labels one name; name each differently")
        return found
    values = {name: tuple(v) if isinstance(v, list) else (v,) for name, v in labels.items()}
    for name, group in values.items():
        if not group or not all(type(value) is int and 0 <= value <= 65535 for value in group):
            raise LabelError(
                f"{path}: label {name!r} has the value {labels[name]!r}; accepted are whole numbers"
            )
    return values


def _declare_classes(
    names: dict[int, str], ignore: tuple[int, ...], channels: tuple[str, ...], path: Path
) -> Declaration:
    names.setdefault(0, "background")
    values = sorted(names)
    limit = IGNORE_ID if ignore else 256
    if not 2 <= len(values) <= limit or len(set(names.values())) < len(values):
        raise LabelError(f"{path} names {len(values)} labels; accepted are 2 to {limit} different ones")
    for value in ignore:
        if value in names:
            raise LabelError(f"{path}: the label {value} is to be ignored and is {names[value]!r} as well")
    classes = {id_: names[value] for id_, value in enumerate(values)}
    table = {value: id_ for id_, value in enumerate(values)} | dict.fromkeys(ignore, IGNORE_ID)
    return Declaration(classes, LabelMapping(table, "declared", ignore=ignore or None), channels)


def _declare_regions(
    values: Mapping[str, tuple[int, ...]], ignore: tuple[int, ...], channels: tuple[str, ...], path: Path
) -> Declaration:
    """Regions overlap, classes don't: a class is named after the smallest region that holds its value."""
    regions = {name: group for name, group in values.items() if group != (0,)}
    for name, group in regions.items():
        if 0 in group:
            raise LabelError(f"{path}: region {name!r} is {list(group)}; leave out 0, the background")
    names = {0: next((name for name, group in values.items() if group == (0,)), "background")}
    for value in sorted({value for group in regions.values() for value in group}):
        home = min((name for name, group in regions.items() if value in group), key=lambda n: len(regions[n]))
        names[value] = home if len(regions[home]) == 1 else f"{home} ({value})"
    declared = _declare_classes(names, ignore, channels, path)
    table = declared.labels.table if declared.labels else {}
    unions = {name: tuple(table[value] for value in group) for name, group in regions.items()}
    return Declaration(declared.classes, declared.labels, channels, unions)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise LabelError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise LabelError(f"{path} holds no JSON object; it needs channel_names and labels")
    return content
