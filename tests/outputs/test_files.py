"""Outputs: whole or not at all, and never over something that was there."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path

import pytest

from dinoseg.errors import OutputError
from dinoseg.outputs import (
    atomic_files,
    atomic_path,
    claim,
    refuse_existing,
    write_csv,
    write_json,
    write_text,
)
from dinoseg.outputs.manifest import MANIFEST


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(path: Path, error: BaseException, *, overwrite: bool = False) -> None:
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text("half")
        raise error


def message_of(path: Path, error: OSError, *, overwrite: bool = False) -> str:
    with pytest.raises(OutputError) as caught:
        write_half(path, error, overwrite=overwrite)
    message = str(caught.value)
    assert message.startswith(f"{path} could not be written: ")
    assert "\n" not in message
    assert caught.value.__cause__ is error
    return message


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "volume.nii.gz"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.endswith("volume.nii.gz")
        assert temporary.name.startswith(".")
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["volume.nii.gz"]


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    with pytest.raises(KeyError, match="other"):
        write_half(path, KeyError("other"))
    assert names(tmp_path) == []


def test_an_exception_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half(path, KeyboardInterrupt(), overwrite=True)
    assert names(tmp_path) == ["mask.png"]
    assert path.read_text() == "old"


def test_a_full_disk_is_explained_and_keeps_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_text("old")
    message = message_of(path, OSError(errno.ENOSPC, "No space left on device"), overwrite=True)
    assert "the disk is full; free some space" in message
    assert path.read_text() == "old"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_read_only_folder_is_explained(tmp_path: Path, code: int) -> None:
    message = message_of(tmp_path / "mask.png", OSError(code, os.strerror(code)))
    assert "the folder is not writable; choose another one with --out" in message
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_real_read_only_folder_is_explained(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="the folder is not writable"):
            write_text(tmp_path / "a.txt", "text")
    finally:
        tmp_path.chmod(0o700)


def test_a_path_through_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    for path in (tmp_path / "file" / "mask.png", tmp_path / "file" / "deeper" / "mask.png"):
        with pytest.raises(OutputError, match="a part of its path is a file, not a folder"):
            write_text(path, "text")
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "mask.png"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(OutputError, match="could not be written"):
        write_text(folder, "text", overwrite=True)
    assert names(tmp_path) == ["mask.png"]
    assert names(folder) == ["inside"]


def test_any_other_failure_keeps_its_words(tmp_path: Path) -> None:
    assert "Input/output error" in message_of(tmp_path / "a", OSError(errno.EIO, "Input/output error"))


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="could not be written"), atomic_path(tmp_path / "mask.png"):
        pass
    assert names(tmp_path) == []


def test_what_exists_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    claim(tmp_path)
    path = tmp_path / "mask.png"
    write_text(path, "old")
    with pytest.raises(OutputError, match=r"mask.png exists already; .*--overwrite"), atomic_path(path):
        pytest.fail("the block must not run")
    assert path.read_text() == "old"
    write_text(path, "new", overwrite=True)
    assert path.read_text() == "new"
    assert names(tmp_path) == [MANIFEST, "mask.png"]


def test_overwriting_is_not_proposed_where_a_file_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("drawn by hand")
    with pytest.raises(OutputError, match=r"exists already, and was not written by dinoseg") as caught:
        write_text(tmp_path / "mask.png", "new")
    assert "--overwrite" not in str(caught.value)


def write_half_of(paths: list[Path]) -> None:
    with atomic_files(paths, overwrite=True) as folder:
        write_text(folder / paths[0].name, "new")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_files_that_belong_together_change_together(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.txt", "b.txt")]
    for path in paths:
        path.write_text("old")
    with pytest.raises(OutputError, match="the disk is full"):
        write_half_of(paths)
    assert [path.read_text() for path in paths] == ["old", "old"]
    assert names(tmp_path) == ["a.txt", "b.txt"]
    with atomic_files(paths, overwrite=True) as folder:
        for path in paths:
            write_text(folder / path.name, "new")
    assert [path.read_text() for path in paths] == ["new", "new"]
    with pytest.raises(OutputError, match="exists already"), atomic_files(paths):
        pytest.fail("the block must not run")


def test_refuse_existing(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "absent", overwrite=False)
    refuse_existing(tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="exists already"):
        refuse_existing(tmp_path, overwrite=False)


def test_json_reads_back_and_keeps_letters(tmp_path: Path) -> None:
    value = {"name": "Läsion", "values": [1, 2.5, None], "nested": {"a": True}}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_bytes().decode("utf-8")
    assert json.loads(text) == value
    assert "Läsion" in text
    assert text.endswith("}\n")


def test_csv_has_comments_above_the_header(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [{"case": "a,b", "dice": 0.5}, {"case": 'say "x"', "dice": 1.0}]
    write_csv(path, rows, comments=("Dice: both empty is 1", "µm"))
    text = path.read_bytes().decode("utf-8")
    assert "\r" not in text
    lines = text.splitlines()
    assert lines[:3] == ["# Dice: both empty is 1", "# µm", "case,dice"]
    table = list(csv.DictReader(lines[2:]))
    assert table == [{"case": "a,b", "dice": "0.5"}, {"case": 'say "x"', "dice": "1.0"}]


def test_csv_without_rows_holds_the_comments(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [], comments=["nothing"])
    assert (tmp_path / "t.csv").read_text() == "# nothing\n"


def test_a_row_with_other_columns_is_refused_and_keeps_the_older_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_csv(path, [{"a": 1}])
    with pytest.raises(ValueError, match="'b'"):
        write_csv(path, [{"a": 2}, {"b": 3}], overwrite=True)
    assert path.read_text().splitlines() == ["a", "1"]
    assert names(tmp_path) == ["t.csv"]
