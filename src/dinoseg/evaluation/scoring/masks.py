"""Which masks belong to which labels: folders of files paired by name, with their groups and declarations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dinoseg.data.cases.files import CaseFiles, shorten, stem_of
from dinoseg.data.labels.declarations import FILE_NAMES, Declaration, read_declaration
from dinoseg.data.labels.named_files import find_named
from dinoseg.data.labels.parts import MaskPart
from dinoseg.data.layouts.dataset import find_parts, refuse_problems
from dinoseg.data.layouts.folders import Folder, open_folder
from dinoseg.data.layouts.nnunet import FILE_NAME as RAW_FILE
from dinoseg.data.layouts.nnunet import group_of, read_raw_declaration
from dinoseg.data.layouts.pairing import pair_folder, strip_suffix
from dinoseg.data.layouts.remarks import Remark
from dinoseg.data.layouts.surveys import IMAGE_FOLDERS, MASK_FOLDERS, survey_data
from dinoseg.data.layouts.tables import GroupTable, read_groups
from dinoseg.data.volumes import volume_suffix
from dinoseg.errors import LabelError, LayoutError

GROUPS = "groups.csv"


@dataclass(frozen=True)
class LabelFiles:
    """The labels that masks are scored against.

    Attributes:
        root: folder, or CSV of a data set.
        cases: with `label`; where there is no image, `image` is the label as well.
        declaration: what dataset.yaml or dataset.json says.
        parts: the first mask of a case -> all of them, where they are joined.
        remarks: what lies there and is not used.
    """

    root: Path
    cases: tuple[CaseFiles, ...]
    declaration: Declaration
    parts: Mapping[Path, tuple[MaskPart, ...]] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    @property
    def is_volumes(self) -> bool:
        """Whether the labels are volumes."""
        return any(case.is_volume for case in self.cases)


@dataclass(frozen=True)
class MaskPairs:
    """Masks and labels of the same cases.

    Attributes:
        pairs: a mask, and the case with its label, in the order of the labels.
        lacking: cases whose label has no mask.
        extra: masks without a label.
    """

    pairs: tuple[tuple[Path, CaseFiles], ...]
    lacking: tuple[CaseFiles, ...]
    extra: tuple[Path, ...]


def find_labels(place: Path) -> LabelFiles:
    """List the labels of a folder of masks, or of a data set with images.

    A folder of masks takes its groups.csv, dataset.yaml or dataset.json from itself or the folder above.

    Raises:
        LayoutError: nothing there, or files that cannot be paired.
        LabelError: dataset.yaml or dataset.json is wrong, or joins masks and the images are not there.
    """
    folder = None if place.is_file() else _open_masks(place)
    if folder is None or _is_data_set(folder):
        survey = survey_data(place)
        refuse_problems(survey)
        cases = tuple(case for case in survey.cases if case.label is not None)
        return LabelFiles(place, cases, survey.declaration, find_parts(survey), survey.remarks)
    return _from_masks(place, folder)


def _from_masks(place: Path, folder: Folder) -> LabelFiles:
    declaration, table = find_declaration(folder.path), _read_groups(folder.path)
    if declaration.merge is not None:
        raise LabelError(
            f"the masks in {folder.path} are joined by their images (merge in dataset.yaml); give the folder "
            "that holds images and masks"
        )
    groups = {stem_of(Path(name)): group for name, group in table.groups.items()}
    cases = tuple(
        CaseFiles(name, path, path, groups.get(name) or _guess_group(name, path), None)
        for name, path in _by_name(folder).items()
    )
    return LabelFiles(place, cases, declaration, remarks=table.remarks)


def list_masks(place: Path) -> dict[str, Path]:
    """Name -> file of the masks in a folder, or in its `masks/` as `predict` writes them.

    Raises:
        LayoutError: no masks, or two of one name.
    """
    return _by_name(_open_masks(place))


def pair_masks(masks: Mapping[str, Path], labels: LabelFiles, *, place: Path) -> MaskPairs:
    """Pair by name; `_mask`, `_seg` and the like at the end of a name do not count where that is unique.

    Raises:
        LayoutError: nothing belongs together, or two masks fit one label.
    """
    by_key: dict[str, list[Path]] = {}
    for name, path in masks.items():
        by_key.setdefault(strip_suffix(name), []).append(path)
    pairs: list[tuple[Path, CaseFiles]] = []
    lacking: list[CaseFiles] = []
    for case in labels.cases:
        found = masks.get(case.id) or _only(by_key.get(strip_suffix(case.id), []), case, place)
        if found is None:
            lacking.append(case)
        else:
            pairs.append((found, case))
    if not pairs:
        raise LayoutError(
            f"no mask of {place} ({shorten(masks)}) has the name of a label of {labels.root} "
            f"({shorten(case.id for case in labels.cases)}); name the files alike"
        )
    used = {path for path, _ in pairs}
    return MaskPairs(tuple(pairs), tuple(lacking), tuple(path for path in masks.values() if path not in used))


def find_declaration(folder: Path) -> Declaration:
    """What dataset.yaml, or else dataset.json, says in a folder of masks or the one above."""
    if path := _nearby(folder, *FILE_NAMES):
        return read_declaration(path.parent)
    if path := _nearby(folder, RAW_FILE):
        return read_raw_declaration(path)
    return Declaration()


def _open_masks(place: Path) -> Folder:
    folder = open_folder(place)
    if folder.files:
        return folder
    masks = folder.subfolder(MASK_FOLDERS)
    if masks is not None and folder.subfolder(IMAGE_FOLDERS) is None:
        return open_folder(masks)
    return folder


def _is_data_set(folder: Folder) -> bool:
    return not folder.files or bool(pair_folder(folder.files).pairs)


def _by_name(folder: Folder) -> dict[str, Path]:
    if not folder.files:
        raise LayoutError(
            f"{folder.path} holds no mask; accepted are images or volumes, one file for each case"
        )
    found: dict[str, Path] = {}
    for path in folder.files:
        other = found.setdefault(stem_of(path), path)
        if other is not path:
            raise LayoutError(f"{other} and {path} have one name; keep one of them")
    return found


def _only(paths: list[Path], case: CaseFiles, place: Path) -> Path | None:
    if len(paths) > 1:
        listed = ", ".join(path.name for path in paths)
        raise LayoutError(f"several masks of {place} fit the label {case.id}: {listed}; keep one of them")
    return paths[0] if paths else None


def _nearby(folder: Path, *names: str) -> Path | None:
    return find_named(folder, *names) or find_named(folder.parent, *names)


def _read_groups(folder: Path) -> GroupTable:
    path = _nearby(folder, GROUPS)
    return GroupTable({}) if path is None else read_groups(path)


def _guess_group(name: str, path: Path) -> str:
    return group_of(name) if volume_suffix(path) else name


def list_names(paths: Iterable[Path]) -> str:
    """The first few names, and how many more there are."""
    return shorten(path.name for path in paths)
