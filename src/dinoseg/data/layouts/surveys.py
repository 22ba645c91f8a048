"""Which layout a folder has, which cases it gives, and what does not fit, without raising on the latter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dinoseg.data.cases.files import SPLIT_NAMES, CaseFiles, stem_of
from dinoseg.data.labels.declarations import Declaration, read_declaration
from dinoseg.data.labels.named_files import find_named
from dinoseg.data.labels.parts import Merge
from dinoseg.data.layouts.archives import SUFFIX, unpack
from dinoseg.data.layouts.dicom import find_dicom_cases, holds_dicom
from dinoseg.data.layouts.folders import Folder, open_folder, refuse_subfolders
from dinoseg.data.layouts.lists import add_groups, add_split_lists
from dinoseg.data.layouts.nnunet import FILE_NAME as RAW_FILE
from dinoseg.data.layouts.nnunet import find_raw_cases, group_of, is_raw, read_raw_declaration
from dinoseg.data.layouts.pairing import Pair, Pairing, pair_files, pair_folder
from dinoseg.data.layouts.remarks import SIZE, Remark
from dinoseg.data.layouts.tables import is_case_table, read_cases
from dinoseg.data.layouts.unused import find_idle_splits, find_idle_tables, find_unused
from dinoseg.data.volumes import volume_suffix
from dinoseg.errors import DataError, LayoutError
from dinoseg.outputs import describe_ours

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
        label_problems: what is wrong with that.
        remarks: what lies there and is not used.
    """

    root: Path
    layout: str
    cases: tuple[CaseFiles, ...]
    problems: tuple[str, ...]
    split_problems: tuple[str, ...]
    declaration: Declaration
    label_problems: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()

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
    remarks: tuple[Remark, ...] = ()
    grouped: bool = False


def survey_data(path: Path) -> Survey:
    """Recognise the layout of a folder or CSV and pair what can be paired.

    Raises:
        LayoutError: the folder cannot be read, has no known layout or more than one, or holds both
            images and volumes; or it is a run, predictions or a report.
        LabelError: nnU-Net's dataset.json is wrong.
        SplitError: the split column cannot be read.
    """
    if path.is_file() and path.suffix.lower() == SUFFIX:
        return _survey_archive(path)
    table = path.is_file()
    if table and path.suffix.lower() != ".csv":
        raise LayoutError(
            f"{path} is a file; give a folder, a CSV with the columns image,mask, or MedSegBench's .npz"
        )
    if not table and (told := describe_ours(path)):
        raise LayoutError(f"no data set: {told}")
    root = path.parent if table else path
    declaration, label_problems = _declare(root)
    found = _from_table(path) if table else _find_cases(open_folder(path), declaration.merge)
    if not found.cases and not found.problems:
        raise LayoutError(f"{path} holds no image with a mask; {_ACCEPTED}")
    _refuse_mixture(path, found.cases)
    groups = add_groups(found.cases, root, grouped=found.grouped)
    lists = add_split_lists(groups.cases, root)
    joined = [case.id for case in lists.cases if case.is_volume and case.label_parts]
    if joined:
        label_problems += (f"{root}: merge joins masks of images, not label volumes ({joined[0]})",)
    own = any(case.split for case in lists.cases)
    problems = found.problems + _find_label_problems(lists.cases) + groups.problems
    idle = () if found.layout.startswith("CSV") else find_idle_tables(root, found.layout)
    unused = find_unused(root, lists.cases, table=path if table else None, problems=problems)
    return Survey(
        root,
        found.layout,
        lists.cases,
        problems,
        lists.problems,
        _add_raw(declaration, found.declaration),
        label_problems,
        found.remarks + groups.remarks + idle + find_idle_splits(root, own=own) + unused,
    )


def _survey_archive(path: Path) -> Survey:
    found = unpack(path)
    survey = survey_data(found.folder)
    remark = Remark(SIZE, f"{path}: {found.mark}", matters=True)
    layout = f"MedSegBench .npz with its fixed splits, {found.mark}"
    return replace(survey, layout=layout, remarks=(*survey.remarks, remark))


def _declare(root: Path) -> tuple[Declaration, tuple[str, ...]]:
    try:
        return read_declaration(root), ()
    except DataError as error:
        return Declaration(), (str(error),)


def _add_raw(written: Declaration, raw: Declaration) -> Declaration:
    """What dataset.yaml says goes before dataset.json; the channels stand in the latter only."""
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


