"""The disk is full at some write: one line says so, nothing is half written, the command it names works."""

from __future__ import annotations

import errno
import gc
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from tests.cli.conftest import Ended, Run
from tests.reliability.test_killed import MINE, finished
from tests.reliability.verbs import VERBS, Inputs, Verb, copy, list_temporary

PAGE = 4096
PLENTY = 200_000_000
NAMED = re.compile(r"run the same command (?:with (?P<option>--\w+)|again)")
NAMES = ("train", "predict", "evaluate", "import", "split", "convert")
QUICK = [verb for verb in VERBS if verb.name in NAMES]
REPLACING = [verb for verb in QUICK if verb.overwrites]
MANY = pytest.mark.slow


class Disk:
    """A file system of its own, of any size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount("-t", "tmpfs", "-o", f"size={PLENTY}", "tmpfs", str(folder))

    def resize(self, size: int) -> None:
        self._mount("-o", f"remount,size={size}", str(self.folder))

    @property
    def used(self) -> int:
        return shutil.disk_usage(self.folder).used

    def empty(self) -> None:
        gc.collect()  # files that are still mapped take their room
        self.resize(PLENTY)
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:
        gc.collect()
        subprocess.run(["umount", str(self.folder)], check=True)

    def _mount(self, *words: str) -> None:
        subprocess.run(["mount", *words], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    try:
        found = Disk(tmp_path / "disk")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a small tmpfs, and mounting one is not allowed here")
    yield found
    found.close()


def go_on(run: Run, words: Sequence[object], failed: Ended) -> Ended:
    """Do what the error says."""
    named = NAMED.search(failed.error)
    assert named is not None, failed.error
    option = named["option"]
    return run(*words, *([option] if option else []))


def require_explained(ended: Ended) -> None:
    assert ended.code == 1
    assert "the disk is full" in ended.error or "No space left" in ended.error
    assert "unexpected" not in ended.error
    assert "Traceback" not in ended.err


def fill(run: Run, disk: Disk, verb: Verb, inputs: Inputs, steps: int | None) -> None:
    out, mine = disk.folder / "out", disk.folder / "mine.png"
    words = verb.words(inputs, out)
    assert run(*words).code == 0
    expected, pages = finished(out), disk.used // PAGE
    assert expected
    failures = 0
    sizes = {pages * (2 * step + 1) // (2 * steps) for step in range(steps)} if steps else range(1, pages + 2)
    for size in sorted(sizes):
        disk.empty()
        mine.write_bytes(MINE)
        disk.resize((size + 1) * PAGE)
        ended = run(*words)
        if ended.code:
            failures += 1
            require_explained(ended)
            assert list_temporary(disk.folder) == []
            present = finished(out) if out.exists() else {}
            assert present.items() <= expected.items()
            disk.resize(PLENTY)
            again = go_on(run, words, ended)
            assert again.code == 0, (size, ended.error, again.error)
        assert finished(out) == expected
        assert mine.read_bytes() == MINE
    assert failures


@pytest.mark.parametrize("verb", QUICK, ids=lambda verb: verb.name)
def test_a_small_disk(verb: Verb, run: Run, disk: Disk, inputs: Inputs) -> None:
    fill(run, disk, verb, inputs, steps=1)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_disk_of_every_size(verb: Verb, run: Run, disk: Disk, inputs: Inputs) -> None:
    fill(run, disk, verb, inputs, steps=None if verb in QUICK else 30)


@pytest.mark.parametrize("steps", [1, pytest.param(40, marks=MANY)])
def test_no_room_for_features(run: Run, disk: Disk, inputs: Inputs, steps: int) -> None:
    (verb,) = (verb for verb in VERBS if verb.name == "train")
    fill(run, disk, verb, Inputs(**{**vars(inputs), "features": disk.folder / "features"}), steps=steps)


@pytest.mark.parametrize("numbers", [(2,), pytest.param((1, 3, 4, 5, 8, 13), marks=MANY)], ids=str)
@pytest.mark.parametrize("verb", REPLACING, ids=lambda verb: verb.name)
def test_older_files_stay_when_the_new_do_not_fit(
    verb: Verb,
    numbers: Sequence[int],
    run: Run,
    inputs: Inputs,
    written: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The n-th file does not fit, for growing n; needs no disk of its own."""
    whole, real = written[verb.name], os.replace
    for number in numbers:
        out, moved = copy(whole, tmp_path / str(number)), [0]
        older = finished(out, whole)

        def replace(source: Path, target: Path, moved: list[int] = moved, number: int = number) -> None:
            moved[0] += 1
            if moved[0] >= number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            ended = run(*verb.words(inputs, out), "--overwrite")
        if moved[0] < number:
            break
        require_explained(ended)
        assert list_temporary(out) == []
        now = finished(out, whole)
        assert now.items() <= older.items()
        if verb.name != "train":  # which empties the folder first, as asked
            assert now == older, number
        assert run(*verb.words(inputs, out), "--overwrite").code == 0
        assert finished(out, whole) == older


def test_a_log_that_does_not_fit(
    run: Run, inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard writes in a thread of its own."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (verb,) = (verb for verb in VERBS if verb.name == "train")
    words = verb.words(inputs, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "write", fail)
        ended = run(*words)
    require_explained(ended)
    assert "out/logs could not be written" in ended.error
    assert go_on(run, words, ended).code == 0
