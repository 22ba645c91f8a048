"""Which layout a folder has, which cases it gives, and what does not fit, without raising on the latter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dinoseg.data.cases.files import SPLIT_NAMES, CaseFiles, stem_of
from dinoseg.data.labels.declarations import Declaration, read_declaration
from dinoseg.data.layouts.dicom import find_dicom_cases, holds_dicom
from dinoseg.data.layouts.folders import Folder, open_folder, refuse_subfolders
from dinoseg.data.layouts.nnunet import FILE_NAME as RAW_FILE
from dinoseg.data.layouts.nnunet import find_raw_cases, group_of, is_raw, read_raw_declaration
from dinoseg.data.layouts.pairing import Pair, Pairing, pair_files, pair_folder
from dinoseg.data.layouts.tables import (
    CaseTable,
    find_case,
    is_case_table,
    read_cases,
    read_groups,
    read_split_list,
)
from dinoseg.data.volumes import volume_suffix
from dinoseg.errors import LayoutError, SplitError

IMAGE_FOLDERS = frozenset({"image", "images", "img", "imgs", "original"})
MASK_FOLDERS = frozenset(
    {"mask", "masks", "label", "labels", "ground truth", "ground_truth", "groundtruth", "gt"}
)

_ACCEPTED = (
    "accepted are images/ with masks/, train|val|test/ with an image and a mask folder each, "
    "x.png beside x_mask.png, a CSV with the columns image,mask, imagesTr/ with labelsTr/ and "
    "dataset.json, .h5 files with image and label, or DICOM series with SEG or RTSTRUCT"
)
_HDF5 = (".h5", ".hdf5")
_SHOTS = {"shots": "train"}  # DINO-AugSeg's name for the list of a few cases to train on


@dataclass(frozen=True)
class Survey:
    """What a folder or CSV holds.

    Attributes:
        root: the folder (that of the CSV).
        layout: the recognised layout in words.
        cases: the cases that could be paired, with groups and splits.
        problems: one line for each file that could not be paired.
        split_problems: one line for each mistake in the layout's own splits.
        declaration: the content of dataset.yaml, or else of nnU-Net's dataset.json.
    """

    root: Path
    layout: str
    cases: tuple[CaseFiles, ...]
    problems: tuple[str, ...]
    split_problems: tuple[str, ...]
    declaration: Declaration

    @property
    def is_volumes(self) -> bool:
        """Whether the cases are volumes; never some of them."""
        return any(case.is_volume for case in self.cases)


@dataclass(frozen=True)
class _Found:
    layout: str
    cases: tuple[CaseFiles, ...]
    problems: tuple[str, ...]
    declaration: Declaration = field(default_factory=Declaration)


def survey_data(path: Path) -> Survey:
    """Recognise the layout of a folder or CSV and pair what can be paired.

    Raises:
        LayoutError: the folder cannot be read, has no known layout or more than one, or holds both
            images and volumes.
        LabelError: dataset.yaml or dataset.json is wrong.
        SplitError: a list of a split or the split column cannot be read.
    """
    if path.is_file():
        return _survey_table(path)
    folder = open_folder(path)
    found = _find_cases(folder)
    if not found.cases and not found.problems:
        raise LayoutError(f"{path} holds no image with a mask; {_ACCEPTED}")
    _refuse_mixture(path, found.cases)
    cases, group_problems = _add_groups(found.cases, path / "groups.csv")
    cases, split_problems = _add_splits(cases, path / "splits")
    problems = found.problems + _find_label_problems(cases) + group_problems
    return Survey(path, found.layout, cases, problems, split_problems, _declare(path, found.declaration))


def _survey_table(path: Path) -> Survey:
    if path.suffix.lower() != ".csv":
        raise LayoutError(f"{path} is a file; give a folder or a CSV with the columns image,mask")
    found = _from_table(path, read_cases(path))
    _refuse_mixture(path, found.cases)
    problems = found.problems + _find_label_problems(found.cases)
    return Survey(path.parent, found.layout, found.cases, problems, (), read_declaration(path.parent))


def _declare(root: Path, raw: Declaration) -> Declaration:
    """What dataset.yaml says goes before dataset.json; the channels stand in the latter only."""
    written = read_declaration(root)
    if written == Declaration():
        return raw
    return replace(written, channel_names=raw.channel_names)


def _refuse_mixture(path: Path, cases: Sequence[CaseFiles]) -> None:
    volumes = sum(case.is_volume for case in cases)
    if 0 < volumes < len(cases):
        raise LayoutError(
            f"{path} holds {volumes} volumes and {len(cases) - volumes} images; "
            "a data set is of one kind: give each a folder of its own"
        )


def _find_label_problems(cases: Sequence[CaseFiles]) -> tuple[str, ...]:
    return tuple(
        f"{case.label} is {'an image' if case.is_volume else 'a volume'}, its image {case.image} is not"
        for case in cases
        if case.label is not None and not case.series and bool(volume_suffix(case.label)) != case.is_volume
    )


def _find_cases(folder: Folder) -> _Found:
    if is_raw(folder):
        return _from_raw(folder)
    images, masks = folder.subfolder(IMAGE_FOLDERS), folder.subfolder(MASK_FOLDERS)
    splits = _split_folders(folder)
    if splits and (images or masks):
        raise LayoutError(
            f"{folder.path} holds both split folders and image or mask folders; give one of them"
        )
    if images and masks:
        return _from_two_folders(images, masks)
    if splits:
        return _from_split_folders(splits)
    tables = [path for path in sorted(folder.path.glob("*.csv")) if is_case_table(path)]
    if len(tables) > 1:
        raise LayoutError(
            f"{folder.path} holds {len(tables)} CSV files with image and mask; give one of them"
        )
    if tables:
        return _from_table(tables[0], read_cases(tables[0]))
    if images or masks:
        missing = "masks" if images else "images"
        raise LayoutError(f"{folder.path} holds {(images or masks).name}/ but no {missing}/; {_ACCEPTED}")  # type: ignore[union-attr]
    if not folder.files and holds_dicom(folder.path):
        return _from_dicom(folder)
    return _from_suffixes(folder)


def _from_two_folders(images: Path, masks: Path) -> _Found:
    image_folder, mask_folder = open_folder(images), open_folder(masks)
    splits, mask_splits = _split_folders(image_folder), _split_folders(mask_folder)
    if splits and set(splits) == set(mask_splits) and not image_folder.files:
        parts = {split: _pair_two(splits[split], mask_splits[split]) for split in splits}
        return _join_splits(f"{images.name}/ and {masks.name}/ with {', '.join(splits)}", parts)
    pairing = _pair_two(image_folder, mask_folder)
    return _Found(f"{images.name}/ and {masks.name}/", _to_cases(pairing, None), pairing.problems)


def _from_split_folders(splits: dict[str, Folder]) -> _Found:
    parts = {split: _pair_inside(folder) for split, folder in splits.items()}
    return _join_splits(f"{', '.join(splits)} with images and masks each", parts)


def _from_suffixes(folder: Folder) -> _Found:
    if folder.volumes and all(volume_suffix(file) in _HDF5 for file in folder.files):
        return _from_hdf5(folder)
    pairing = pair_folder(folder.files)
    if folder.files and not pairing.pairs:
        raise LayoutError(f"{folder.path} holds {len(folder.files)} images but no mask of any; {_ACCEPTED}")
    problems = folder.problems + pairing.problems
    return _Found("images and masks in one folder", _to_cases(pairing, None), problems)


def _from_hdf5(folder: Folder) -> _Found:
    cases = tuple(
        CaseFiles(stem_of(file), file, file, group_of(stem_of(file)), None) for file in folder.volumes
    )
    return _Found("HDF5 files with image and label", cases, folder.problems)


def _from_raw(folder: Folder) -> _Found:
    declaration = read_raw_declaration(folder.path / RAW_FILE)
    raw = find_raw_cases(folder.path, declaration.channel_names)
    layout = f"imagesTr/ and labelsTr/ with {RAW_FILE} (nnU-Net, Decathlon)"
    return _Found(layout, raw.cases, raw.problems, declaration)


def _from_dicom(folder: Folder) -> _Found:
    found = find_dicom_cases(folder.path, read_declaration(folder.path))
    return _Found("DICOM series with SEG or RTSTRUCT", found.cases, found.problems, found.declaration)


def _from_table(path: Path, table: CaseTable) -> _Found:
    return _Found(f"CSV {path.name}", table.cases, table.problems)


def _pair_inside(folder: Folder) -> Pairing:
    images, masks = folder.subfolder(IMAGE_FOLDERS), folder.subfolder(MASK_FOLDERS)
    if images and masks:
        return _pair_two(open_folder(images), open_folder(masks))
    pairing = pair_folder(folder.files)
    if not pairing.pairs:
        raise LayoutError(f"{folder.path} holds no image with a mask; it needs images/ and masks/")
    return Pairing(pairing.pairs, folder.problems + pairing.problems)


def _pair_two(images: Folder, masks: Folder) -> Pairing:
    pairing = pair_files(images.files, masks.files)
    entries = images.problems + refuse_subfolders(images) + masks.problems + refuse_subfolders(masks)
    return Pairing(pairing.pairs, entries + pairing.problems)


def _to_cases(pairing: Pairing, split: str | None, *, prefix: str = "") -> tuple[CaseFiles, ...]:
    return tuple(
        CaseFiles(prefix + pair.stem, pair.image, pair.mask, _guess_group(pair, prefix), split)
        for pair in pairing.pairs
    )


def _guess_group(pair: Pair, prefix: str) -> str:
    patient = group_of(pair.stem) if volume_suffix(pair.image) else pair.stem
    return prefix + pair.stem if patient == pair.stem else patient


def _join_splits(layout: str, parts: dict[str, Pairing]) -> _Found:
    stems = [pair.stem for pairing in parts.values() for pair in pairing.pairs]
    repeated = len(set(stems)) < len(stems)  # numbered from 1 in each split, usually
    cases = [
        case
        for split, pairing in parts.items()
        for case in _to_cases(pairing, split, prefix=f"{split}_" if repeated else "")
    ]
    problems = [problem for pairing in parts.values() for problem in pairing.problems]
    return _Found(layout, tuple(cases), tuple(problems))


def _split_folders(folder: Folder) -> dict[str, Folder]:
    found: dict[str, Folder] = {}
    for path in folder.folders:
        split = SPLIT_NAMES.get(path.name.casefold())
        if split in found:
            raise LayoutError(f"{folder.path} holds {found[split].path.name} and {path.name}, both {split}")
        if split:
            found[split] = open_folder(path)
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def _add_groups(cases: Sequence[CaseFiles], path: Path) -> tuple[tuple[CaseFiles, ...], tuple[str, ...]]:
    if not path.is_file():
        return tuple(cases), ()
    by_id = {case.id: case for case in cases}
    group_of = {
        case.id: group for name, group in read_groups(path).items() if (case := find_case(name, by_id))
    }
    problems = tuple(f"{path} gives no group for {case.id}" for case in cases if case.id not in group_of)
    return tuple(replace(case, group=group_of.get(case.id, case.group)) for case in cases), problems


def _add_splits(cases: Sequence[CaseFiles], folder: Path) -> tuple[tuple[CaseFiles, ...], tuple[str, ...]]:
    lists = _split_lists(folder)
    by_id = {case.id: case for case in cases}
    split_of: dict[str, str] = {}
    problems: list[str] = []
    for split, path in lists.items():
        for name in read_split_list(path):
            case = find_case(name, by_id)
            if case is None:
                problems.append(f"{path} names {name}, which is no case")
            elif case.id in split_of:
                problems.append(f"{case.id} is in {split_of[case.id]} and in {split} ({folder})")
            else:
                split_of[case.id] = split
    listed = [replace(by_id[id_], split=split) for id_, split in split_of.items()]
    return (*listed, *(case for case in cases if case.id not in split_of)), tuple(problems)


def _split_lists(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    texts = sorted(folder.glob("*.txt"))
    found: dict[str, Path] = {}
    for path in texts:
        split = (SPLIT_NAMES | _SHOTS).get(path.stem.lower())
        if split in found:
            raise SplitError(f"{folder} holds {found[split].name} and {path.name}, both {split}; keep one")
        if split:
            found[split] = path
    if texts and "train" not in found and "test" not in found:
        raise SplitError(
            f"{folder} holds {texts[0].name}; the lists are named train.txt, val.txt and test.txt"
        )
    return {split: found[split] for split in ("train", "val", "test") if split in found}
