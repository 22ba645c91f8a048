from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dinoseg.errors import DataError, DinosegError, LabelError, OutputError, RunError, UsageError
from dinoseg.evaluation import paired_test
from dinoseg.evaluation.comparison.comparing import compare, compare_scores
from dinoseg.evaluation.comparison.pairing import PairedScores
from dinoseg.evaluation.comparison.pictures import read_pictures
from dinoseg.evaluation.comparison.results import Comparison
from dinoseg.evaluation.contents import Failure
from dinoseg.evaluation.examples import Picture
from dinoseg.outputs.manifest import MANIFEST
from tests.evaluation.reports import made_score, write_dice, write_scores

A = [0.91, 0.85, 0.88, 0.79, 0.95, 0.40, 0.77, 0.83]
B = [0.89, 0.80, 0.88, 0.71, 0.90, 0.55, 0.70, 0.80]
GROUPS = ["p1", "p1", "p2", "p3", "p4", "p5", "p5", "p6"]


def made(a: list[float], b: list[float], metric: str = "dice") -> PairedScores:
    cases = tuple(f"c{place}" for place in range(len(a)))
    return PairedScores(("a", "b"), metric, "lesion", cases, cases, np.array([a, b]))


def test_difference_is_the_paired_test_of_the_cases(tmp_path: Path) -> None:
    places = [write_dice(tmp_path / "a", A, groups=GROUPS), write_dice(tmp_path / "b", B, groups=GROUPS)]
    found = compare(places)
    (duel,) = found.duels
    assert duel.test == paired_test(A, B, GROUPS, seed=0)
    assert (duel.first, duel.second, duel.won, duel.tied, duel.lost) == ("a", "b", 6, 1, 1)
    assert duel.share_won == 6.5 / 8
    assert duel.better is None
    assert [row.mean.mean for row in found.standings] == pytest.approx([np.mean(A), np.mean(B)])
    assert found.rough
    assert "6 groups, fewer than 50" in found.cautions[-1]


def test_better_only_where_the_test_says_so() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, size=60)
    close = compare_scores(made(list(base), list(base + rng.normal(0, 0.05, 60))), seed=0)
    apart = compare_scores(made(list(base + 0.05), list(base + rng.normal(0, 0.05, 60))), seed=0)
    assert (close.duels[0].better, apart.duels[0].better) == (None, "a")
    assert not apart.rough
    assert apart.standings[0].first > 0.95


def test_of_distances_less_is_better() -> None:
    near, far = [1.0] * 20, [3.0, 4.0] * 10
    (duel,) = compare_scores(made(near, far, "hd95"), seed=0).duels
    assert (duel.better, duel.won, duel.lost) == ("a", 20, 0)
    assert duel.test.difference == -2.5
    assert compare_scores(made(near, far, "hd95"), seed=0).standings[0].first == 1.0


def test_every_pair_is_tested_and_adjusted() -> None:
    rng = np.random.default_rng(1)
    values = np.array([rng.uniform(0.6, 0.9, 20) + shift for shift in (0.0, 0.05, 0.06)])
    cases = tuple(map(str, range(20)))
    found = compare_scores(PairedScores(("a", "b", "c"), "dice", "x", cases, cases, values), seed=0)
    assert [(duel.first, duel.second) for duel in found.duels] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert all(duel.p_holm >= duel.test.p for duel in found.duels)
    assert min(duel.p_holm for duel in found.duels) == pytest.approx(3 * min(d.test.p for d in found.duels))
    assert sum(row.first for row in found.standings) == pytest.approx(1)


def test_equal_models() -> None:
    found = compare_scores(made(A, A), seed=0)
    (duel,) = found.duels
    assert (duel.test.p, duel.wilcoxon_p, duel.needed, duel.better, duel.tied) == (1.0, 1.0, None, None, 8)
    assert [row.first for row in found.standings] == [0.5, 0.5]


