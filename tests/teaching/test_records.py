"""What is written down is there when the file is opened again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dinoseg.errors import RunError
from dinoseg.teaching.records import Accepted, ClassName, Estimated, Records
from tests.teaching.scenes import dot


def test_strokes_are_there_in_their_order(tmp_path: Path) -> None:
    records = Records(tmp_path / "p.sqlite")
    ids = [records.add_stroke("a", f"c{n}", dot(1, n, n)) for n in range(3)]
    records.close()
    kept = Records(tmp_path / "p.sqlite").list_strokes()
    assert [each.id for each in kept] == ids
    assert [each.stroke for each in kept] == [dot(1, n, n) for n in range(3)]


def test_the_same_stroke_again_changes_nothing(tmp_path: Path) -> None:
    records = Records(tmp_path / "p.sqlite")
    first = records.add_stroke("a", "same", dot(1, 1, 1))
    assert records.add_stroke("a", "same", dot(1, 9, 9)) == first
    assert [each.stroke for each in records.list_strokes()] == [dot(1, 1, 1)]


def test_undo_and_redo_keep_to_their_image_and_survive(tmp_path: Path) -> None:
    records = Records(tmp_path / "p.sqlite")
    one, other, two = (
        records.add_stroke(i, c, dot(1, 1, 1)) for i, c in (("a", "1"), ("b", "2"), ("a", "3"))
    )
    undone = records.undo("a")
    assert undone is not None
    assert undone.id == two
    records.close()
    records = Records(tmp_path / "p.sqlite")
    assert [each.id for each in records.list_strokes()] == [one, other]
    redone = records.redo("a")
    assert redone is not None
    assert redone.id == two
    assert records.redo("a") is None


def test_undo_twice_redoes_in_the_order_of_painting(tmp_path: Path) -> None:
    records = Records(tmp_path / "p.sqlite")
    ids = [records.add_stroke("a", f"c{n}", dot(1, n, n)) for n in range(3)]
    records.undo("a"), records.undo("a")
    first, second = records.redo("a"), records.redo("a")
    assert [each.id for each in (first, second) if each] == ids[1:]


def test_a_new_stroke_forgets_what_was_undone(tmp_path: Path) -> None:
    records = Records(tmp_path / "p.sqlite")
    records.add_stroke("a", "1", dot(1, 1, 1))
    records.undo("a")
    records.add_stroke("a", "2", dot(1, 2, 2))
    assert records.redo("a") is None
    assert [each.stroke for each in records.list_strokes()] == [dot(1, 2, 2)]


def test_every_change_waits_for_the_disk(tmp_path: Path) -> None:
    records = Records(tmp_path / "p.sqlite")
    assert records._read("PRAGMA synchronous") == [(2,)]  # FULL
    assert records._read("PRAGMA journal_mode") == [("wal",)]


def test_classes_labels_and_estimates_are_kept(tmp_path: Path) -> None:
    records = Records(tmp_path / "p.sqlite")
    records.replace_classes([ClassName(2, "tool", "#ffffff"), ClassName(1, "polyp", "#000000")])
    records.accept("a", {0: Accepted(3, "page"), 4: Accepted(0, "folder")})
    records.add_estimate(7, Estimated(3, 0.5, 0.25, 0.75))
    records.know(["a", "b"])
    records.close()
    records = Records(tmp_path / "p.sqlite")
    assert [each.name for each in records.list_classes()] == ["polyp", "tool"]
    assert records.list_accepted() == {"a": {0: Accepted(3, "page"), 4: Accepted(0, "folder")}}
    assert records.list_estimates() == [(7, Estimated(3, 0.5, 0.25, 0.75))]
    assert records.list_known() == {"a", "b"}
    records.reopen("a")
    assert records.list_accepted() == {}


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    Records(tmp_path / "p.sqlite").close()
    with sqlite3.connect(tmp_path / "p.sqlite") as file:
        file.execute("PRAGMA user_version = 99")
    with pytest.raises(RunError, match=r"has the version 99, known is 1; update dinoseg"):
        Records(tmp_path / "p.sqlite")


def test_what_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "p.sqlite").write_bytes(b"no database at all, but some text" * 40)
    with pytest.raises(RunError, match="cannot be opened"):
        Records(tmp_path / "p.sqlite")
