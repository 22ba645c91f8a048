"""Killed at any moment, nothing is lost, nothing is left, and the next run ends as if nothing had been."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.reliability.verbs import VERBS, Inputs, Verb, copy, list_temporary, read_all

KILLED = -9
MINE = b"drawn by hand"
OF_ITS_RUN = (".tfevents.", "metrics.csv", "environment.json", "config.yaml", "predictions.json", ".ckpt")
OF_ITS_RUN += ("logs/hparams.yaml",)  # the settings as well
TRIED = [verb for verb in VERBS if verb.name in ("train", "predict", "evaluate", "convert", "demo", "import")]


@dataclass(frozen=True)
class Ended:
    code: int
    seconds: float
    error: str


Call = Callable[..., Ended]


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.reliability.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.communicate()


@pytest.fixture
def call(server: subprocess.Popen[str], home: Path) -> Call:
    """Run a command in a process of its own, killed `after` so many seconds."""

    def run(*words: object, after: float | None = None) -> Ended:
        assert server.stdin is not None
        assert server.stdout is not None
        asked = {"words": [str(word) for word in words], "after": after, "home": str(home / "dinoseg")}
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        return Ended(**json.loads(server.stdout.readline()))

    return run


def finished(out: Path, *older: Path) -> dict[str, bytes]:
    """What must be the same whenever a command has ended, wherever it wrote."""
    content = read_all(out)
    for folder in older:
        content = {name: data.replace(str(folder).encode(), b"OUT") for name, data in content.items()}
    return {
        name: data.replace(str(out).encode(), b"OUT")
        for name, data in content.items()
        if not any(part in name for part in OF_ITS_RUN) and not Path(name).name.startswith(".")
    }


def goes_on(verb: Verb, inputs: Inputs, out: Path) -> list[object]:
    """How a person goes on: resume where there is that, else overwrite, else the same again."""
    more = verb.go_on or (("--overwrite",) if verb.overwrites else ())
    return [*verb.words(inputs, out), *more]


def try_once(
    call: Call, verb: Verb, inputs: Inputs, root: Path, expected: dict[str, bytes], after: float
) -> bool:
    """Kill once and go on; whether it was killed at all."""
    out, cache = root / "out", root / "features"
    mine = out.parent / "mine.png"
    mine.parent.mkdir()
    mine.write_bytes(MINE)
    own = Inputs(**{**vars(inputs), "features": cache})
    ended = call(*verb.words(own, out), after=after)
    assert ended.code in (0, KILLED), ended.error
    if verb.overwrites or not out.exists():
        again = call(*goes_on(verb, own, out))
        assert again.code == 0, (after, again.error)
    assert finished(out) == expected, after
    assert list_temporary(root) == [], after
    assert mine.read_bytes() == MINE
    return ended.code == KILLED


def kill_often(call: Call, verb: Verb, inputs: Inputs, root: Path, times: int) -> None:
    before = read_all(inputs.data), read_all(inputs.run)
    whole = root / "whole"
    own = Inputs(**{**vars(inputs), "features": root / "features"})
    ended = call(*verb.words(own, whole))
    assert ended.code == 0, ended.error
    expected = finished(whole)
    assert expected
    shutil.rmtree(whole)
    if own.features.exists():
        shutil.rmtree(own.features)
    ended = call(*verb.words(own, whole))  # its checks are remembered now, as in the runs that are killed
    draw, killed = random.Random(verb.name), 0
    for number in range(times):
        place = root / str(number)
        after = draw.uniform(0, ended.seconds)
        killed += try_once(call, verb, inputs, place, expected, after)
        shutil.rmtree(place)
    assert killed >= times / 4  # the others were done before, on a machine that does other things as well
    assert (read_all(inputs.data), read_all(inputs.run)) == before


@pytest.mark.parametrize(
    "verb",
    [pytest.param(verb, marks=pytest.mark.slow) if verb.name == "demo" else verb for verb in TRIED],
    ids=lambda verb: verb.name,
)
def test_killed_at_random_moments(verb: Verb, call: Call, inputs: Inputs, tmp_path: Path) -> None:
    kill_often(call, verb, inputs, tmp_path, 1 if verb.name == "demo" else 3)


@pytest.mark.slow
@pytest.mark.parametrize("verb", TRIED, ids=lambda verb: verb.name)
def test_killed_at_a_hundred_moments(verb: Verb, call: Call, inputs: Inputs, tmp_path: Path) -> None:
    kill_often(call, verb, inputs, tmp_path, 100)


@pytest.mark.parametrize(
    "verb",
    [verb for verb in TRIED if verb.name in ("predict", "evaluate", "import")],
    ids=lambda verb: verb.name,
)
def test_killed_while_replacing(
    verb: Verb, call: Call, inputs: Inputs, written: dict[str, Path], tmp_path: Path
) -> None:
    """A file is the older one or the new one, never something between; a person's stays."""
    draw, whole = random.Random(verb.name), written[verb.name]
    seconds = call(*verb.words(inputs, copy(whole, tmp_path / "first")), "--overwrite").seconds
    for number in range(2):
        out = copy(whole, tmp_path / str(number))
        (out / "mine.txt").write_bytes(MINE)
        call(*verb.words(inputs, out), "--overwrite", after=draw.uniform(0, seconds))
        now = finished(out, whole)
        assert {name: now.get(name) for name in finished(whole)} == finished(whole)  # the same bytes anew
        assert call(*verb.words(inputs, out), "--overwrite").code == 0
        assert list_temporary(out) == []
        assert (out / "mine.txt").read_bytes() == MINE
