"""`dinoseg reproduce` on the terminal: sources without data, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run


def test_on_the_command_line(run: Run, tmp_path: Path) -> None:
    ended = run("reproduce", "few-shot")
    assert ended.code == 0
    for part in ("kvasir-10", "0.7359", "licence:   research and education only", "260 are training names"):
        assert part in ended.out
    assert len(run("reproduce", "dino-unet", "--json").json["rows"]) == 1
    for words, part in (
        (["kvasir-10", "--out", tmp_path], "are for training; name the data with --data"),
        (["kvasir-10", "--data", tmp_path], "say where the runs go with --out"),
        (["kvasir-10", "--data", tmp_path, "--out", tmp_path / "o"], "holds none of kvasir-seg"),
        (["nothing"], "table 'nothing' is not known"),
    ):
        ended = run("reproduce", *words)
        assert (ended.code, part in ended.error) == (2, True), ended.err
