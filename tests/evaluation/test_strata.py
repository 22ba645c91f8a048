from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dinoseg.data.layouts.metadata import read_metadata
from dinoseg.errors import LayoutError, UsageError
from dinoseg.evaluation.contents import Report
from dinoseg.evaluation.lesions import Lesion, LesionScore
from dinoseg.evaluation.metrics import ClassScore
from dinoseg.evaluation.report import write_report
from dinoseg.evaluation.statistics import bootstrap_contrast, bootstrap_interval
from dinoseg.evaluation.strata import SIZE_COLUMN, UNKNOWN, find_metadata, find_strata
from dinoseg.evaluation.summary import summarise
from tests.evaluation.reports import made_score
from tests.evaluation.test_scoring import Told


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def scores_of(dice: list[float], sizes: list[int] | None = None) -> list[ClassScore]:
    return [
        replace(made_score(f"c{place}", value), target_size=(sizes or [40] * len(dice))[place])
        for place, value in enumerate(dice)
    ]


def sites(count: int) -> str:
    return "case,site\n" + "".join(
        f"c{place},{'north' if place % 2 else 'south'}\n" for place in range(count)
    )


def test_each_part_has_its_mean_number_and_difference(tmp_path: Path) -> None:
    dice = [0.8, 0.6, 0.9, 0.5, 0.7, 0.4]
    known = read_metadata(table(tmp_path / "m.csv", sites(6)))
    (found,) = find_strata(scores_of(dice), known, seed=0)
    north, south = found.strata
    assert (found.column, north.name, north.cases, north.groups) == ("site", "north", 3, 3)
    assert north.dice == bootstrap_interval([0.6, 0.5, 0.4], ["c1", "c3", "c5"], seed=0)
    assert north.difference.mean == pytest.approx(0.5 - 0.8)
    assert south.difference.mean == pytest.approx(0.8 - 0.5)


