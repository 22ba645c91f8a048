"""The published tables can be read, and a row can be run again, marked wherever it is not the paper's."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from dinoseg.backbones.catalog import BACKBONES
from dinoseg.config.training import Training
from dinoseg.errors import OutputError, RunError, UsageError
from dinoseg.evaluation.statistics import Interval
from dinoseg.methods import METHODS
from dinoseg.training.published.recipes import PublishedData, Recipe, Row, Table, choose_recipes, read_tables
from dinoseg.training.published.reproduction import Outcome, reproduce
from tests.backbones.tiny import Notes
from tests.training.folders import make_data


def test_every_row_names_what_exists() -> None:
    recipes = choose_recipes()
    names = [recipe.row.name for recipe in recipes]
    assert len(set(names)) == len(names) >= 24
    assert {recipe.row.data for recipe in recipes} == set(read_tables().data)
    for recipe in recipes:
        assert recipe.table.method in METHODS
        assert recipe.table.backbone in BACKBONES
        figures = {key: value for key, value in recipe.row.published.items() if key != "hd95"}
        assert all(0 < value < 1 for value in figures.values())
        assert recipe.data.flaws


def test_tables_and_rows_are_found_by_name() -> None:
    assert [recipe.row.name for recipe in choose_recipes("kvasir-10")] == ["kvasir-10"]
    assert {recipe.table.method for recipe in choose_recipes("few-shot")} == {"dino-augseg"}
    with pytest.raises(UsageError, match="did you mean 'few-shot'"):
        choose_recipes("fewshot")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("all")
    make_data(folder / "small")
    return folder


def make_recipe(published: dict[str, float]) -> Recipe:
    data = PublishedData(
        title="t",
        place="p",
        license="l",
        layout="o",
        folders=("own",),
        stand_ins={"small": "drawn"},
        flaws=("f",),
    )
    row = Row(name="row-2", data="own", published=published, shots=2, note="odd")
    table = Table(title="t", source="s", method="linear", backbone="dinov3_vits16", rows=(row,))
    return Recipe(row, table, data)


def read_rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "reproduce.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.usefixtures("quick")
def test_a_row_is_trained_scored_and_compared(place: Path, tmp_path: Path) -> None:
    changes = {"model.preprocessing.size": 32, "cache.folder": str(tmp_path / "cache")}
    how = Training(backbone="untrained-vitt16", changes=changes)
    recipe, notes = make_recipe({"dice": 0.999}), Notes()
    (found,) = reproduce([recipe], place, tmp_path / "out", how=how, steps=4, progress=notes)
    assert found.marks == (
        "stand-in backbone untrained-vitt16",
        "stand-in data drawn",
        "4 steps, not the published number",
        "changed size=32",
    )
    assert found.paper is not None
    assert found.difference == pytest.approx(found.paper.mean - 0.999)
    assert found.inside is None  # the test split is one group, which has no interval
    rows = read_rows(tmp_path / "out")
    assert rows[0]["marks"] == "; ".join(found.marks)
    assert rows[0]["flaws"] == "f"
    other = replace(recipe, row=recipe.row.model_copy(update={"name": "row-3"}))
    reproduce([other], place, tmp_path / "out", how=how, steps=4)
    assert [row["row"] for row in read_rows(tmp_path / "out")] == [
        "row-2",
        "row-3",
    ]
    again = Notes()
    assert reproduce([recipe], place, tmp_path / "out", how=how, steps=4, progress=again) != ()
    assert again.notes == ["row-2 is there already"]
    with pytest.raises(RunError, match=r"row-2: .*other settings"):
        reproduce([recipe], place, tmp_path / "out", how=how, steps=5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "reproduce.csv").write_text("mine")
    with pytest.raises(OutputError, match="was not written by dinoseg"):
        reproduce([recipe], place, tmp_path / "mine", how=how, steps=4)


def test_a_figure_that_is_not_known_is_not_compared() -> None:
    found = Outcome("a", "linear", None, None, Interval(0.5, 0.4, 0.6), ())
    assert (found.difference, found.inside) == (None, None)
    known = replace(found, published=0.45)
    assert known.difference == pytest.approx(0.05)
    assert known.inside is True
    assert replace(found, published=0.7).inside is False
