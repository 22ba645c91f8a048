"""`convert`: into slices and back gives the same volumes; nothing half-written, nothing replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage
from scipy.spatial.transform import Rotation

from dinoseg.data import Dataset, open_dataset, read_case
from dinoseg.data.cases.volumes import VolumeCase, read_volume_case
from dinoseg.data.conversion.conversion import convert
from dinoseg.data.conversion.slice_folders import SliceOptions
from dinoseg.data.splits.splits import resolve_splits
from dinoseg.errors import DataError, DinosegError, LabelError, LayoutError, OutputError, UsageError
from tests.data.samples import make_dataset, picture, save, write_lines
from tests.data.volume_folders import (
    RAS,
    SHAPE,
    describe,
    draw_label,
    draw_scan,
    make_acdc,
    make_raw,
    write_nifti,
)


def read_all(dataset: Dataset) -> dict[str, VolumeCase]:
    return {case.id: read_volume_case(case, dataset.labels) for case in dataset.cases}


def there_and_back(
    source: Path, folder: Path, options: SliceOptions | None = None
) -> tuple[Dataset, Dataset]:
    convert(source, folder / "slices", to="images", options=options)
    convert(folder / "slices", folder / "back", to="nnunet")
    return open_dataset(source), open_dataset(folder / "back")


def oblique() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=4).as_matrix() * (0.8, 0.7, 3.0)
    affine[:3, 3] = (-101.5, 33.25, 7.125)
    return affine


AFFINES = {
    "straight": RAS,
    "flipped": RAS * [-1, 1, -1, 1],
    "turned": RAS[[2, 0, 1, 3]],
    "oblique": oblique(),
}


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_integers_come_back_exactly_on_their_grid(tmp_path: Path, affine: Any, plane: Any) -> None:
    source = make_raw(tmp_path / "raw", 2, affine=affine)
    before, after = there_and_back(source, tmp_path, SliceOptions(plane=plane))
    assert [case.id for case in after.cases] == ["c1", "c2"]
    assert (after.classes, after.channel_names) == (before.classes, before.channel_names)
    for name, case in read_all(before).items():
        again = read_all(after)[name]
        assert np.array_equal(again.image.array, case.image.array)
        assert again.image.array.dtype == case.image.array.dtype == np.int16
        assert np.abs(again.image.affine - case.image.affine).max() < 1e-5
        assert case.label is not None
        assert again.label is not None
        assert np.array_equal(again.label.array, case.label.array)


def test_both_forms_of_a_header_come_back(tmp_path: Path) -> None:
    source = make_raw(tmp_path / "raw", 2)
    for path in source.rglob("*.nii.gz"):
        image = nibabel.load(path)
        image.set_qform(np.diag([-1.0, 1.0, 1.0, 1.0]) @ RAS, code=2)
        image.header["sform_code"] = 4
        image.to_filename(path)
    done = convert(source, tmp_path / "slices", to="images")
    assert any("2 of 2 volumes (c1; c2), c1: its sform and qform disagree" in note for note in done.notes)
    convert(tmp_path / "slices", tmp_path / "back", to="nnunet")
    for name in ("imagesTr/c1_0000.nii.gz", "labelsTr/c1.nii.gz"):
        before, after = (nibabel.load(tmp_path / root / name).header for root in ("raw", "back"))
        for field in ("sform_code", "qform_code", "srow_x", "pixdim", "quatern_b", "qoffset_x", "xyzt_units"):
            np.testing.assert_array_equal(after[field], before[field])


def test_what_lies_in_a_folder_of_slices(tmp_path: Path) -> None:
    result = convert(make_raw(tmp_path / "raw", 2), tmp_path / "slices", to="images")
    slices = open_dataset(tmp_path / "slices")
    assert (result.cases, result.notes) == (2, ())
    assert result.files == sum(path.is_file() for path in (tmp_path / "slices").rglob("*")) == 2 * 12 + 3
    assert [case.id for case in slices.cases[:2]] == ["c1_0000", "c1_0001"]
    assert slices.classes == {0: "background", 1: "organ", 2: "tumour"}
    assert [case.group for case in slices.cases] == ["c1"] * 6 + ["c2"] * 6
    case = read_case(slices.cases[1], slices.labels)
    scan, label = draw_scan(1), draw_label(1)
    assert case.label is not None
    assert np.array_equal(case.label.array, label[::-1, ::-1, ::-1][1])
    # The whole range of 16 bits is used, in equal steps: the slice is bright, and its values can be had back.
    step = 65535 // (int(scan.max()) - int(scan.min()))
    wanted = (scan[::-1, ::-1, ::-1][1].astype(int) - int(scan.min())) * step
    assert np.array_equal(np.rint(case.image.array[0] * 65535).astype(int), wanted)


def test_floats_are_rounded_to_a_share_of_their_range(tmp_path: Path) -> None:
    source = make_acdc(tmp_path / "acdc")
    before, after = there_and_back(source, tmp_path)
    for name, case in read_all(before).items():
        again = read_all(after)[name]
        span = float(case.image.array.max() - case.image.array.min())
        assert np.abs(again.image.array - case.image.array).max() < 0.51 * span / 65535 + 1e-7
        assert again.image.array.dtype == np.float32
        assert not np.array_equal(again.image.array, case.image.array)


def test_rounding_is_told(tmp_path: Path) -> None:
    result = convert(make_acdc(tmp_path / "acdc"), tmp_path / "slices", to="images")
    assert len(result.notes) == 1
    assert result.notes[0].startswith("values are rounded to within ")


def test_groups_and_splits_go_along(tmp_path: Path) -> None:
    before, after = there_and_back(make_acdc(tmp_path / "acdc"), tmp_path)
    slices = open_dataset(tmp_path / "slices")
    assert [case.id for case in slices.cases if case.split == "train"][:2] == [
        "patient003_ES_0000",
        "patient003_ES_0001",
    ]
    assert {case.group for case in slices.cases} == {case.group for case in before.cases}
    wanted, found = resolve_splits(before), resolve_splits(after)
    for name, ids in wanted.items():
        assert sorted(dict(found.items())[name]) == sorted(ids)
    assert {case.id: case.group for case in after.cases} == {case.id: case.group for case in before.cases}


def test_a_window_and_eight_bits(tmp_path: Path) -> None:
    source = make_raw(tmp_path / "raw", 1)
    options = SliceOptions(bits=8, window=(100, 100))
    result = convert(source, tmp_path / "slices", to="images", options=options)
    assert result.notes == (
        "values are rounded to within 0.196",
        "values outside the window are cut to its ends",
    )
    with PillowImage.open(tmp_path / "slices/images/c1_0002.png") as image:
        pixels = np.asarray(image)
    upright = draw_scan(1)[::-1, ::-1, ::-1][2].astype(float)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.rint((upright - 50) / (100 / 255)).clip(0, 255))
    convert(tmp_path / "slices", tmp_path / "back", to="nnunet")
    back = read_all(open_dataset(tmp_path / "back"))["c1"].image.array[0]
    assert np.abs(back - draw_scan(1).clip(50, 150)).max() <= 1


def test_channels_are_chosen(tmp_path: Path) -> None:
    source = make_raw(tmp_path / "raw", 1, channels=("T1", "T2"))
    with pytest.raises(UsageError, match=r"2 channels; a PNG holds one, or three of 8 bits: choose one"):
        convert(source, tmp_path / "slices", to="images")
    assert not (tmp_path / "slices").exists()
    _, after = there_and_back(source, tmp_path, SliceOptions(channel=1))
    assert after.channel_names == ("T2",)
    assert np.array_equal(read_all(after)["c1"].image.array[0], draw_scan(101))
    with pytest.raises(UsageError, match="has 2 channels, given channel 2"):
        convert(source, tmp_path / "other", to="images", options=SliceOptions(channel=2))


def test_three_channels_are_colours(tmp_path: Path) -> None:
    source = make_raw(tmp_path / "raw", 1, channels=("T1", "T2", "T3"))
    _, after = there_and_back(source, tmp_path, SliceOptions(bits=8))
    assert after.channel_names == ("T1", "T2", "T3")
    back = read_all(after)["c1"].image.array
    for channel in range(3):
        assert np.abs(back[channel] - draw_scan(1 + 100 * channel)).max() <= 2


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    source = make_raw(tmp_path / "raw", 1, labels={"background": 0, "organ": 1, "ignore": 2})
    _, after = there_and_back(source, tmp_path)
    assert open_dataset(tmp_path / "slices").labels.ignore == (255,)
    assert after.labels.ignore == (2,)
    stored = nibabel.load(tmp_path / "back/labelsTr/c1.nii.gz")
    assert np.array_equal(np.asarray(stored.dataobj).transpose(2, 1, 0), draw_label(1))


def test_regions_stay_regions(tmp_path: Path) -> None:
    source = make_raw(tmp_path / "raw", 1, labels={"background": 0, "whole": [1, 2], "core": [2]})
    before, after = there_and_back(source, tmp_path)
    assert before.regions == {"whole": (1, 2), "core": (2,)}
    for dataset in (open_dataset(tmp_path / "slices"), after):
        assert dataset.regions == before.regions
        assert dataset.classes == before.classes == {0: "background", 1: "whole (1)", 2: "core"}
    assert json.loads((tmp_path / "back/dataset.json").read_text())["labels"]["core"] == 2


def test_other_volumes_become_nnunet_raw(tmp_path: Path) -> None:
    convert(make_acdc(tmp_path / "acdc"), tmp_path / "raw", to="nnunet")
    content = json.loads((tmp_path / "raw/dataset.json").read_text())
    assert content == {
        "channel_names": {"0": "channel 0"},
        "labels": {"background": 0, "class_1": 1, "class_2": 2},
        "numTraining": 6,
        "file_ending": ".nii.gz",
    }
    assert sorted(path.name for path in (tmp_path / "raw/imagesTs").iterdir()) == [
        "patient004_ED_0000.nii.gz",
        "patient004_ES_0000.nii.gz",
    ]
    folds = json.loads((tmp_path / "raw/splits_final.json").read_text())
    assert [len(fold["train"]) for fold in folds] == [4]
    before, after = read_all(open_dataset(tmp_path / "acdc")), read_all(open_dataset(tmp_path / "raw"))
    for name, case in before.items():
        assert np.array_equal(after[name].image.array, case.image.array)
        assert not case.image.geometry.spacing_known


def test_images_become_nnunet_raw_and_images_again(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data", 4)
    save(tmp_path / "data/images/grey.png", picture(9, channels=1))
    save(tmp_path / "data/masks/grey.png", np.zeros((24, 32), np.uint8))
    save(tmp_path / "data/images/photo.jpg", picture(10))
    save(tmp_path / "data/masks/photo.png", np.zeros((24, 32), np.uint8))
    write_lines(tmp_path / "data/splits/train.txt", ["c1", "c2", "grey"])
    write_lines(tmp_path / "data/splits/val.txt", ["c3"])
    write_lines(tmp_path / "data/splits/test.txt", ["c4", "photo"])
    convert(tmp_path / "data", tmp_path / "raw", to="nnunet")
    content = json.loads((tmp_path / "raw/dataset.json").read_text())
    assert content["channel_names"] == {"0": "red", "1": "green", "2": "blue"}
    assert (content["file_ending"], content["numTraining"]) == (".png", 4)
    with PillowImage.open(tmp_path / "raw/imagesTr/grey_0000.png") as image:
        assert image.mode == "RGB"
    convert(tmp_path / "raw", tmp_path / "again", to="images")
    before, after = open_dataset(tmp_path / "data"), open_dataset(tmp_path / "again")
    assert after.classes == before.classes
    assert {case.id: case.split for case in after.cases} == {case.id: case.split for case in before.cases}
    for files in before.cases:
        case, again = (read_case(d.find([files.id])[0], d.labels) for d in (before, after))
        assert case.label is not None
        assert again.label is not None
        assert np.array_equal(again.label.array, case.label.array)
        assert np.array_equal(again.image.array, np.broadcast_to(case.image.array, (3, 24, 32)))


def test_sixteen_bits_stay_sixteen(tmp_path: Path) -> None:
    deep = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 80
    save(tmp_path / "data/images/a.tif", deep)
    save(tmp_path / "data/masks/a.png", np.eye(24, 32, dtype=np.uint8))
    convert(tmp_path / "data", tmp_path / "raw", to="nnunet")
    with PillowImage.open(tmp_path / "raw/imagesTr/a_0000.png") as image:
        assert np.array_equal(np.asarray(image), deep)


def refused(folder: Path, error: type[DinosegError], words: str, *arguments: Any, **keywords: Any) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(error, match=words):
        convert(*arguments, **keywords)
    assert sorted(folder.rglob("*")) == before


def test_nothing_is_replaced_and_nothing_half_written(tmp_path: Path) -> None:
    source = make_raw(tmp_path / "raw", 2)
    convert(source, tmp_path / "slices", to="images")
    refused(tmp_path, OutputError, "exists already", source, tmp_path / "slices", to="images")
    refused(tmp_path, UsageError, "has this layout already", source, tmp_path / "x", to="nnunet")
    refused(tmp_path, UsageError, "has this layout already", tmp_path / "slices", tmp_path / "x", to="images")
    options = SliceOptions(bits=8)
    refused(
        tmp_path,
        UsageError,
        "are for volumes",
        tmp_path / "slices",
        tmp_path / "x",
        to="nnunet",
        options=options,
    )
    (tmp_path / "slices/masks/c2_0003.png").unlink()
    (tmp_path / "slices/images/c2_0003.png").unlink()
    refused(tmp_path, LayoutError, "has no slice c2_0003", tmp_path / "slices", tmp_path / "x", to="nnunet")


def test_a_damaged_source_leaves_nothing(tmp_path: Path) -> None:
    source = make_raw(tmp_path / "raw", 2)
    (source / "imagesTr/c2_0000.nii.gz").write_bytes(b"\x1f\x8bno")
    refused(tmp_path, DataError, "c2_0000.nii.gz", source, tmp_path / "x", to="images")
    write_nifti(source / "imagesTr/c2_0000.nii.gz", draw_scan(2))
    write_nifti(source / "labelsTr/c2.nii.gz", draw_label(2) + 1)
    refused(tmp_path, LabelError, "holds the value 3", source, tmp_path / "x", to="images")


def test_a_slice_that_was_resized_is_refused(tmp_path: Path) -> None:
    convert(make_raw(tmp_path / "raw", 1), tmp_path / "slices", to="images")
    save(tmp_path / "slices/images/c1_0001.png", np.zeros((10, 10), np.uint16))
    save(tmp_path / "slices/masks/c1_0001.png", np.zeros((10, 10), np.uint8))
    refused(tmp_path, DataError, "slices keep the size", tmp_path / "slices", tmp_path / "x", to="nnunet")


@pytest.mark.parametrize(
    "content", ["{", '{"format": 2}', '{"format": 1, "channel_names": [], "volumes": {"c1": {}}}']
)
def test_a_damaged_sidecar(tmp_path: Path, content: str) -> None:
    convert(make_raw(tmp_path / "raw", 1), tmp_path / "slices", to="images")
    (tmp_path / "slices/volumes.json").write_text(content)
    refused(tmp_path, LayoutError, "volumes.json", tmp_path / "slices", tmp_path / "x", to="nnunet")


def test_2d_data_with_a_dataset_json_are_read(tmp_path: Path) -> None:
    save(tmp_path / "imagesTr/a_0000.png", picture(1))
    save(tmp_path / "labelsTr/a.png", np.full((24, 32), 2, np.uint8))
    labels = {"background": 0, "one": 1, "two": 2}
    describe(
        tmp_path, {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": labels, "file_ending": ".png"}
    )
    dataset = open_dataset(tmp_path)
    assert not dataset.is_volumes
    assert dataset.classes == {0: "background", 1: "one", 2: "two"}
    case = read_case(dataset.cases[0], dataset.labels)
    assert case.label is not None
    assert (case.label.array == 2).all()
    assert SHAPE[1:] != case.image.size