def test_much_worse_needs_size_number_and_certainty(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    known = read_metadata(table(tmp_path / "m.csv", sites(60)))

    def worse(gap: float, spread: float, count: int = 60) -> list[str]:
        dice = [0.8 - gap * (place % 2) + float(rng.normal(0, spread)) for place in range(count)]
        found = find_strata(scores_of(dice), known, seed=0)[0]
        return [row.name for row in found.strata if row.much_worse]

    assert worse(0.2, 0.05) == ["north"]
    assert worse(0.03, 0.01) == []  # certain and small
    assert worse(0.06, 0.4) == []  # large and uncertain
    assert worse(0.2, 0.05, count=8) == []  # four cases each


def test_the_warning_says_how_much(tmp_path: Path) -> None:
    known = read_metadata(table(tmp_path / "m.csv", sites(20)))
    dice = [0.9 - 0.3 * (place % 2) + 0.001 * place for place in range(20)]
    (line,) = find_strata(scores_of(dice), known, seed=0)[0].warnings()
    assert line.startswith("site north: mean Dice 0.610 in 10 cases, 0.299 lower")


def test_groups_are_drawn_whole_for_differences() -> None:
    rng = np.random.default_rng(1)
    values = np.repeat(rng.normal(size=20), 10)
    inside = np.arange(200) < 100
    patients = np.repeat([f"p{place}" for place in range(20)], 10).tolist()
    by_patient = bootstrap_contrast(values, inside, patients, seed=0)
    by_case = bootstrap_contrast(values, inside, [str(place) for place in range(200)], seed=0)
    assert by_patient.high - by_patient.low > 2 * (by_case.high - by_case.low)


def test_columns_of_groups_numbers_and_gaps(tmp_path: Path) -> None:
    text = "group,Device,age,id\n" + "".join(
        f"c{place},{['x', 'y', ''][place % 3]},{30 + place},name{place}\n" for place in range(24)
    )
    known = read_metadata(table(tmp_path / "m.csv", text))
    found = {
        item.column: [row.name for row in item.strata]
        for item in find_strata(scores_of([0.5] * 24), known, seed=0)
    }
    assert found["device"] == ["x", "y", UNKNOWN]
    assert found["age"] == [
        "lowest third (30 to 37)",
        "middle third (38 to 45)",
        "highest third (46 to 53)",
    ]
    assert "id" not in found  # a name of each case divides nothing
    assert SIZE_COLUMN not in found  # nor do equal sizes


def test_few_different_numbers_are_grades(tmp_path: Path) -> None:
    text = "case,grade\n" + "".join(f"c{place},{[10, 2, 3][place % 3]}\n" for place in range(12))
    known = read_metadata(table(tmp_path / "m.csv", text))
    (found,) = find_strata(scores_of([0.5] * 12), known, seed=0)
    assert [row.name for row in found.strata] == ["2", "3", "10"]


def test_thirds_by_size_of_the_target() -> None:
    sizes = [10, 20, 30, 40, 50, 60, 0]
    dice = [0.1, 0.2, 0.6, 0.6, 0.9, 0.9, 1.0]
    (found,) = find_strata(scores_of(dice, sizes), None, seed=0)
    assert found.column == SIZE_COLUMN
    assert [(row.name, row.cases, round(row.dice.mean, 2)) for row in found.strata] == [
        ("small (10 to 20 px)", 2, 0.15),
        ("medium (30 to 40 px)", 2, 0.6),
        ("large (50 to 60 px)", 2, 0.9),
        ("no target", 1, 1.0),
    ]


def test_sizes_are_physical_where_they_are_known() -> None:
    scores = [
        replace(score, lesions=LesionScore((Lesion(1000.0 - place, 0.5), Lesion(1.0, 0.5)), 2, 2, "mm³"))
        for place, score in enumerate(scores_of([0.1 * place for place in range(9)], list(range(1, 10))))
    ]
    (found,) = find_strata(scores, None, seed=0)
    assert found.strata[0].name == "small (993 to 995 mm³)"
    assert found.strata[0].dice.mean == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,site\na,b\n", "has the columns name, site; needed are case or group"),
        ("case\na\n", "at least one other"),
        ("case,site\na,b\na,c\n", "row 3: a has two different rows"),
        ("case,site\n,b\n", "row 2: no case"),
        ("case,site\n", "has a header and no row"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        read_metadata(table(tmp_path / "metadata.csv", text))


def test_a_table_that_was_only_found_is_noted(tmp_path: Path) -> None:
    scores = scores_of([0.5] * 4)
    told = Told()
    path = table(tmp_path / "metadata.csv", "case,site\nz1,b\n")
    assert find_metadata(tmp_path, scores, progress=told) is None
    assert "knows none of the cases, e.g. c0" in told.notes[0]
    with pytest.raises(LayoutError, match="knows none of the cases"):
        find_metadata(tmp_path, scores, given=path, progress=told)
    table(path, sites(4))
    (tmp_path / "masks").mkdir()
    assert find_metadata(tmp_path / "masks", scores, progress=told) is not None
    assert find_metadata(tmp_path / "masks" / "deep", scores, progress=told) is None


def test_report_holds_strata_and_warns(tmp_path: Path) -> None:
    known = read_metadata(table(tmp_path / "m.csv", sites(20).replace("north", "<b>north")))
    scores = scores_of([0.9 - 0.3 * (place % 2) for place in range(20)])
    strata = find_strata(scores, known, seed=0)
    summaries = summarise(scores, seed=0, draws=20)
    report = Report(scores=scores, summaries=summaries, title="t", policy=["p"], strata=strata)
    page = write_report(report, tmp_path / "r").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert page.index("Much worse:") < page.index("By stratum")
    assert "&lt;b&gt;north" in page.partition("By stratum")[2]
    assert "Strata: mean Dice of a part" in page
    document = json.loads((tmp_path / "r" / "summary.json").read_text(encoding="utf-8"))
    assert document["strata"][0]["strata"][0]["much_worse"] is True


def test_contrast_needs_equal_lengths() -> None:
    with pytest.raises(UsageError, match="one group per value"):
        bootstrap_contrast([0.1, 0.2], [True, False], ["a"], seed=0)
