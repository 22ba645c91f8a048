"""What a hint names can be typed as it stands: folders are free, and the Tab key knows the commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dinoseg.cli.output import suggest_folder


def test_a_free_folder_is_suggested_as_it_is(tmp_path: Path) -> None:
    assert suggest_folder(tmp_path / "report") == tmp_path / "report"
    (tmp_path / "report").mkdir()
    assert suggest_folder(tmp_path / "report") == tmp_path / "report"
    (tmp_path / "report" / "learning_curve.png").write_bytes(
        b""
    )  # of train, whose hint is a report beside it
    assert suggest_folder(tmp_path / "report") == tmp_path / "report"


def test_a_taken_folder_gets_the_next_number(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "summary.json").write_text("{}", encoding="utf-8")
    assert suggest_folder(tmp_path / "report") == tmp_path / "report-2"
    (tmp_path / "report-2").write_text("a file", encoding="utf-8")
    assert suggest_folder(tmp_path / "report") == tmp_path / "report-3"


@pytest.mark.parametrize(
    ("words", "expected"),
    [("dinoseg tr", "train"), ("dinoseg data ch", "check"), ("dinoseg train --ep", "--epochs")],
)
def test_the_tab_key_completes_commands_and_options(words: str, expected: str) -> None:
    told = {"_DINOSEG_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    ended = subprocess.run(
        [sys.executable, "-m", "dinoseg"],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.split() == [expected]