def test_a_mean_over_classes_is_taken_within_the_case(tmp_path: Path) -> None:
    def scores(shift: float) -> list:
        return [
            made_score(
                f"c{case}", 0.5 + 0.1 * class_id + shift * case, name=f"k{class_id}", class_id=class_id
            )
            for case in range(4)
            for class_id in (1, 2)
        ]

    places = [write_scores(tmp_path / "a", scores(0.02)), write_scores(tmp_path / "b", scores(0.0))]
    found = compare(places)
    assert found.scores.part == "mean over classes"
    assert found.scores.values[0] == pytest.approx([0.65, 0.67, 0.69, 0.71])
    one = compare(places, part="k2")
    assert one.scores.values[0] == pytest.approx([0.7, 0.72, 0.74, 0.76])
    with pytest.raises(LabelError, match="has no class 'k3'; it has k1, k2"):
        compare(places, part="k3")


def test_regions_are_the_headline(tmp_path: Path) -> None:
    def scores(dice: float) -> list:
        region = replace(made_score("", dice, name="whole"), class_id=None, kind="region", region=(1, 2))
        return [
            replace(score, case=case, group=case)
            for case in ("x", "y")
            for score in (made_score("", 0.1), made_score("", 0.1, name="k2", class_id=2), region)
        ]

    places = [write_scores(tmp_path / "a", scores(0.8)), write_scores(tmp_path / "b", scores(0.6))]
    found = compare(places)
    assert found.scores.part == "whole"
    assert found.duels[0].test.difference == pytest.approx(0.2)


def test_groups_known_to_one_report_hold_for_all(tmp_path: Path) -> None:
    places = [write_dice(tmp_path / "a", A, groups=GROUPS), write_dice(tmp_path / "b", B)]
    assert compare(places).scores.groups == tuple(GROUPS)


def test_order_of_the_cases_does_not_matter(tmp_path: Path) -> None:
    scores = [made_score(f"c{place}", value) for place, value in enumerate(B)]
    places = [write_dice(tmp_path / "a", A), write_scores(tmp_path / "b", scores[::-1])]
    assert compare(places).duels[0].test.difference == pytest.approx(np.mean(A) - np.mean(B))


def test_run_folders_and_tables_of_others(tmp_path: Path) -> None:
    write_dice(tmp_path / "one" / "report", A)
    write_dice(tmp_path / "two" / "report" / "test", B)
    (tmp_path / "theirs.csv").write_text(
        "case,dice\n" + "".join(f"c{place},{value}\n" for place, value in enumerate(B)), encoding="utf-8"
    )
    found = compare([tmp_path / "one", tmp_path / "two", tmp_path / "theirs.csv"])
    assert found.scores.names == ("one", "two", "theirs")
    assert "its report" in found.notes[0]
    assert "theirs: no summary.json tells the protocol" in found.cautions[0]
    assert found.duels[2].tied == 8
    assert found.duels[1].test == found.duels[0].test
    with pytest.raises(DataError, match="has no column hd95; it has dice"):
        compare([tmp_path / "one", tmp_path / "theirs.csv"], metric="hd95")


def test_reports_of_one_name_keep_their_paths(tmp_path: Path) -> None:
    places = [write_dice(tmp_path / "1/run/report", A), write_dice(tmp_path / "2/run/report", B)]
    assert compare(places).scores.names == tuple(map(str, places))


def test_draws_are_averaged_within_each_case(tmp_path: Path) -> None:
    for draw in range(3):
        shifted = [value - 0.01 * draw for value in A]
        write_dice(tmp_path / "few" / f"draw-{draw}" / "report" / "test", shifted, groups=GROUPS)
    other = write_dice(tmp_path / "b", B)
    found = compare([tmp_path / "few", other])
    assert found.scores.names == ("few", "b")
    assert found.scores.values[0] == pytest.approx(np.subtract(A, 0.01))
    assert found.scores.groups == tuple(GROUPS)
    assert found.notes == (f"{tmp_path / 'few'}: of every case the mean over its 3 draws is compared",)