def _find_cases(folder: Folder, merge: Merge | None) -> _Found:
    if is_raw(folder):
        return _from_raw(folder)
    images, masks = folder.subfolder(IMAGE_FOLDERS), folder.subfolder(MASK_FOLDERS)
    splits = _split_folders(folder)
    if splits and (images or masks):
        raise LayoutError(
            f"{folder.path} holds both split folders and image or mask folders; give one of them"
        )
    if images and masks:
        return _from_two_folders(images, masks, merge)
    if splits:
        return _from_split_folders(splits, merge)
    tables = [path for path in sorted(folder.path.iterdir()) if is_case_table(path)]
    if len(tables) > 1:
        raise LayoutError(
            f"{folder.path} holds {len(tables)} CSV files with image and mask; give one of them"
        )
    if tables:
        return _from_table(tables[0])
    if images or masks:
        missing = "masks" if images else "images"
        raise LayoutError(f"{folder.path} holds {(images or masks).name}/ but no {missing}/; {_ACCEPTED}")  # type: ignore[union-attr]
    if not folder.files and holds_dicom(folder.path):
        return _from_dicom(folder)
    return _from_suffixes(folder, merge)


def _from_two_folders(images: Path, masks: Path, merge: Merge | None) -> _Found:
    image_folder, mask_folder = open_folder(images), open_folder(masks)
    splits, mask_splits = _split_folders(image_folder), _split_folders(mask_folder)
    if splits and set(splits) == set(mask_splits) and not image_folder.files:
        parts = {split: _pair_two(splits[split], mask_splits[split], merge) for split in splits}
        return _join_splits(f"{images.name}/ and {masks.name}/ with {', '.join(splits)}", parts)
    pairing = _pair_two(image_folder, mask_folder, merge)
    return _Found(f"{images.name}/ and {masks.name}/", _to_cases(pairing, None), pairing.problems)


def _from_split_folders(splits: dict[str, Folder], merge: Merge | None) -> _Found:
    parts = {split: _pair_inside(folder, merge) for split, folder in splits.items()}
    return _join_splits(f"{', '.join(splits)} with images and masks each", parts)


def _from_suffixes(folder: Folder, merge: Merge | None) -> _Found:
    if folder.volumes and all(volume_suffix(file) in _HDF5 for file in folder.files):
        return _from_hdf5(folder)
    pairing = pair_folder(folder.files, merge=merge)
    if folder.files and not pairing.pairs and not _are_several(pairing):
        raise LayoutError(f"{folder.path} holds {len(folder.files)} images but no mask of any; {_ACCEPTED}")
    problems = folder.problems + pairing.problems
    return _Found("images and masks in one folder", _to_cases(pairing, None), problems)


def _are_several(pairing: Pairing) -> bool:
    """Whether there are masks, but several of each image."""
    return any("several masks for" in problem for problem in pairing.problems)


def _from_hdf5(folder: Folder) -> _Found:
    cases = tuple(
        CaseFiles(stem_of(file), file, file, group_of(stem_of(file)), None) for file in folder.volumes
    )
    return _Found("HDF5 files with image and label", cases, folder.problems)


def _from_raw(folder: Folder) -> _Found:
    declaration = read_raw_declaration(find_named(folder.path, RAW_FILE) or folder.path / RAW_FILE)
    raw = find_raw_cases(folder.path, declaration.channel_names)
    layout = f"imagesTr/ and labelsTr/ with {RAW_FILE} (nnU-Net, Decathlon)"
    return _Found(layout, raw.cases, raw.problems, declaration)


def _from_dicom(folder: Folder) -> _Found:
    found = find_dicom_cases(folder.path, read_declaration(folder.path))
    return _Found("DICOM series with SEG or RTSTRUCT", found.cases, found.problems, found.declaration)


def _from_table(path: Path) -> _Found:
    table = read_cases(path)
    layout = f"CSV {path.name}"
    return _Found(layout, table.cases, table.problems, remarks=table.remarks, grouped=table.has_groups)


def _pair_inside(folder: Folder, merge: Merge | None) -> Pairing:
    images, masks = folder.subfolder(IMAGE_FOLDERS), folder.subfolder(MASK_FOLDERS)
    if images and masks:
        return _pair_two(open_folder(images), open_folder(masks), merge)
    pairing = pair_folder(folder.files, merge=merge)
    if not pairing.pairs:
        raise LayoutError(f"{folder.path} holds no image with a mask; it needs images/ and masks/")
    return Pairing(pairing.pairs, folder.problems + pairing.problems)


def _pair_two(images: Folder, masks: Folder, merge: Merge | None) -> Pairing:
    pairing = pair_files(images.files, masks.files, merge=merge)
    entries = images.problems + refuse_subfolders(images) + masks.problems + refuse_subfolders(masks)
    return Pairing(pairing.pairs, entries + pairing.problems)


def _to_cases(pairing: Pairing, split: str | None, *, prefix: str = "") -> tuple[CaseFiles, ...]:
    return tuple(
        CaseFiles(
            prefix + pair.stem,
            pair.image,
            pair.mask,
            _guess_group(pair, prefix),
            split,
            label_parts=pair.masks if len(pair.masks) > 1 else (),
        )
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
