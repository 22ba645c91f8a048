from __future__ import annotations

import csv
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinoseg.errors import OutputError
from dinoseg.evaluation.contents import Failure, Report
from dinoseg.evaluation.definitions import EMPTY_TEXT, PAPER_EMPTY_TEXT, protocol_lines
from dinoseg.evaluation.examples import Picture
from dinoseg.evaluation.metrics import ClassScore, score_case
from dinoseg.evaluation.report import FILES, write_report
from dinoseg.evaluation.scoring.scorer import score
from dinoseg.evaluation.summary import Protocol, summarise
from dinoseg.outputs.manifest import MANIFEST


def make_scores(classes: dict[int, str], *, count: int = 12, seed: int = 0) -> list[ClassScore]:
    rng = np.random.default_rng(seed)
    scores: list[ClassScore] = []
    for number in range(count):
        target, prediction = np.zeros((24, 24), np.uint8), np.zeros((24, 24), np.uint8)
        for class_id in classes:
            if class_id:
                row, column = rng.integers(0, 16, 2)
                target[row : row + 6, column : column + 6] = class_id
                prediction[row : row + 7, column + 1 : column + 7] = class_id if rng.random() < 0.8 else 0
        scores += score_case(
            prediction,
            target,
            classes=classes,
            spacing=None,
            tolerance=2,
            case=f"case {number}",
            group=f"p{number // 2}",
        )
    return scores


def written(
    out: Path,
    scores: list[ClassScore],
    protocol: Protocol = "native",
    *,
    overwrite: bool = False,
    **more: object,
) -> Path:
    report = Report(
        scores=scores,
        summaries=summarise(scores, seed=0, protocol=protocol),
        title="A <b>title</b>",
        policy=protocol_lines(protocol, tolerance=2.0, unit="px"),
        protocol=protocol,
        **more,  # type: ignore[arg-type]
    )
    return write_report(report, out, overwrite=overwrite)


def read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines if line.startswith("# ")]
    return comments, list(csv.DictReader(lines[len(comments) :]))


def test_every_table_explains_itself(tmp_path: Path) -> None:
    page = written(tmp_path, make_scores({0: "background", 1: "lesion"}), facts={"Split": "test"})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((*FILES, MANIFEST))
    for name in ("cases.csv", "summary.csv"):
        comments, rows = read(tmp_path / name)
        assert f"# {EMPTY_TEXT}" in comments
        assert "# NSD tolerance: 2 px." in comments
        assert "# Split: test" in comments
        assert any(line.startswith("# HD95: the larger of the two directed 95th") for line in comments)
        assert rows
    assert EMPTY_TEXT in page.read_text(encoding="utf-8")
    assert EMPTY_TEXT in json.loads((tmp_path / "summary.json").read_text())["policy"]


def test_paper_protocol_is_marked_everywhere(tmp_path: Path) -> None:
    page = written(tmp_path, make_scores({1: "lesion"}), "paper")
    for name in ("cases.csv", "summary.csv"):
        comments, _ = read(tmp_path / name)
        assert any("NOT COMPARABLE" in line for line in comments)
        assert f"# {PAPER_EMPTY_TEXT}" in comments
    assert "not comparable" in page.read_text(encoding="utf-8")
    assert json.loads((tmp_path / "summary.json").read_text())["comparable"] is False


def test_numbers_come_back(tmp_path: Path) -> None:
    scores = make_scores({0: "background", 1: "lesion", 2: "vessel"})
    summaries = summarise(scores, seed=0)
    written(tmp_path, scores)
    _, cases = read(tmp_path / "cases.csv")
    assert [row["case"] for row in cases] == [score.case for score in scores]
    assert [float(row["hd95"]) for row in cases] == pytest.approx([score.hd95 for score in scores], abs=1e-6)
    assert {row["outcome"] for row in cases} == {score.outcome for score in scores}
    _, rows = read(tmp_path / "summary.csv")
    assert [(row["class_id"], row["metric"]) for row in rows[:2]] == [("1", "dice"), ("1", "iou")]
    total = next(row for row in rows if row["class_id"] == "all" and row["metric"] == "dice")
    assert float(total["mean"]) == pytest.approx(summaries[-1].metric("dice").interval.mean, abs=1e-6)
    assert int(total["missed"]) == summaries[-1].missed > 0
    stored = json.loads((tmp_path / "summary.json").read_text())["classes"]
    assert stored[1]["metrics"][2]["interval"]["low"] == summaries[1].metric("hd95").interval.low