def test_most_draws_decide_what_is_missed(tmp_path: Path) -> None:
    for draw, missed in enumerate([("c0", "c1"), ("c0",), ()]):
        scores = [
            made_score(f"c{place}", 0.5, outcome="missed" if f"c{place}" in missed else "scored")
            for place in range(3)
        ]
        write_scores(tmp_path / "few" / f"draw-{draw}" / "report", scores)
    other = write_dice(tmp_path / "b", [0.5] * 3)
    assert [row.missed for row in compare([tmp_path / "few", other]).standings] == [1, 0]


def test_draws_must_agree_and_be_complete(tmp_path: Path) -> None:
    other = write_dice(tmp_path / "b", B)
    write_dice(tmp_path / "few" / "draw-0" / "report", A)
    write_dice(tmp_path / "few" / "draw-1" / "report", A[:-1])
    with pytest.raises(DataError, match=r"draw-1.* has other cases, classes or settings than .*draw-0"):
        compare([tmp_path / "few", other])
    (tmp_path / "few" / "draw-2").mkdir()
    with pytest.raises(RunError, match="few holds no scores of all its 3 draws"):
        compare([tmp_path / "few", other])


@pytest.mark.parametrize("name", ["missing", "extra", "both"])
def test_unpaired_cases_are_refused_and_named(tmp_path: Path, name: str) -> None:
    ours = write_dice(tmp_path / "a", A)
    scores = [made_score(f"c{place}", value) for place, value in enumerate(B)]
    theirs = {"missing": scores[:-1], "extra": [*scores, made_score("new", 0.5)]}
    theirs["both"] = [*scores[:-1], made_score("new", 0.5)]
    failures = [Failure("c7", "broken")] if name == "missing" else []
    other = write_scores(tmp_path / "b", theirs[name], failures=failures)
    expected = {
        "missing": r"1 only in a \(c7, which failed in b\); score",
        "extra": r"1 only in b \(new\); score",
        "both": r"1 only in a \(c7\), 1 only in b \(new\); score",
    }
    with pytest.raises(DataError, match=expected[name]):
        compare([ours, other])


def _edit(folder: Path, change: Callable[[str], str]) -> Path:
    path = folder / "cases.csv"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    return folder


Places = tuple[Path, Path]


