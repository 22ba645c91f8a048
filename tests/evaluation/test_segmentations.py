"""DICOM SEG and RTSTRUCT are masks that can be scored, whatever their files are called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dinoseg.errors import LayoutError
from dinoseg.evaluation.scoring.scorer import score
from tests.data.dicom.case_folders import add_case


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dicom")
    for seed, (name, kind) in enumerate([("a", "SEG"), ("b", "RTSTRUCT")]):
        add_case(folder / "data", name, seed=seed, kind=kind, patient=name)
    return folder / "data"


def find_label(root: Path, name: str) -> Path:
    from dinoseg.data.layouts.surveys import survey_data

    (label,) = [case.label for case in survey_data(root).cases if case.id == name]
    assert label is not None
    return label


def test_they_are_paired_by_the_series_they_were_drawn_on(root: Path, tmp_path: Path) -> None:
    for place, name in enumerate("ab"):
        (tmp_path / "out" / "masks").mkdir(parents=True, exist_ok=True)
        shutil.copy(find_label(root, name), tmp_path / "out" / "masks" / f"any-{place}.dcm")
    (tmp_path / "out" / "masks" / "notes.txt").write_text("no DICOM")
    found = score(tmp_path / "out", root)
    assert {item.case for item in found.scores} == {"a", "b"}
    assert {round(item.dice, 6) for item in found.scores} == {1.0}
    assert found.unit == "mm"


def test_what_is_missing_is_named_and_two_of_one_series_refused(root: Path, tmp_path: Path) -> None:
    shutil.copy(find_label(root, "a"), tmp_path / "x.dcm")
    found = score(tmp_path, root)
    assert [failure.case for failure in found.failures] == ["b"]
    shutil.copy(find_label(root, "a"), tmp_path / "y.dcm")
    with pytest.raises(LayoutError, match="both drawn on the series of a; keep one"):
        score(tmp_path, root)


def test_of_other_series_is_one_line(root: Path, tmp_path: Path) -> None:
    for seed, name in enumerate("cd"):
        add_case(tmp_path / "other", name, seed=seed + 7, patient=name)
    shutil.copy(find_label(tmp_path / "other", "c"), tmp_path / "c.dcm")
    with pytest.raises(LayoutError, match="none of the 1 segmentations"):
        score(tmp_path, root)
