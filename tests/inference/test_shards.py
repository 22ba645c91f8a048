"""Shares of a cohort, and the lines that are written while it is worked through."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dinoseg.errors import OutputError, UsageError
from dinoseg.inference import predict_files
from dinoseg.inference.files.lines import read_lines
from dinoseg.inference.files.shard import Shard
from dinoseg.model.segmenter import Segmenter
from tests.inference.conftest import Draw


@pytest.fixture
def folder(draw: Draw, tmp_path: Path) -> Path:
    for number in range(7):
        draw(f"{number}.png", (8 + number, 9), number)
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    return tmp_path / "in"


@pytest.mark.parametrize("text", ["9/8", "0/8", "3", "a/b", "3/8/2", "", "-1/2", "1/0"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="accepted are 1/N to N/N, for example 3/8"):
        Shard.read(text)


def test_shares_side_by_side_do_what_one_call_does(glass: Segmenter, folder: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    predict_files(glass, folder, whole)
    for index in (1, 2, 3):
        predict_files(glass, folder, parts, shard=Shard(index, 3))
    masks = {path.name: path.read_bytes() for path in (whole / "masks").iterdir()}
    assert {path.name: path.read_bytes() for path in (parts / "masks").iterdir()} == masks
    rows = [row for index in (1, 2, 3) for row in read_lines(parts / f"predictions-{index}-of-3.jsonl")]
    assert sorted(Path(row["source"]).name for row in rows) == sorted([*masks, "broken.png"])
    assert [Path(row["source"]).name for row in rows if "error" in row] == ["broken.png"]
    assert not (parts / "predictions.json").exists()


def test_whoever_goes_on_knows_what_the_shares_did(glass: Segmenter, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_files(glass, folder, out, shard=Shard(1, 2))
    report = predict_files(glass, folder, out, resume=True)
    assert sum(file.skipped for file in report.files) == 4 - 1 + 1 - (1 if _has_broken(out) else 0)
    with pytest.raises(OutputError, match="add --overwrite to replace, or --resume"):
        predict_files(glass, folder, out, shard=Shard(1, 2))


def _has_broken(out: Path) -> bool:
    return any("error" in row for row in read_lines(out / "predictions-1-of-2.jsonl"))


def test_a_line_is_there_as_soon_as_its_file_is_done(
    glass: Segmenter, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill, which leaves predictions.json as it was at the start, no finished file is done again."""
    out = tmp_path / "out"
    predict_files(glass, folder, out)
    lines = list(read_lines(out / "predictions.jsonl"))
    assert all(row["seconds"] >= 0 for row in lines)
    done = [row for row in lines if "error" not in row]
    assert {"source", "sha256", "mask", "size", "pixels", "seconds"} <= set(done[0])
    summary = json.loads((out / "predictions.json").read_text())
    early = {**summary, "files": [], "finished": False, "planned": []}
    early["planned"] = [{"source": row["source"], "mask": row["mask"]} for row in done]
    from dinoseg.outputs import write_json

    write_json(out / "predictions.json", early, overwrite=True)
    with (out / "predictions.jsonl").open("a") as file:
        file.write('{"source": "torn')
    report = predict_files(glass, folder, out, resume=True)
    assert [file.skipped for file in report.files] == [True] * 7
