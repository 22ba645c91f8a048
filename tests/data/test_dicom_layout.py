"""A folder of DICOM series with labels that refer to them is a data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dinoseg.data import open_dataset
from dinoseg.data.cases.volumes import measure_slices, read_volume_case
from dinoseg.data.checks.dataset import check_dataset
from dinoseg.data.conversion.conversion import convert
from dinoseg.data.layouts.surveys import survey_data
from dinoseg.data.splits.splits import make_splits
from dinoseg.errors import LayoutError
from tests.data.dicom.case_folders import CLASSES, SHAPE, add_case, draw_ids, draw_values
from tests.data.dicom.drawn import draw_series

REAL = Path(__file__).parents[3] / "shared/data/dicom-samples"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four cases of three patients, SEG and RTSTRUCT."""
    for seed, (name, kind, patient) in enumerate(
        [("a", "SEG", "p1"), ("b", "RTSTRUCT", "p1"), ("c", "SEG", "p2"), ("d", "RTSTRUCT", "p3")]
    ):
        add_case(tmp_path / "data", name, seed=seed, kind=kind, patient=patient)
    return tmp_path / "data"


def problems(root: Path) -> str:
    return " | ".join(survey_data(root).problems)


def test_series_and_labels_are_paired_by_their_references(root: Path) -> None:
    dataset = open_dataset(root)
    assert dataset.layout == "DICOM series with SEG or RTSTRUCT"
    assert [case.id for case in dataset.cases] == ["a", "b", "c", "d"]
    assert dataset.classes == CLASSES
    assert dataset.channel_names == ("CT",)
    groups = [case.group for case in dataset.cases]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3
    for seed, files in enumerate(dataset.cases):
        case = read_volume_case(files, dataset.labels)
        assert case.label is not None
        np.testing.assert_array_equal(case.image.array[0], draw_values(seed))
        np.testing.assert_array_equal(case.label.array, draw_ids(seed))
        assert measure_slices(files, "axial") == SHAPE


@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
def test_all_files_in_one_folder(tmp_path: Path, kind: str) -> None:
    for seed, name in enumerate(("a", "b")):
        add_case(tmp_path, name, seed=seed, kind=kind, flat=True)
    dataset = open_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["a", "b"]
    for seed, files in enumerate(dataset.cases):
        case = read_volume_case(files, dataset.labels)
        assert case.label is not None
        np.testing.assert_array_equal(case.label.array, draw_ids(seed))


def test_check_split_and_convert(root: Path, tmp_path: Path) -> None:
    report = check_dataset(root)
    assert report.exit_code == 0
    assert [finding.topic for finding in report.findings] == ["orientation", "split"][-1:]
    assert report.groups == 3
    assert {id_: summary.cases for id_, summary in report.classes.items()} == {1: 4, 2: 4}
    assert any("4 DICOM int16" in line for line in report.lines())
    dataset = open_dataset(root)
    splits = make_splits(dataset, seed=0)
    together = [set(ids) for ids in (splits.train, splits.val, splits.test)]
    assert any({"a", "b"} <= ids for ids in together)
    convert(root, tmp_path / "raw", to="nnunet")
    raw = open_dataset(tmp_path / "raw")
    assert (raw.classes, raw.channel_names) == (dict(dataset.classes), ("CT",))
    for before, after in zip(dataset.cases, raw.cases, strict=True):
        one, two = (read_volume_case(*pair) for pair in ((before, dataset.labels), (after, raw.labels)))
        np.testing.assert_array_equal(one.image.array, two.image.array)
        assert one.label is not None
        assert two.label is not None
        np.testing.assert_array_equal(one.label.array, two.label.array)
        np.testing.assert_allclose(one.image.affine, two.image.affine, atol=1e-4)
    convert(root, tmp_path / "slices", to="images")
    assert len(list((tmp_path / "slices/images").iterdir())) == 4 * SHAPE[0]