def test_unknown_numbers_are_empty_and_null(tmp_path: Path) -> None:
    scores = [replace(make_scores({1: "lesion"}, count=1)[0], outcome="missed", dice=0.0)]
    written(tmp_path, scores, "paper")
    _, rows = read(tmp_path / "summary.csv")
    assert [row["mean"] for row in rows if row["metric"] == "hd95"] == [""]
    text = (tmp_path / "summary.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["classes"][0]["metrics"][2]["interval"]["mean"] is None
    assert "nan" not in (tmp_path / "index.html").read_text().split("</style>")[1].split("<img")[0]


def test_page_needs_nothing_else_and_escapes(tmp_path: Path) -> None:
    scores = make_scores({0: "background", 1: "<script>alert(1)</script>", 2: "b & c"})
    pictures = [
        Picture("worst", "a<b>", "Dice 0.10", b"first"),
        Picture("best", "c", "Dice 0.99", b"second"),
    ]
    failures = [Failure("broken", "x.png is <truncated>")]
    page = written(
        tmp_path, scores, pictures=pictures, failures=failures, classes={1: "<i>one</i>", 2: "b & c"}
    ).read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in page
    assert "A &lt;b&gt;title&lt;/b&gt;" in page
    assert "a&lt;b&gt;" in page
    assert "x.png is &lt;truncated&gt;" in page
    assert "1 failed and not in any mean" in page
    assert page.index("Worst") < page.index("Best")
    assert "Middle" not in page
    for image in re.findall(r"<img [^>]*>", page):
        assert re.search(r'alt="[^"]{10,}"', image)
        assert 'src="data:image/' in image


def test_headline_is_the_mean_with_its_interval_and_misses(tmp_path: Path) -> None:
    scores = make_scores({0: "background", 1: "lesion"})
    (row,) = summarise(scores, seed=0)
    interval = row.metric("dice").interval
    page = written(tmp_path, scores).read_text(encoding="utf-8")
    assert f'<p class="value">{interval.mean:.3f}</p>' in page
    assert f"{interval.low:.3f} to {interval.high:.3f}" in page
    assert f"{row.missed}<small> of {row.with_target}</small>" in page
    assert "12 cases of 6 groups" in page


def test_many_classes_get_a_line_each(tmp_path: Path) -> None:
    classes = {number: f"organ {number}" for number in range(1, 8)}
    page = written(tmp_path, make_scores(classes)).read_text(encoding="utf-8")
    assert page.partition('id="lesions"')[0].count('<th scope="row">') == 8
    assert "organ 7: mean" in page


def test_an_older_report_is_kept_unless_asked(tmp_path: Path) -> None:
    scores = make_scores({1: "lesion"})
    written(tmp_path, scores)
    with pytest.raises(OutputError, match=r"cases\.csv exists already; .*--overwrite"):
        written(tmp_path, scores)
    written(tmp_path, make_scores({1: "tumour"}), overwrite=True)
    assert "tumour" in (tmp_path / "index.html").read_text()


def test_a_file_of_somebody_else_is_kept_whatever_is_asked(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"index\.html exists already, and was not written by dinoseg"):
            written(tmp_path, make_scores({1: "lesion"}), overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text() == "mine"


@pytest.mark.slow
def test_a_report_of_200_cases_takes_seconds_and_little_space(tmp_path: Path) -> None:
    """The pictures are few and small however many cases there are."""
    generator = np.random.default_rng(0)
    row, column = np.mgrid[:480, :640]
    for number in range(200):
        y, x = generator.integers(120, 360), generator.integers(160, 480)
        target = np.hypot(row - y, column - x) < 90
        found = np.hypot(row - y - generator.integers(-20, 20), column - x) < generator.integers(60, 110)
        photo = generator.integers(0, 256, (480, 640, 3), dtype=np.uint8)
        for kind, pixels in (("images", photo), ("masks", target), ("found", found)):
            (tmp_path / kind).mkdir(exist_ok=True)
            shown = pixels if kind == "images" else pixels.astype(np.uint8) * 255
            Image.fromarray(shown).save(tmp_path / kind / f"c{number}.png", compress_level=1)
    (tmp_path / "data").mkdir()
    for kind in ("images", "masks"):
        (tmp_path / kind).rename(tmp_path / "data" / kind)
    started = time.monotonic()
    score(tmp_path / "found", tmp_path / "data", out=tmp_path / "report")
    assert time.monotonic() - started < 20
    page = tmp_path / "report" / "index.html"
    assert page.stat().st_size < 5_000_000
    assert page.read_text(encoding="utf-8").count("<figure id=") == 9
