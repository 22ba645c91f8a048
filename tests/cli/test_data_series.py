"""`dinoseg data series`: what a person and a program are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.cli.conftest import Run
from tests.data.dicom.drawn import draw_series, uid


def test_table_and_json(run: Run, tmp_path: Path) -> None:
    draw_series(tmp_path / "good", series="a")
    draw_series(tmp_path / "gap", series="b", depths=[0, 1, 2, 4, 5])
    (tmp_path / "notes.txt").write_text("none")
    ended = run("data", "series", tmp_path)
    assert (ended.code, ended.err) == (0, f"looking for series in {tmp_path}\n")
    assert "5×6×7" in ended.out
    assert f"{uid('b')}: no volume: this series lacks 1 of 6 slices" in ended.out
    assert ended.out.endswith("1 files are not DICOM\n")
    facts = run("data", "series", tmp_path, "--json").json
    assert facts["ignored"] == 1
    good = next(each for each in facts["series"] if each["uid"] == uid("a"))
    assert (good["shape"], good["count"], good["modality"]) == ([5, 6, 7], 5, "CT")
    np.testing.assert_allclose(good["spacing"], [2.5, 0.8, 0.5], atol=1e-6)
    assert len(good["files"]) == 5


def test_damaged_files_and_none_at_all(run: Run, tmp_path: Path) -> None:
    paths = draw_series(tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:250])
    ended = run("data", "series", tmp_path)
    assert ended.code == 3
    assert paths[0].name in ended.error
    (tmp_path / "empty").mkdir()
    ended = run("data", "series", tmp_path / "empty")
    assert (ended.code, ended.error) == (3, f"{tmp_path / 'empty'} holds no DICOM file")