def _others(tmp_path: Path, name: str) -> list[Path]:
    """Two reports that cannot be compared."""
    a = write_dice(tmp_path / "a", A)
    scores = [made_score(f"c{place}", value) for place, value in enumerate(B)]
    b = tmp_path / "b"
    if name == "protocol":
        return [a, write_scores(b, scores, protocol="paper")]
    if name == "classes":
        return [a, write_scores(b, [replace(score, class_name="polyp") for score in scores])]
    if name == "targets":
        return [a, write_scores(b, [replace(scores[0], target_size=41), *scores[1:]])]
    if name == "twice":
        return [a, _edit(write_scores(b, scores), lambda text: text + text.splitlines()[-1] + "\n")]
    if name in ("nan", "empty", "inf"):
        value = {"nan": "nan", "empty": "", "inf": "inf"}[name]
        return [a, _edit(write_scores(b, scores), lambda text: text.replace(",0.89,", f",{value},", 1))]
    if name == "one":
        return [write_dice(tmp_path / "x", A[:1]), write_dice(tmp_path / "y", B[:1])]
    if name == "group":
        return [write_dice(tmp_path / n, A, groups=["p"] * 8) for n in "xy"]
    if name == "void":
        void = [replace(score, outcome="both_empty", target_size=0) for score in scores]
        return [write_scores(tmp_path / n, void) for n in "xy"]
    if name == "header":
        return [a, _edit(write_scores(b, scores), lambda text: "case,nothing\nc0,1\n")]
    if name == "rows":
        return [a, _edit(write_scores(b, scores), lambda text: "case,dice\n")]
    if name == "groups":
        return [write_dice(tmp_path / "x", A, groups=GROUPS), write_dice(tmp_path / "y", B, groups=["q"] * 8)]
    if name == "summary":
        write_scores(b, scores)
        (b / "summary.json").write_text("{", encoding="utf-8")
        return [a, b]
    return {"same": [a, a], "alone": [a], "nowhere": [a, tmp_path / "no"], "no scores": [a, tmp_path]}[name]


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("protocol", DataError, r"different protocols \(a native, b paper\)"),
        ("classes", LabelError, "a has scores of lesion, b of polyp"),
        ("targets", DataError, "the target of c0 has 40 pixels in a and 41 in b"),
        ("twice", DataError, r"cases.csv holds the case c7 \(lesion\) twice"),
        ("nan", DataError, r"cases.csv line \d+: dice is 'nan'"),
        ("inf", DataError, r"cases.csv line \d+: dice is 'inf'"),
        ("empty", DataError, r"cases.csv line \d+: dice is 'empty'"),
        ("one", DataError, r"one case only \(c0\)"),
        ("group", DataError, r"all 8 cases are of one group \(p\)"),
        ("groups", DataError, "give 8 cases different groups"),
        ("void", DataError, "every mask of every case is empty"),
        ("header", DataError, "has the columns case, nothing; needed are case and one of dice"),
        ("rows", DataError, "holds no case"),
        ("summary", DataError, "summary.json is damaged"),
        ("same", UsageError, "is given twice"),
        ("alone", UsageError, "two or more reports, given 1"),
        ("nowhere", RunError, "no does not exist; accepted are folders with a cases.csv"),
        ("no scores", RunError, "holds no scores"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    tmp_path: Path, name: str, kind: type[DinosegError], message: str
) -> None:
    places = _others(tmp_path, name)
    with pytest.raises(kind, match=message) as caught:
        compare(places)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_the_line_of_a_bad_number_is_that_of_the_file(tmp_path: Path) -> None:
    places = _others(tmp_path, "nan")
    with pytest.raises(DataError) as caught:
        compare(places)
    number = int(re.search(r"line (\d+)", str(caught.value))[1])
    assert ",nan," in (places[1] / "cases.csv").read_text(encoding="utf-8").splitlines()[number - 1]


def test_units_matter_for_distances_only(tmp_path: Path) -> None:
    scores = [made_score(f"c{place}", value, unit="mm") for place, value in enumerate(B)]
    places = [write_dice(tmp_path / "a", A), write_scores(tmp_path / "b", scores)]
    assert compare(places).duels[0].won == 6
    for metric in ("hd95", "nsd"):
        with pytest.raises(DataError, match=rf"{metric} has different units \(a in px, b in mm\)"):
            compare(places, metric=metric)
    with pytest.raises(UsageError, match="metric 'auc' is not accepted"):
        compare(places, metric="auc")


def test_tolerances_matter_for_nsd(tmp_path: Path) -> None:
    scores = [made_score(f"c{place}", value) for place, value in enumerate(B)]
    places = [write_dice(tmp_path / "a", A), write_scores(tmp_path / "b", scores, tolerance=3)]
    assert compare(places, metric="hd95").scores.unit == "px"
    with pytest.raises(DataError, match="different tolerances"):
        compare(places, metric="nsd")


def test_distances_of_the_paper_protocol_cannot_be_paired(tmp_path: Path) -> None:
    scores = [made_score(f"c{place}", value) for place, value in enumerate(B)]
    places = [write_scores(tmp_path / name, scores, protocol="paper") for name in "ab"]
    assert compare(places).protocol == "paper"
    with pytest.raises(UsageError, match="cannot be paired"):
        compare(places, metric="assd")


# --- files ------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path) -> tuple[Comparison, Path]:
    pictures = [Picture("worst", "c5", "Dice 0.40", b"five"), Picture("best", "c4", "Dice 0.95", b"four")]
    scores = [made_score(f"c{place}", value) for place, value in enumerate(A)]
    a = write_scores(tmp_path / "<a>", scores, pictures=pictures)
    b = write_dice(tmp_path / "b", B)
    out = tmp_path / "out"
    return compare([a, b], out=out), out


