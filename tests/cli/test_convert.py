"""`dinoseg convert`, and `dinoseg data` on volumes: what a person and a program are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.data.volume_folders import make_acdc, make_raw


def test_there_and_back(run: Run, tmp_path: Path) -> None:
    source = make_raw(tmp_path / "raw", 2)
    ended = run("convert", source, tmp_path / "slices", "--to", "images", "--window", "100,200", "--bits", 8)
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"2 cases (imagesTr/ and labelsTr/ with dataset.json (nnU-Net, Decathlon)) -> "
        f"{tmp_path / 'slices'}: 27 files",
        "note: values are rounded to within 0.392",
        "note: values outside the window are cut to its ends",
        f"next: dinoseg data check {tmp_path / 'slices'}",
    ]
    facts = run("convert", tmp_path / "slices", tmp_path / "back", "--to", "nnunet", "--json").json
    assert (facts["cases"], facts["files"], facts["notes"]) == (12, 5, [])
    assert run("data", "check", tmp_path / "back").code == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--to", "images", "--bits", "12"], 2, "--bits 12 is not accepted; choose 8 or 16"),
        (["--to", "images", "--window", "40"], 2, "--window '40' is not accepted; give centre and width"),
        (["--to", "images", "--window", "40,0"], 2, "--window '40,0' is not accepted"),
        (["--to", "images", "--window", "nan,400"], 2, "--window 'nan,400' is not accepted"),
        (["--to", "nnunet"], 2, "has this layout already"),
    ],
)
def test_wrong_usage(run: Run, tmp_path: Path, options: list[str], code: int, words: str) -> None:
    source = make_raw(tmp_path / "raw", 1)
    ended = run("convert", source, tmp_path / "new", *options)
    assert ended.code == code
    assert words in ended.error
    assert not (tmp_path / "new").exists()


def test_an_existing_folder_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    ended = run("convert", make_raw(tmp_path / "raw", 1), tmp_path / "new", "--to", "images")
    assert ended.code == 1
    assert "exists already" in ended.error


def test_check_and_split_of_volumes(run: Run, tmp_path: Path) -> None:
    source = make_acdc(tmp_path / "acdc")
    ended = run("data", "check", source)
    assert ended.code == 0
    assert "volumes: 6×20×24 to 6×20×24 voxels (D×H×W as stored); 8 .h5 float32" in ended.out
    assert run("data", "check", source, "--json").json["volumes"]["finest"] is None
    ended = run("data", "split", source, "--fractions", "0.5,0.25,0.25")
    assert ended.code == 0
    assert "4 train, 2 val, 2 test" in ended.out
