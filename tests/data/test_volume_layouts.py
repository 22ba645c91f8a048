"""Volumes as data sets: layouts, classes, groups and splits are per case, never per slice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dinoseg.config import PreprocessingSettings, WindowIntensity
from dinoseg.data import open_dataset, read_case
from dinoseg.data.case import IGNORE_ID
from dinoseg.data.cases.volumes import VolumeSlices, measure_slices, note_channels, read_volume_case
from dinoseg.data.splits.shots import draw_shots
from dinoseg.data.splits.splits import check_splits, load_splits, make_splits, resolve_splits
from dinoseg.data.volumes import Plane
from dinoseg.errors import ConfigError, FileFormatError, LabelError, LayoutError, SplitError
from tests.data.samples import make_dataset, write_lines
from tests.data.volume_folders import (
    RAS,
    SHAPE,
    describe,
    draw_label,
    draw_scan,
    make_acdc,
    make_hdf5,
    make_raw,
    write_nifti,
)

OLD = {
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "organ", "2": "tumour"},
    "numTraining": 2,
    "training": [{"image": "./imagesTr/c1.nii.gz", "label": "./labelsTr/c1.nii.gz"}],
}


def test_nnunet_raw(tmp_path: Path) -> None:
    dataset = open_dataset(make_raw(tmp_path, 3))
    assert dataset.layout == "imagesTr/ and labelsTr/ with dataset.json (nnU-Net, Decathlon)"
    assert [(case.id, case.group, case.split) for case in dataset.cases] == [
        ("c1", "c1", None),
        ("c2", "c2", None),
        ("c3", "c3", None),
    ]
    assert dataset.is_volumes
    assert dataset.classes == {0: "background", 1: "organ", 2: "tumour"}
    assert dataset.labels.table == {0: 0, 1: 1, 2: 2}
    assert dataset.channel_names == ("MRI",)
    case = read_volume_case(dataset.cases[0], dataset.labels)
    assert case.label is not None
    assert case.image.array.shape == (1, *SHAPE)
    assert np.array_equal(case.image.array[0], draw_scan(1))
    assert np.array_equal(case.label.array, draw_label(1))
    assert case.image.spacing == pytest.approx((3.0, 0.7, 0.8))


def test_labels_of_declared_volumes_are_not_read(tmp_path: Path) -> None:
    make_raw(tmp_path, 2)
    (tmp_path / "labelsTr/c2.nii.gz").write_bytes(b"damaged")
    assert len(open_dataset(tmp_path).cases) == 2


def test_several_channels_lie_in_files_of_their_own(tmp_path: Path) -> None:
    make_raw(tmp_path, 2, channels=("T1", "T2"))
    dataset = open_dataset(tmp_path)
    (first, _) = dataset.cases
    assert [path.name for path in first.channels] == ["c1_0000.nii.gz", "c1_0001.nii.gz"]
    assert first.image == first.channels[0]
    image = read_volume_case(first, dataset.labels).image
    assert np.array_equal(image.array, np.stack([draw_scan(1), draw_scan(101)]))
    assert image.array.dtype == np.int16


def test_channels_of_different_types_become_floats(tmp_path: Path) -> None:
    make_raw(tmp_path, 1, channels=("T1", "T2"))
    write_nifti(tmp_path / "imagesTr/c1_0001.nii.gz", draw_scan(9).astype(np.float32) / 2)
    dataset = open_dataset(tmp_path)
    image = read_volume_case(dataset.cases[0], dataset.labels).image
    assert image.array.dtype == np.float32
    assert np.array_equal(image.array, np.stack([draw_scan(1), draw_scan(9) / 2]))


def test_channels_on_different_grids_are_refused(tmp_path: Path) -> None:
    make_raw(tmp_path, 1, channels=("T1", "T2"))
    write_nifti(tmp_path / "imagesTr/c1_0001.nii.gz", draw_scan(9), RAS * 1.5)
    dataset = open_dataset(tmp_path)
    with pytest.raises(LabelError, match=r"c1_0001.nii.gz does not lie on the grid of its image"):
        read_volume_case(dataset.cases[0], dataset.labels)


def test_decathlon_and_the_older_dataset_json(tmp_path: Path) -> None:
    for number in (1, 2):
        write_nifti(tmp_path / f"imagesTr/c{number}.nii.gz", draw_scan(number))
        write_nifti(tmp_path / f"labelsTr/c{number}.nii.gz", draw_label(number))
    describe(tmp_path, OLD)
    dataset = open_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["c1", "c2"]
    assert dataset.cases[0].channels == dataset.cases[0].channel_indices == ()
    assert dataset.classes == {0: "background", 1: "organ", 2: "tumour"}


def test_channels_of_a_4d_file(tmp_path: Path) -> None:
    both = np.stack([draw_scan(1), draw_scan(2)])
    write_nifti(tmp_path / "imagesTr/b_0001.nii.gz", both)  # Decathlon's name may end like a channel
    write_nifti(tmp_path / "labelsTr/b_0001.nii.gz", draw_label(1))
    describe(tmp_path, {**OLD, "modality": {"0": "FLAIR", "1": "T1w"}})
    dataset = open_dataset(tmp_path)
    assert dataset.cases[0].channel_indices == (0, 1)
    assert np.array_equal(read_volume_case(dataset.cases[0], dataset.labels).image.array, both)


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    make_raw(tmp_path, 2, channels=("T1", "T2"))
    (tmp_path / "imagesTr/c2_0001.nii.gz").unlink()
    write_nifti(tmp_path / "imagesTr/alone_0000.nii.gz", draw_scan(5))
    write_nifti(tmp_path / "labelsTr/lost.nii.gz", draw_label(5))
    with pytest.raises(LayoutError) as caught:
        open_dataset(tmp_path)
    assert "c2.nii.gz: its image has the channels 0000, dataset.json names 2" in str(caught.value)
    assert "lost.nii.gz: no image of this name (…_0000 and so on) in imagesTr" in str(caught.value)
    assert "alone_0000.nii.gz: no label of this name" in str(caught.value)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    shutil.rmtree(make_raw(tmp_path, 1) / "labelsTr")
    with pytest.raises(LayoutError, match="labelsTr is missing"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"background": 0, "organ": "1"}, "label 'organ' has the value '1'"),
        ({"background": 0, "organ": [1.5]}, "label 'organ' has the value"),
        ({"background": 0, "organ": 1, "mass": 1}, "gives two names to one label"),
        ({"0": "background", "1": "background"}, "gives two labels one name"),
        ({"background": 0, "organ": 1, "ignore": 1}, "is to be ignored and is 'organ' as well"),
        ({"background": 0}, "names 1 labels"),
        ({"background": 0, "all": [0, 1]}, r"region 'all' is \[0, 1\]; leave out 0, the background"),
        ([], "needs channel_names"),
    ],
)
def test_wrong_labels_in_dataset_json(tmp_path: Path, labels: object, words: str) -> None:
    make_raw(tmp_path, 1)
    describe(tmp_path, {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"})
    with pytest.raises(LabelError, match=words):
        open_dataset(tmp_path)


def test_regions_become_exclusive_classes(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3}
    make_raw(tmp_path, 1, labels=labels, regions_class_order=[1, 2, 3])
    dataset = open_dataset(tmp_path)
    assert dataset.classes == {0: "background", 1: "whole (1)", 2: "core (2)", 3: "active"}
    assert dataset.regions == {"whole": (1, 2, 3), "core": (2, 3), "active": (3,)}


def test_what_is_to_be_ignored(tmp_path: Path) -> None:
    labels = {"background": 0, "organ": 1, "ignore": 2}
    dataset = open_dataset(make_raw(tmp_path, 1, labels=labels))
    assert dataset.classes == {0: "background", 1: "organ"}
    assert dataset.labels.ignore == (2,)
    assert dataset.labels.describe() == "0 -> 0, 1 -> 1, 2 -> ignored"
    case = read_volume_case(dataset.cases[0], dataset.labels)
    assert case.label is not None
    assert np.array_equal(case.label.array, np.where(draw_label(1) == 2, IGNORE_ID, draw_label(1)))
    assert dataset.labels.find_classes(case.label.array) == {1}


def test_values_with_holes_become_classes_in_order(tmp_path: Path) -> None:
    make_raw(tmp_path, 1, labels={"background": 0, "organ": 1, "tumour": 7})
    write_nifti(
        tmp_path / "labelsTr/c1.nii.gz", np.where(draw_label(1) == 2, 7, draw_label(1)).astype("uint8")
    )
    dataset = open_dataset(tmp_path)
    assert dataset.classes == {0: "background", 1: "organ", 2: "tumour"}
    assert np.array_equal(dataset.labels.read(tmp_path / "labelsTr/c1.nii.gz"), draw_label(1))


def test_a_value_that_is_not_declared_is_an_error(tmp_path: Path) -> None:
    dataset = open_dataset(make_raw(tmp_path, 1, labels={"background": 0, "organ": 1}))
    with pytest.raises(LabelError, match=r"c1.nii.gz holds the value 2 without a class"):
        read_volume_case(dataset.cases[0], dataset.labels)


def test_folds(tmp_path: Path) -> None:
    make_raw(tmp_path, 4)
    folds = [{"train": ["c1", "c2", "c3"], "val": ["c4"]}, {"train": ["c4", "c2", "c3"], "val": ["c1"]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))
    dataset = open_dataset(tmp_path)
    assert resolve_splits(dataset).val == ("c4",)
    assert resolve_splits(dataset, fold=1).train == ("c4", "c2", "c3")
    assert load_splits(tmp_path / "splits_final.json", fold=1).val == ("c1",)
    with pytest.raises(SplitError, match="holds 2 folds, given fold 2"):
        resolve_splits(dataset, fold=2)


def test_a_fold_without_folds_is_refused(tmp_path: Path) -> None:
    make_raw(tmp_path, 4)
    dataset = open_dataset(tmp_path)
    assert resolve_splits(dataset, fold=0).train
    with pytest.raises(
        SplitError, match=r"has no splits_final\.json, given fold 1; accepted is fold 0, or a"
    ):
        resolve_splits(dataset, fold=1)
    division = {"train": ["c1", "c2", "c3"], "val": ["c4"]}
    (tmp_path / "splits.json").write_text(json.dumps(division))
    (tmp_path / "splits_final.json").write_text(json.dumps([division, division]))
    assert resolve_splits(dataset).val == ("c4",)
    with pytest.raises(
        SplitError, match=r"splits\.json holds one division and no folds, given fold 1; .*--splits"
    ):
        resolve_splits(dataset, fold=1)
    assert resolve_splits(dataset, path=tmp_path / "splits_final.json", fold=1).val == ("c4",)


def test_the_test_folder_stays_one_beside_folds(tmp_path: Path) -> None:
    make_raw(tmp_path, 2)
    write_nifti(tmp_path / "imagesTs/t1_0000.nii.gz", draw_scan(8))
    write_nifti(tmp_path / "labelsTs/t1.nii.gz", draw_label(8))
    dataset = open_dataset(tmp_path)
    assert [(case.id, case.split) for case in dataset.cases] == [
        ("c1", "train"),
        ("c2", "train"),
        ("t1", "test"),
    ]
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": ["c1"], "val": ["c2"]}]))
    assert resolve_splits(dataset).test == ("t1",)


def test_hdf5_with_lists_of_shots(tmp_path: Path) -> None:
    dataset = open_dataset(make_acdc(tmp_path))
    assert dataset.layout == "HDF5 files with image and label"
    assert [(case.id, case.group, case.split) for case in dataset.cases[:3]] == [
        ("patient003_ES", "patient003", "train"),
        ("patient003_ED", "patient003", "train"),
        ("patient001_ED", "patient001", "train"),
    ]
    assert all(case.label == case.image for case in dataset.cases)
    assert dataset.classes == {0: "background", 1: "class_1", 2: "class_2"}
    splits = resolve_splits(dataset)
    check_splits(dataset, splits)
    assert splits.unit == "group"
    assert draw_shots(dataset, splits.train, 3, first=True) == splits.train[:3]
    assert set(draw_shots(dataset, splits.train, 1, unit="group")) in (
        {"patient003_ES", "patient003_ED"},
        {"patient001_ED", "patient001_ES"},
    )


def test_two_lists_to_train_on_are_refused(tmp_path: Path) -> None:
    write_lines(make_acdc(tmp_path) / "splits/train.txt", ["patient001_ED"])
    with pytest.raises(SplitError, match=r"shots.txt and train.txt, both train"):
        open_dataset(tmp_path)


def test_spacing_of_hdf5_may_be_unknown(tmp_path: Path) -> None:
    for name, spacing in (("with", (5.0, 1.0, 2.0)), ("without", None)):
        dataset = open_dataset(make_hdf5(tmp_path / name, ["a"], spacing=spacing))
        geometry = read_volume_case(dataset.cases[0], dataset.labels).image.geometry
        assert geometry.spacing == (spacing or (1.0, 1.0, 1.0))
        assert geometry.spacing_known == (spacing is not None)


def test_synapse_names(tmp_path: Path) -> None:
    dataset = open_dataset(make_hdf5(tmp_path, ["case0001.npy"]))
    assert [case.id for case in dataset.cases] == ["case0001"]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.nii.gz", "masks/a.nii.gz"),
        ("images/a.nii", "labels/a_seg.nii.gz"),
        ("a.nii.gz", "a_mask.nii.gz"),
        ("train/images/a.nii.gz", "train/masks/a.nii.gz"),
    ],
)
def test_folders_of_volumes(tmp_path: Path, image: str, mask: str) -> None:
    write_nifti(tmp_path / image, draw_scan(1))
    write_nifti(tmp_path / mask, draw_label(1))
    dataset = open_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["a"]
    assert dataset.is_volumes
    assert dataset.classes == {0: "background", 1: "class_1", 2: "class_2"}
    assert dataset.empty == frozenset()


def test_ids_of_volumes_are_kept_with_their_holes(tmp_path: Path) -> None:
    write_nifti(tmp_path / "images/a.nii.gz", draw_scan(1))
    write_nifti(tmp_path / "masks/a.nii.gz", draw_label(1) * 3)
    dataset = open_dataset(tmp_path)
    assert dataset.labels.table == {value: value for value in range(7)}
    assert "no label holds 4 values (1, 2, 4, 5)" in dataset.labels.note


@pytest.mark.parametrize(("value", "table"), [(255, "0 -> 0, anything else -> 1"), (1, "0 -> 0, 1 -> 1")])
def test_one_class_in_volumes(tmp_path: Path, value: int, table: str) -> None:
    write_nifti(tmp_path / "images/a.nii.gz", draw_scan(1))
    write_nifti(tmp_path / "masks/a.nii.gz", (draw_label(1) > 0).astype(np.uint8) * np.uint8(value))
    dataset = open_dataset(tmp_path)
    assert dataset.labels.describe() == table
    assert dataset.labels.read(tmp_path / "masks/a.nii.gz").max() == 1


def test_ids_above_63_must_be_declared(tmp_path: Path) -> None:
    write_nifti(tmp_path / "images/a.nii.gz", draw_scan(1))
    write_nifti(tmp_path / "masks/a.nii.gz", draw_label(1) * 32)
    with pytest.raises(LabelError, match=r"declare in dataset.yaml every value"):
        open_dataset(tmp_path)
    write_lines(tmp_path / "dataset.yaml", ["values: {0: 0, 32: 1, 64: 2}"])
    assert np.array_equal(open_dataset(tmp_path).labels.read(tmp_path / "masks/a.nii.gz"), draw_label(1))


def test_names_alone_declare_ids_of_volumes(tmp_path: Path) -> None:
    write_lines(make_acdc(tmp_path) / "dataset.yaml", ["classes: {0: background, 1: RV, 2: MYO, 3: LV}"])
    dataset = open_dataset(tmp_path)
    assert dataset.labels.table == {0: 0, 1: 1, 2: 2, 3: 3}
    assert dataset.classes[3] == "LV"


def test_dataset_json_may_ignore_several_values(tmp_path: Path) -> None:
    labels = {"background": 0, "organ": 1, "ignore": [2, 7]}
    dataset = open_dataset(make_raw(tmp_path, 1, labels=labels))
    assert dataset.labels.ignore == (2, 7)
    assert dataset.classes == {0: "background", 1: "organ"}
    label = dataset.cases[0].label
    assert label is not None
    assert set(np.unique(dataset.labels.read(label))) == {0, 1, IGNORE_ID}


def test_dataset_yaml_may_name_what_is_ignored(tmp_path: Path) -> None:
    write_lines(make_acdc(tmp_path) / "dataset.yaml", ["classes: {0: background, 1: heart}", "ignore: 2"])
    dataset = open_dataset(tmp_path)
    assert dataset.labels.ignore == (2,)
    assert set(np.unique(dataset.labels.read(tmp_path / "patient001_ED.h5"))) == {0, 1, IGNORE_ID}


@pytest.mark.parametrize("ignore", ["1", "-1", "x"])
def test_wrong_ignore(tmp_path: Path, ignore: str) -> None:
    write_lines(
        make_acdc(tmp_path) / "dataset.yaml", ["classes: {0: background, 1: heart}", f"ignore: {ignore}"]
    )
    with pytest.raises(LabelError, match=r"dataset.yaml: ignore"):
        open_dataset(tmp_path)


def test_dataset_yaml_may_declare_regions(tmp_path: Path) -> None:
    lines = ["classes: {0: background, 1: oedema, 2: core}", "regions: {whole: [2, 1, 2], core: [2]}"]
    write_lines(make_acdc(tmp_path) / "dataset.yaml", lines)
    assert open_dataset(tmp_path).regions == {"whole": (1, 2), "core": (2,)}


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ("[1, 2]", "must give names to lists of class ids"),
        ("{1: [2]}", "must give names to lists of class ids"),
        ("{whole: []}", r"region 'whole' is \[\]; accepted is a list of ids, ids of `classes` from 1 to 2"),
        ("{whole: 2}", "region 'whole' is 2; accepted"),
        ("{whole: [0, 1]}", r"region 'whole' is \[0, 1\]; accepted"),
        ("{whole: [1, 3]}", r"region 'whole' is \[1, 3\]; accepted"),
        ("{whole: [true]}", r"region 'whole' is \[True\]; accepted"),
        ("{core: [1, 2]}", "region 'core' has the name of a class"),
    ],
)
def test_wrong_regions(tmp_path: Path, regions: str, message: str) -> None:
    lines = ["classes: {0: background, 1: oedema, 2: core}", f"regions: {regions}"]
    write_lines(make_acdc(tmp_path) / "dataset.yaml", lines)
    with pytest.raises(LabelError, match=message):
        open_dataset(tmp_path)


def test_regions_need_classes(tmp_path: Path) -> None:
    write_lines(make_acdc(tmp_path) / "dataset.yaml", ["regions: {whole: [1, 2]}"])
    with pytest.raises(LabelError, match="accepted is a list of ids, with `classes` only"):
        open_dataset(tmp_path)


def test_images_and_volumes_do_not_mix(tmp_path: Path) -> None:
    make_dataset(tmp_path, 2)
    write_nifti(tmp_path / "images/v.nii.gz", draw_scan(1))
    write_nifti(tmp_path / "masks/v.nii.gz", draw_label(1))
    with pytest.raises(LayoutError, match="holds 1 volumes and 2 images"):
        open_dataset(tmp_path)


def test_a_picture_is_no_label_of_a_volume(tmp_path: Path) -> None:
    make_dataset(tmp_path, 1)
    (tmp_path / "images/c1.png").unlink()
    write_nifti(tmp_path / "images/c1.nii.gz", draw_scan(1))
    with pytest.raises(LayoutError, match=r"c1.png is an image, its image .*c1.nii.gz is not"):
        open_dataset(tmp_path)


def test_a_table_of_volumes(tmp_path: Path) -> None:
    make_acdc(tmp_path / "data")
    rows = [f"data/patient00{n}_ED.h5,data/patient00{n}_ED.h5,p{n}" for n in (2, 1)]
    dataset = open_dataset(write_lines(tmp_path / "cases.csv", ["image,mask,group", *rows]))
    assert [(case.id, case.group) for case in dataset.cases] == [
        ("patient002_ED", "p2"),
        ("patient001_ED", "p1"),
    ]


def test_the_same_volume_in_two_splits_leaks(tmp_path: Path) -> None:
    make_raw(tmp_path, 4)
    shutil.copyfile(tmp_path / "imagesTr/c1_0000.nii.gz", tmp_path / "imagesTr/c4_0000.nii.gz")
    lists = {"train": ["c1", "c2"], "val": ["c3"], "test": ["c4"]}
    (tmp_path / "splits.json").write_text(json.dumps(lists))
    dataset = open_dataset(tmp_path)
    with pytest.raises(SplitError, match=r"c1 \(train\) is the image of c4 \(test\)"):
        check_splits(dataset, resolve_splits(dataset))


def test_drawn_splits_keep_patients_together(tmp_path: Path) -> None:
    shutil.rmtree(make_acdc(tmp_path) / "splits")
    dataset = open_dataset(tmp_path)
    splits = make_splits(dataset, fractions=(0.5, 0.25, 0.25))
    check_splits(dataset, splits)
    assert sorted(len(ids) for _, ids in splits.items()) == [2, 2, 4]


def test_a_volume_is_no_2d_case(tmp_path: Path) -> None:
    dataset = open_dataset(make_raw(tmp_path, 1))
    with pytest.raises(FileFormatError, match=r"is a volume; it is read by read_volume_case"):
        read_case(dataset.cases[0], dataset.labels)


def test_a_label_off_its_image_is_refused(tmp_path: Path) -> None:
    make_raw(tmp_path, 1)
    write_nifti(tmp_path / "labelsTr/c1.nii.gz", draw_label(1), RAS * [1, 1, 1.1, 1])
    dataset = open_dataset(tmp_path)
    with pytest.raises(LabelError, match=r"c1.nii.gz does not lie on the grid of its image"):
        read_volume_case(dataset.cases[0], dataset.labels)


# Slices as a model sees them.


def test_slices_are_upright_and_windowed(tmp_path: Path) -> None:
    dataset = open_dataset(make_raw(tmp_path, 1))
    case = read_volume_case(dataset.cases[0], dataset.labels).canonical()
    settings = PreprocessingSettings(intensity=WindowIntensity(windows=((200, 400),)))
    slices = VolumeSlices(case.image, settings)
    assert (len(slices), slices.size) == (SHAPE[0], SHAPE[1:])
    # The file runs to superior, anterior, right; upright is inferior, posterior, left.
    wanted = np.clip(draw_scan(1)[::-1, ::-1, ::-1] / 400, 0, 1)
    assert slices.image(1).array.shape == (3, *SHAPE[1:])
    assert np.allclose(slices.image(1).array, wanted[1], atol=1e-6)


@pytest.mark.parametrize(("plane", "count"), [("axial", 20), ("coronal", 24), ("sagittal", 6)])
def test_planes_are_those_of_the_patient(tmp_path: Path, plane: Plane, count: int) -> None:
    # The file's D runs along x, its W along y and its H along z.
    dataset = open_dataset(make_raw(tmp_path, 1, affine=RAS[[2, 0, 1, 3]]))
    case = read_volume_case(dataset.cases[0], dataset.labels).canonical()
    settings = PreprocessingSettings(intensity=WindowIntensity(), plane=plane)
    slices = VolumeSlices(case.image, settings)
    assert len(slices) == count
    assert measure_slices(dataset.cases[0], plane) == (count, *slices.size)


def test_neighbours_are_the_channels(tmp_path: Path) -> None:
    dataset = open_dataset(make_raw(tmp_path, 1))
    case = read_volume_case(dataset.cases[0], dataset.labels).canonical()
    alone = VolumeSlices(case.image, PreprocessingSettings(intensity=WindowIntensity()))
    three = VolumeSlices(case.image, PreprocessingSettings(intensity=WindowIntensity(), context=3))
    for index, neighbours in ((0, (0, 0, 1)), (3, (2, 3, 4)), (5, (4, 5, 5))):
        for channel, neighbour in enumerate(neighbours):
            assert np.array_equal(three.image(index).array[channel], alone.image(neighbour).array[0])


def test_three_windows_are_three_channels(tmp_path: Path) -> None:
    dataset = open_dataset(make_raw(tmp_path, 1))
    case = read_volume_case(dataset.cases[0], dataset.labels).canonical()
    windows = ((0, 100), (200, 400), (500, 200))
    together = VolumeSlices(case.image, PreprocessingSettings(intensity=WindowIntensity(windows=windows)))
    for channel, window in enumerate(windows):
        alone = VolumeSlices(case.image, PreprocessingSettings(intensity=WindowIntensity(windows=(window,))))
        assert np.array_equal(together.image(2).array[channel], alone.image(2).array[0])


@pytest.mark.parametrize(
    ("channels", "seen", "note"),
    [
        (1, (0, 0, 0), ""),
        (
            2,
            (0, 1, 0),
            "have 2 channels; the model has three inputs and sees channel 0, 1 (from 0)",
        ),
        (3, (0, 1, 2), ""),
        (
            4,
            (0, 1, 2),
            "have 4 channels; the model has three inputs and sees channel 0, 1, 2 (from 0)",
        ),
    ],
)
def test_several_channels_for_three_inputs(
    tmp_path: Path, channels: int, seen: tuple[int, ...], note: str
) -> None:
    dataset = open_dataset(make_raw(tmp_path, 1, channels=[f"c{number}" for number in range(channels)]))
    case = read_volume_case(dataset.cases[0], dataset.labels).canonical()
    settings = PreprocessingSettings(intensity=WindowIntensity(windows=((0, 800),)))
    image = VolumeSlices(case.image, settings).image(2).array
    for place, channel in enumerate(seen):
        wanted = np.clip(case.image.array[channel, 2] / 800 + 0.5, 0, 1)
        assert np.allclose(image[place], wanted, atol=1e-6)
    assert note_channels(channels, settings).removeprefix("the volumes ") == note


def test_a_model_for_images_takes_no_volume(tmp_path: Path) -> None:
    dataset = open_dataset(make_raw(tmp_path, 1))
    case = read_volume_case(dataset.cases[0], dataset.labels).canonical()
    with pytest.raises(ConfigError, match="the model is for images"):
        VolumeSlices(case.image, PreprocessingSettings())