def test_names_that_differ_are_declared(tmp_path: Path) -> None:
    root = tmp_path / "data"
    add_case(root, "a", seed=0)
    other = {0: "background", 1: "hepar", 2: "Tumour"}
    add_case(root, "b", seed=1, kind="RTSTRUCT", classes=other)
    with pytest.raises(LayoutError, match=r"say in .*dataset\.yaml which classes there are: `classes: \{0: "):
        open_dataset(root)
    (root / "dataset.yaml").write_text("classes: {0: background, 1: Liver, 2: Tumour}")
    assert "'hepar', which dataset.yaml does not" in problems(root)
    (root / "dataset.yaml").write_text("classes: {0: background, 1: Liver, 2: Tumour}\nnames: {hepar: 1}")
    dataset = open_dataset(root)
    for seed, files in enumerate(dataset.cases):
        case = read_volume_case(files, dataset.labels)
        assert case.label is not None
        np.testing.assert_array_equal(case.label.array, draw_ids(seed))


def test_classes_can_be_left_out_merged_and_absent(tmp_path: Path) -> None:
    root = tmp_path / "data"
    add_case(root, "a", seed=0)
    add_case(root, "b", seed=1, classes={0: "background", 1: "Liver", 2: "Cyst"})
    (root / "dataset.yaml").write_text(
        "classes: {0: background, 1: mass}\nnames: {Liver: 0, Tumour: 1, Cyst: 0}"
    )
    dataset = open_dataset(root)
    for files, ids in zip(dataset.cases, [(draw_ids(0) == 2), np.zeros(SHAPE)], strict=True):
        case = read_volume_case(files, dataset.labels)
        assert case.label is not None
        np.testing.assert_array_equal(case.label.array, ids)


def test_what_belongs_to_no_case_is_named(root: Path) -> None:
    draw_series(root / "x", array=draw_values(), series="x")
    assert f"{root / 'x'}: the series" in problems(root)
    assert "has no SEG or RTSTRUCT" in problems(root)
    shutil.rmtree(root / "x")
    shutil.rmtree(root / "a/ct")
    assert f"{root / 'a/label.dcm'} refers to" in problems(root)
    shutil.rmtree(root / "a")
    shutil.copyfile(root / "b/label.dcm", root / "b/again.dcm")
    assert "are labels of the one series" in problems(root)
    with pytest.raises(LayoutError, match="are labels of the one series"):
        open_dataset(root)


def test_a_damaged_file_is_named(root: Path) -> None:
    path = next((root / "a/ct").iterdir())
    path.write_bytes(path.read_bytes()[:400])
    assert path.name in problems(root)


def test_a_missing_slice_is_told_by_the_check(root: Path) -> None:
    sorted((root / "b/ct").iterdir())[1].unlink()
    report = check_dataset(root)
    assert report.exit_code == 3
    assert any("lacks 1 of 4 slices" in finding.message for finding in report.select("error"))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/dicom-samples")
def test_real_seg_and_rtstruct(tmp_path: Path) -> None:
    shutil.copytree(REAL / "dcmqi-seg/ct-3slice", tmp_path / "seg/one/ct")
    shutil.copyfile(REAL / "dcmqi-seg/liver.dcm", tmp_path / "seg/one/liver.dcm")
    (tmp_path / "rt/one").mkdir(parents=True)
    for name in ("ct_1.dcm", "ct_2.dcm", "rt.dcm"):
        shutil.copyfile(REAL / "rt-utils-rtstruct" / name, tmp_path / "rt/one" / name)
    for kind in ("seg", "rt"):
        report = check_dataset(tmp_path / kind)
        assert report.cases == 1
        assert not report.select("error"), report.findings
        assert sum(summary.cases for summary in report.classes.values()) >= 1
        convert(tmp_path / kind, tmp_path / f"{kind}-raw", to="nnunet")
        assert len(open_dataset(tmp_path / f"{kind}-raw").cases) == 1