def test_files_of_a_comparison(written: tuple[Comparison, Path]) -> None:
    found, out = written
    names = sorted(path.name for path in out.iterdir() if path.name != MANIFEST)
    assert names == ["cases.csv", "compare.json", "index.html"]
    assert found.page == out / "index.html"
    document = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    (duel,) = document["comparisons"]
    assert duel["test"]["difference"] == found.duels[0].test.difference
    assert (duel["won"], duel["better"], document["rough"], document["metric"]) == (6, None, True, "dice")
    assert [row["name"] for row in document["models"]] == ["<a>", "b"]
    lines = (out / "cases.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("# ")))
    assert [float(row["<a> - b"]) for row in rows] == pytest.approx(np.subtract(A, B), abs=1e-6)
    assert any(line.startswith("# p: two-sided sign-flip test") for line in lines)


def test_page_needs_nothing_else_and_escapes(written: tuple[Comparison, Path]) -> None:
    page = (written[1] / "index.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert "url(" not in page
    assert "<script" not in page
    assert "<a>" not in page
    assert "&lt;a&gt;" in page
    assert page.count("<svg") == 1
    assert re.search(r'<svg [^>]*role="img" aria-label="Difference of every case, sorted. Mean ', page)
    assert all(re.search(r'alt="[^"]{10,}"', image) for image in re.findall(r"<img [^>]*>", page))


def test_page_shows_the_cases_that_differ_most_side_by_side(written: tuple[Comparison, Path]) -> None:
    page = (written[1] / "index.html").read_text(encoding="utf-8").partition('id="cases"')[2]
    shown = re.findall(r"<h3>(\w+)</h3>", page)
    assert shown == ["c5", "c3", "c6", "c1", "c4", "c7", "c0"]  # c2 is equal
    block = page.partition("<h3>c5</h3>")[2].partition("<h3>")[0]
    assert block.count("<figure>") == 2
    assert block.count("data:image/jpeg;base64,Zml2ZQ==") == 1
    assert block.count("no picture in its report") == 1
    assert "0.400" in block
    assert "0.550" in block


def test_at_most_ten_cases_are_shown(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    places = [write_dice(tmp_path / name, rng.random(30).round(3).tolist()) for name in "ab"]
    compare(places, out=tmp_path / "out")
    assert (tmp_path / "out" / "index.html").read_text(encoding="utf-8").count("<h3>c") == 10


def test_bars_show_every_difference(tmp_path: Path) -> None:
    places = [write_dice(tmp_path / "a", A), write_dice(tmp_path / "b", B)]
    compare(places, out=tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    up, down = (re.search(rf'class="{kind}" d="([^"]*)"', page)[1] for kind in ("plus", "minus"))
    assert (up.count("M"), down.count("M")) == (6, 1)
    heights = [float(value) for value in re.findall(r"V([\d.]+)h1", up)]
    expected = sorted((value for value in np.subtract(A, B) if value > 0.001), reverse=True)
    assert [(50 - height) / 50 * 0.15 for height in heights] == pytest.approx(expected, abs=2e-4)


def test_pictures_are_jpeg_or_nothing(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text(
        '<figure><img src="javascript:alert(1)"><strong>bad</strong></figure>'
        '<figure><img src="data:image/jpeg;base64,QUJD"><strong>a &amp; b</strong> text</figure>'
        "<strong>no figure</strong>",
        encoding="utf-8",
    )
    assert read_pictures(page) == {"a & b": "data:image/jpeg;base64,QUJD"}
    assert read_pictures(tmp_path / "none.html") == {}


def test_an_older_comparison_is_kept_unless_asked(tmp_path: Path) -> None:
    places = [write_dice(tmp_path / "a", A), write_dice(tmp_path / "b", B)]
    compare(places, out=tmp_path / "out")
    with pytest.raises(OutputError, match="exists already"):
        compare(places, out=tmp_path / "out")
    compare(places, out=tmp_path / "out", overwrite=True)
