"""What is remembered of files: never of one that changed, never half of it, and never too much."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import dinoseg.data.labels.histograms as histograms
import dinoseg.data.memory as memory_module
import dinoseg.data.splits.duplicates as duplicates
from dinoseg.backbones.weights_settings import read_settings
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.digests import remember_digests
from dinoseg.data.images import content_digest
from dinoseg.data.labels.inference import scan_labels
from dinoseg.data.memory import FOLDER, FileMemory
from dinoseg.data.splits.duplicates import read_fingerprints

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs the change time of files")


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once; that they must settle has a test of its own."""
    monkeypatch.setattr(memory_module, "SETTLED_NS", -1)


class Reader:
    """Reads the first byte, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, path: Path) -> int:
        self.calls += 1
        return path.read_bytes()[0]

    def ask(self, *paths: Path) -> list[int]:
        with FileMemory("first byte 1", self) as memory:
            return [memory.find(path) for path in paths]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 10)
    return sorted(folder.iterdir())


def tables() -> list[Path]:
    return sorted((read_settings().home / FOLDER).iterdir())


def test_each_file_is_read_once(paths: list[Path]) -> None:
    reader = Reader()
    assert reader.ask(*paths) == reader.ask(*reversed(paths))[::-1] == [0, 1, 2]
    assert reader.calls == 3
    assert len(tables()) == 1  # of one folder


def change_in_place(path: Path) -> None:
    path.write_bytes(b"\x09" * 10)


def change_by_replacing(path: Path) -> None:
    path.with_suffix(".new").write_bytes(b"\x09" * 10)
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("change", [change_in_place, change_by_replacing])
def test_same_size_and_restored_times_fool_nobody(paths: list[Path], change: object) -> None:
    reader = Reader()
    reader.ask(*paths)
    before = paths[1].stat()
    time.sleep(0.02)
    change(paths[1])  # type: ignore[operator]
    os.utime(paths[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    after = paths[1].stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert reader.ask(*paths) == [0, 9, 2]
    assert reader.calls == 4


def test_another_file_behind_a_link_is_another_file(paths: list[Path], tmp_path: Path) -> None:
    link, reader = tmp_path / "link", Reader()
    link.symlink_to(paths[1])
    assert reader.ask(link) == [1]
    link.unlink()
    link.symlink_to(paths[2])
    assert reader.ask(link) == [2]


def test_a_file_changed_a_moment_ago_is_not_remembered(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next change might get the same time."""
    monkeypatch.setattr(memory_module, "SETTLED_NS", 2_000_000_000)
    reader = Reader()
    reader.ask(*paths)
    reader.ask(*paths)
    assert reader.calls == 6


def test_a_file_that_changes_while_it_is_read_is_not_remembered(paths: list[Path]) -> None:
    def read(path: Path) -> int:
        value = path.read_bytes()[0]
        change_by_replacing(path)
        return value

    with FileMemory("first byte 1", read) as memory:
        assert memory.find(paths[1]) == 1
    assert Reader().ask(paths[1]) == [9]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "binary", "other"])
def test_a_damaged_table_is_found_out_anew(paths: list[Path], damage: str) -> None:
    reader = Reader()
    reader.ask(*paths)
    (table,) = tables()
    text = table.read_bytes()
    wrong = {
        "cut": text[:-9],
        "flipped": text.replace(b", 1]", b", 7]"),
        "empty": b"",
        "binary": bytes(range(256)),
        "other": b"{}",
    }[damage]
    assert wrong != text
    table.write_bytes(wrong)
    assert reader.ask(*paths) == [0, 1, 2]
    assert reader.calls == 6
    assert reader.ask(*paths) == [0, 1, 2]  # and remembered again
    assert reader.calls == 6


def test_without_a_place_to_write_all_is_read(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINOSEG_HOME", str(paths[0] / "no folder"))
    reader = Reader()
    assert reader.ask(*paths) == reader.ask(*paths) == [0, 1, 2]


def test_errors_are_raised_and_what_was_found_before_is_kept(paths: list[Path]) -> None:
    def read(path: Path) -> int:
        if path.name == "2.bin":
            raise ValueError("unreadable")
        return path.read_bytes()[0]

    with pytest.raises(ValueError, match="unreadable"), FileMemory("first byte 1", read) as memory:
        [memory.find(path) for path in paths]
    reader = Reader()
    assert reader.ask(*paths) == [0, 1, 2]
    assert reader.calls == 1


def test_files_that_are_gone_and_tables_beyond_the_limit_go(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Reader().ask(*paths)
    paths[0].unlink()
    (paths[1].parent / "new.bin").write_bytes(b"\x05")
    Reader().ask(paths[1].parent / "new.bin")
    (table,) = tables()
    assert "0.bin" not in table.read_text()
    assert "1.bin" in table.read_text()
    os.utime(table, (1, 1))
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.bin").write_bytes(b"\x01")
    monkeypatch.setattr(memory_module, "MOST_BYTES", table.stat().st_size)
    Reader().ask(other / "a.bin")
    assert table not in tables()
    assert len(tables()) == 1


def ask_many(paths: list[Path]) -> None:
    memory_module.SETTLED_NS = -1
    for _ in range(20):
        with remember_digests() as memory:
            for path in paths:
                memory.find(path)


def test_two_processes_share_it(paths: list[Path]) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=ask_many, args=(part,)) for part in (paths[:2], paths[1:])]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    with remember_digests() as memory:
        assert [memory.find(path) for path in paths] == [content_digest(path) for path in paths]
    assert [path.suffix for path in tables()] == [".json"]


# --- what remembers ----------------------------------------------------------------------------------------


def write_pictures(folder: Path) -> list[Path]:
    folder.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 52, 3), dtype=np.uint8)
        pixels[:20] = 0 if number == 3 else pixels[:20]
        PillowImage.fromarray(pixels).save(folder / f"{number}.{'jpg' if number % 2 else 'png'}")
    return sorted(folder.iterdir())


def test_fingerprints_are_remembered_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [CaseFiles(path.stem, path, None, path.stem, None) for path in write_pictures(tmp_path / "p")]
    fresh = read_fingerprints(cases)
    monkeypatch.setattr(duplicates, "read_fingerprint", lambda *arguments: pytest.fail("read again"))
    for print_, again in zip(fresh, read_fingerprints(cases), strict=True):
        assert (print_.id, print_.path, print_.size) == (again.id, again.path, again.size)
        assert (print_.digest, print_.flat) == (again.digest, again.flat)
        assert print_.coarse.dtype == again.coarse.dtype
        assert print_.bits.dtype == again.bits.dtype
        np.testing.assert_array_equal(print_.coarse, again.coarse)
        np.testing.assert_array_equal(print_.bits, again.bits)


def test_values_of_masks_are_remembered_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_pictures(tmp_path / "p")
    PillowImage.fromarray(np.eye(20, dtype=np.uint8) * 255).save(tmp_path / "p" / "mask.png")
    paths.append(tmp_path / "p" / "mask.png")
    fresh = scan_labels(paths)
    monkeypatch.setattr(histograms, "is_colour", lambda raw: pytest.fail("read again"))
    again = scan_labels(paths)
    assert fresh == again
    assert [list(mask.pixels) for mask in fresh.masks] == [list(mask.pixels) for mask in again.masks]
    assert fresh.lossy == again.lossy
