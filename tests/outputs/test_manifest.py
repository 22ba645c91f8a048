"""Only what dinoseg wrote, and nobody changed since, is ever replaced or deleted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dinoseg.errors import OutputError
from dinoseg.outputs import (
    atomic_path,
    claim,
    find_foreign,
    is_temporary,
    lent,
    list_files,
    name_temporary,
    record,
    refuse_foreign,
    remove_ours,
    sweep,
    write_text,
)
from dinoseg.outputs.manifest import MANIFEST


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    claim(tmp_path / "out")
    return tmp_path / "out"


def test_what_was_written_below_a_claimed_folder_is_ours(out: Path) -> None:
    write_text(out / "a.txt", "one")
    write_text(out / "masks" / "deep" / "b.txt", "two")
    assert find_foreign([out / "a.txt", out / "masks/deep/b.txt", out / "absent.txt"]) == []


def test_what_was_there_before_is_not(out: Path) -> None:
    (out / "hand.txt").write_text("hand-drawn")
    assert find_foreign([out / "hand.txt"]) == [out / "hand.txt"]
    with pytest.raises(OutputError, match=r"hand\.txt was not written by dinoseg") as caught:
        refuse_foreign([out / "hand.txt"])
    assert "\n" not in str(caught.value)


def test_what_a_person_changed_is_no_longer_ours_until_it_is_as_it_was(out: Path) -> None:
    write_text(out / "mask.txt", "predicted")
    (out / "mask.txt").write_text("corrected")  # the same length
    assert find_foreign([out / "mask.txt"]) == [out / "mask.txt"]
    (out / "mask.txt").write_text("predicted")
    assert find_foreign([out / "mask.txt"]) == []


def test_a_replaced_file_is_ours_in_both_forms(out: Path) -> None:
    write_text(out / "metrics.csv", "1")
    write_text(out / "metrics.csv", "1\n2", overwrite=True)
    assert find_foreign([out / "metrics.csv"]) == []


def test_a_foreign_file_of_a_noted_name_is_foreign_when_the_move_never_happened(out: Path) -> None:
    (out / "mask.txt").write_text("hand-drawn")
    with pytest.raises(RuntimeError, match="killed"):
        _note_and_die(out / "mask.txt")
    assert find_foreign([out / "mask.txt"]) == [out / "mask.txt"]


def _note_and_die(path: Path) -> None:
    with atomic_path(path, overwrite=True) as new:
        new.write_text("predicted")
        record(path, new)
        raise RuntimeError("killed between the note and the move")


def test_without_a_claimed_folder_nothing_is_ours(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "one")
    assert find_foreign([tmp_path / "a.txt"]) == [tmp_path / "a.txt"]


def test_the_innermost_claimed_folder_counts(out: Path) -> None:
    claim(out / "run")
    write_text(out / "run" / "config.yaml", "x")
    assert MANIFEST not in [path.name for path in out.iterdir() if path.stat().st_size > 0]
    assert find_foreign([out / "run" / "config.yaml"]) == []


def test_a_link_is_never_ours(out: Path, tmp_path: Path) -> None:
    write_text(out / "a.txt", "one")
    (out / "b.txt").symlink_to(out / "a.txt")
    assert find_foreign([out / "b.txt"]) == [out / "b.txt"]
    (out / "a.txt").rename(tmp_path / "elsewhere.txt")
    (out / "a.txt").symlink_to(tmp_path / "elsewhere.txt")
    assert find_foreign([out / "a.txt"]) == [out / "a.txt"]


def test_a_moved_folder_stays_ours(out: Path, tmp_path: Path) -> None:
    write_text(out / "deep" / "a.txt", "one")
    out.rename(tmp_path / "renamed")
    assert find_foreign([tmp_path / "renamed" / "deep" / "a.txt"]) == []


def test_a_log_may_grow_but_not_change(out: Path) -> None:
    log = out / "logs" / "events.out.tfevents.1"
    log.parent.mkdir()
    log.write_bytes(b"first")
    record(log)
    log.write_bytes(b"first, second")
    assert find_foreign([log]) == []
    log.write_bytes(b"other, second")
    assert find_foreign([log]) == [log]


def test_other_files_may_not_grow(out: Path) -> None:
    write_text(out / "notes.txt", "first")
    (out / "notes.txt").write_text("first, and mine")
    assert find_foreign([out / "notes.txt"]) == [out / "notes.txt"]


def test_removing_takes_all_that_is_ours(out: Path) -> None:
    write_text(out / "a.txt", "one")
    claim(out / "run")
    write_text(out / "run" / "model" / "b.txt", "two")
    remove_ours(out)
    assert list(out.iterdir()) == []


def test_removing_takes_nothing_where_anything_is_foreign(out: Path) -> None:
    write_text(out / "data" / "a.txt", "one")
    (out / "data" / "patient.nii.gz").write_bytes(b"a scan")
    with pytest.raises(OutputError, match=r"patient\.nii\.gz was not written by dinoseg"):
        remove_ours(out)
    assert files(out) == ["data/a.txt", "data/patient.nii.gz"]
    assert find_foreign([out / "data" / "a.txt"]) == []


def test_a_torn_last_line_is_passed_over(out: Path) -> None:
    write_text(out / "a.txt", "one")
    with (out / MANIFEST).open("a") as file:
        file.write('{"file": "b.txt", "by')
    (out / "b.txt").write_text("two")
    assert find_foreign([out / "a.txt", out / "b.txt"]) == [out / "b.txt"]


def test_a_damaged_manifest_makes_files_foreign_and_raises_nothing(out: Path) -> None:
    write_text(out / "a.txt", "one")
    for content in (b"\xff\xfe\n[]\n{}\n3\n", json.dumps({"file": 1, "bytes": "x", "sha256": None}).encode()):
        (out / MANIFEST).write_bytes(content)
        assert find_foreign([out / "a.txt"]) == [out / "a.txt"]


def test_threads_write_whole_lines(out: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: write_text(out / f"{index}.txt", "x" * index), range(200)))
    assert find_foreign(out / f"{index}.txt" for index in range(200)) == []
    assert sum(bool(line) for line in (out / MANIFEST).read_text().splitlines()) == 200


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(out: Path) -> None:
    code = "import sys, pathlib; from dinoseg.outputs import name_temporary as name\n"
    code += "path = name(pathlib.Path(sys.argv[1])); path.write_text('half'); print(path)"
    result = subprocess.run(
        [sys.executable, "-c", code, str(out / "mask.png")], capture_output=True, text=True, check=True
    )
    left, ours = Path(result.stdout.strip()), name_temporary(out / "other.png")
    ours.write_text("half")
    assert is_temporary(left)
    assert left.is_file()
    claim(out)
    assert not left.exists()
    assert ours.exists()


def test_another_machines_is_swept_when_it_is_old(out: Path) -> None:
    path = out / ".00000000-1-0123456789ab.tmp-mask.png"
    path.write_text("half")
    sweep([path])
    assert path.exists()
    os.utime(path, (0, 0))
    sweep([path])
    assert not path.exists()


def test_hidden_files_of_others_are_never_swept(out: Path) -> None:
    for name in (".DS_Store", ".tmp-lock", ".a.tmp-b", ".git"):
        (out / name).write_text("mine")
    claim(out)
    assert sorted(path.name for path in out.iterdir() if path.name != MANIFEST) == sorted(
        (".DS_Store", ".tmp-lock", ".a.tmp-b", ".git")
    )


def test_a_folder_that_is_lent_is_ours_until_it_is_given_back_and_its_files_are_afterwards(out: Path) -> None:
    (out / "log").mkdir()
    (out / "log" / "mine.txt").write_text("a note")
    with lent(out / "log"):
        (out / "log" / "deep").mkdir()
        (out / "log" / "deep" / "rows.db").write_text("one")
        (out / "log" / "latest").symlink_to(out / "log" / "deep")
        assert find_foreign(list_files(out)) == []  # as a killed process would leave it
        (out / "log" / "deep" / "rows.db").write_text("two")
    assert find_foreign(list_files(out)) == [out / "log" / "mine.txt"]
    assert not (out / "log" / "latest").is_symlink()
    (out / "log" / "deep" / "rows.db").write_text("six")
    assert out / "log" / "deep" / "rows.db" in find_foreign(list_files(out))
