"""Commands that take a while say at once what they are doing, before anything heavy is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "lightning", "scipy", "numpy", "matplotlib", "PIL")
SPY = """
import sys
from dinoseg.cli import bars, main
loaded = []
write = bars.LineProgress.note
def note(self, message):
    loaded.append([name for name in {heavy!r} if name in sys.modules])
    write(self, message)
bars.LineProgress.note = note
main({words!r})
print(loaded[0])
"""


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["train", "data", "--out", "run"], "training on data -> run"),
        (["curve", "data", "--shots", "1", "--out", "curve"], "learning curve of data -> curve"),
        (["predict", "run", "photos", "--out", "masks"], "predicting with run -> masks"),
        (["evaluate", "run", "data"], "evaluating run on data"),
        (["data", "check", "data"], "checking data"),
        (["convert", "data", "slices", "--to", "images"], "converting data -> slices"),
        (["compare", "one", "two"], "comparing 2 reports"),
        (["score", "masks", "labels"], "scoring masks, labels"),
        (["demo", "--out", "/dev/null/demo"], "demo -> /dev/null/demo"),
        (["doctor"], "examining this installation"),
        (["data", "split", "data"], "splitting data"),
        (["data", "groups", "data"], "looking at the groups of data"),
        (["data", "series", "data"], "looking for series in data"),
        (["weights", "check", "nothing"], "checking weights"),
        (["weights", "get", "nothing"], "weights of nothing"),
        (["import", "a.pth", "--method", "linear", "--out", "run"], "importing a.pth -> run"),
    ],
    ids=lambda item: item[0] if isinstance(item, list) else "",
)
def test_the_first_line_comes_before_heavy_libraries(tmp_path: Path, words: list[str], first: str) -> None:
    code = SPY.format(heavy=HEAVY, words=words)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ended.stderr.splitlines()[0] == first
    assert ended.stdout.splitlines()[-1] == "[]"
