"""`train_draws()`: several draws of a few cases on one split, their spread, and going on."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

import dinoseg.training.series.jobs as jobs_module
import dinoseg.training.series.repeats as repeats_module
from dinoseg.data import open_dataset
from dinoseg.data.splits.splits import load_splits
from dinoseg.errors import (
    ConfigError,
    DinosegError,
    LabelError,
    OutputError,
    RunError,
    SplitError,
    UsageError,
)
from dinoseg.evaluation import evaluate
from dinoseg.training import Draws, learn_curve, train_draws
from dinoseg.training.runs.locks import locked
from dinoseg.training.series.spread import find_spread
from tests.backbones.tiny import Notes
from tests.training.folders import make_data
from tests.training.series import TINY, hurry, read_comments, read_json, read_table, stamps

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def draw_small(data: Path, out: Path, cache: Path, **arguments: Any) -> Draws:
    changes = {**TINY, "cache.folder": str(cache), **arguments.pop("changes", {})}
    wanted = {"method": "linear", "backbone": "untrained-vitt16", "shots": 2, "draws": 2, **arguments}
    return train_draws(data, out=out, changes=changes, **wanted)


@dataclass(frozen=True)
class Drawn:
    """A series of two draws that is not to be changed; copy the folder to do so."""

    root: Path
    notes: list[str]


@pytest.fixture(scope="module")
def drawn(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    root, notes = tmp_path_factory.mktemp("series") / "out", Notes()
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        draw_small(data, root, cache, progress=notes)
    return Drawn(root, notes.notes)


def test_every_draw_is_an_ordinary_run_with_a_report(drawn: Drawn, data: Path, cache: Path) -> None:
    root = drawn.root
    rows = read_table(root / "draws.csv")
    assert [(row["draw"], row["seed"], row["training_cases"]) for row in rows] == [
        ("0", "0", "2"),
        ("1", "1", "2"),
    ]
    cases = [load_splits(root / row["run"] / "splits.json") for row in rows]
    assert cases[0].train != cases[1].train
    assert cases[0].test == cases[1].test == load_splits(root / "splits.json").test
    # The numbers are those of `evaluate` on the run folder.
    found = evaluate(root / "draw-1", data).headline
    assert float(rows[1]["dice"]) == pytest.approx(found.metric("dice").interval.mean, abs=1e-6)
    assert rows[1]["dice_low"] == ""  # the test split holds one group
    assert float(rows[1]["hd95"]) == pytest.approx(found.metric("hd95").interval.mean, abs=1e-6)
    assert (int(rows[1]["missed"]), int(rows[1]["with_target"])) == (found.missed, found.with_target)
    assert rows[0]["trained_parameters"] == str(4 * 192 + 1)
    assert (root / "draw-1" / "report" / "test" / "index.html").is_file()


def test_the_spread_is_that_of_the_draws(drawn: Drawn) -> None:
    root = drawn.root
    document = read_json(root / "draws.json")
    dice = [draw["scores"]["dice"] for draw in document["draws"]]
    spread = document["spreads"]["dice"]
    assert spread["draws"] == 2
    assert spread["mean"] == pytest.approx(np.mean(dice))
    assert spread["sd"] == pytest.approx(np.std(dice, ddof=1))
    # Two draws: t with one degree of freedom is 12.706.
    assert spread["high"] - spread["mean"] == pytest.approx(12.7062 * spread["sd"] / 2**0.5, rel=1e-4)
    assert document["draws"][1]["run"] == "draw-1"
    comments = read_comments(root / "draws.csv")
    assert comments[0].startswith("linear on untrained-vitt16, 2 shots (cases, random), test split of data")
    assert f"{spread['mean']:.3f} ± {spread['sd']:.3f} (mean and sd over 2 draws)" in comments[1]
    assert any("95 % t-interval over the draws" in line for line in comments)


def test_what_is_scored_is_told_and_epochs_are_not(drawn: Drawn) -> None:
    notes = drawn.notes
    assert "every run is scored on the test split, 3 cases (no --split was given" in notes[0]
    (told,) = [note for note in notes if note.startswith("linear, 2 shots, draw 1: test Dice")]
    assert "missed" in told
    assert not [note for note in notes if "epoch" in note]


def test_a_finished_series_is_not_trained_again(
    drawn: Drawn, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = drawn.root
    before, notes = stamps(root / "draw-0"), Notes()
    table = (root / "draws.csv").read_text()
    monkeypatch.setattr(jobs_module, "train_run", _refuse)
    monkeypatch.setattr(jobs_module, "evaluate", _refuse)
    draw_small(data, root, cache, resume=True, progress=notes)
    assert stamps(root / "draw-0") == before
    assert (root / "draws.csv").read_text() == table
    assert "2 of 2 runs are there already and stay as they are" in notes.notes


def _refuse(*arguments: Any, **keywords: Any) -> None:
    raise AssertionError("what is finished was done again")


def test_more_draws_are_added(drawn: Drawn, data: Path, cache: Path, tmp_path: Path) -> None:
    root = shutil.copytree(drawn.root, tmp_path / "out")
    before = stamps(root / "draw-1")
    found = draw_small(data, root, cache, resume=True, draws=3)
    assert stamps(root / "draw-1") == before
    assert [draw.seed for draw in found.repeats.draws] == [0, 1, 2]
    assert found.repeats.dice.draws == 3
    assert len(read_table(root / "draws.csv")) == 3
    with pytest.raises(RunError, match="was started with 3 draws, now 2"):
        draw_small(data, root, cache, resume=True, draws=2)


def test_a_run_that_was_trained_but_not_scored_is_scored(
    drawn: Drawn, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(drawn.root, tmp_path / "out")
    (root / "draw-1" / "report" / "test" / "index.html").unlink()
    monkeypatch.setattr(jobs_module, "train_run", _refuse)
    draw_small(data, root, cache, resume=True)
    assert read_table(root / "draws.csv") == read_table(drawn.root / "draws.csv")
    assert (root / "draw-1" / "report" / "test" / "index.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"changes": {"train.lr": 0.5}}, r"started with linear: train\.lr 0\.001, now 0\.5"),
        ({"preset": "paper"}, r"linear: .*settings differ"),
        ({"seed": 3}, r"train\.seed 0, now 3"),
        ({"shots": 3}, "started with shots 2, now without 2"),
        ({"method": "segdino-v1"}, "started with methods linear, now without linear"),
        ({"split": "val"}, "started with split test, now val"),
        ({"shot_unit": "group"}, "shot_unit"),
        ({"draws": 1}, "2 draws, now 1"),
    ],
)
def test_a_series_goes_on_as_it_began_or_not_at_all(
    arguments: dict[str, Any], words: str, drawn: Drawn, data: Path, cache: Path
) -> None:
    root = drawn.root
    before = stamps(root)
    with pytest.raises(RunError, match=words) as caught:
        draw_small(data, root, cache, resume=True, **arguments)
    assert "\n" not in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert stamps(root) == before


def test_what_another_process_works_on_is_left_alone(
    drawn: Drawn, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(drawn.root, tmp_path / "out")
    before = stamps(root)
    for choice in ("resume", "overwrite"):
        with locked(root), pytest.raises(RunError, match=f"^another process is training in {root};"):
            draw_small(data, root, cache, **{choice: True})
    # A process may also be in one of the runs, or come while the data are checked.
    (root / "draw-1" / "model" / "README.md").unlink()
    with locked(root / "draw-1"), pytest.raises(RunError, match=r"^linear, 2 shots, draw 1: another process"):
        draw_small(data, root, cache, resume=True)
    monkeypatch.setattr(repeats_module, "refuse_locked", lambda folder: None)
    with locked(root), pytest.raises(RunError, match=f"^another process is training in {root};"):
        draw_small(data, root, cache, overwrite=True)
    before.pop(root / "draw-1" / "model" / "README.md")
    assert {path: stamp for path, stamp in stamps(root).items() if path.parent != root} == {
        path: stamp for path, stamp in before.items() if path.parent != root
    }


def test_changed_masks_are_noticed(data: Path, cache: Path, tmp_path: Path) -> None:
    here = shutil.copytree(data, tmp_path / "data")
    draw_small(here, tmp_path / "out", cache, draws=1)
    name = load_splits(tmp_path / "out" / "splits.json").test[0]
    mask = next((here / "masks").glob(f"{name}.*"))
    with PillowImage.open(mask) as picture:
        PillowImage.fromarray(np.asarray(picture)[::-1].copy()).save(mask)
    with pytest.raises(RunError, match=r"images or masks have changed since .*--overwrite"):
        draw_small(here, tmp_path / "out", cache, draws=1, resume=True)


def test_a_split_that_must_be_drawn_is_the_same_for_all(cache: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    shutil.rmtree(data / "splits")
    (data / "splits.json").unlink(missing_ok=True)
    draw_small(data, tmp_path / "out", cache, shots=1, shot_unit="group")
    splits = [load_splits(tmp_path / "out" / f"draw-{draw}" / "splits.json") for draw in (0, 1)]
    assert splits[0].test == splits[1].test != ()
    assert splits[0].val == splits[1].val
    rows = read_table(tmp_path / "out" / "draws.csv")
    assert [int(row["training_cases"]) for row in rows] == [len(split.train) for split in splits]


def test_without_test_cases_val_is_scored(data: Path, cache: Path, tmp_path: Path) -> None:
    here, notes = shutil.copytree(data, tmp_path / "data"), Notes()
    (here / "splits" / "test.txt").unlink()
    found = draw_small(here, tmp_path / "out", cache, draws=1, shots_from="first", progress=notes)
    assert found.split == "val"
    assert "scored on the val split, 3 cases" in notes.notes[0]
    first = (here / "splits" / "train.txt").read_text().split()[:2]
    assert list(load_splits(tmp_path / "out" / "draw-0" / "splits.json").train) == first
    assert math.isnan(found.repeats.dice.sd)
    assert read_json(tmp_path / "out" / "draws.json")["spreads"]["dice"]["low"] is None
    with pytest.raises(SplitError, match=r"the test split of .* holds no case, .*data split"):
        draw_small(here, tmp_path / "other", cache, split="test")


def test_the_same_first_cases_in_every_draw_are_told(data: Path, cache: Path, tmp_path: Path) -> None:
    notes = Notes()
    found = draw_small(data, tmp_path / "out", cache, shots_from="first", progress=notes)
    runs = [load_splits(draw.run / "splits.json").train for draw in found.repeats.draws]
    assert runs[0] == runs[1]
    assert any("the spread is that of the seed" in note for note in notes.notes)


def list_first(data: Path, here: Path, *, empty: bool) -> list[str]:
    """Copy the data without a val split; train.txt begins with a case without (or with) a lesion."""
    shutil.copytree(data, here)
    (here / "groups.csv").unlink()
    dataset = open_dataset(here)
    lines = [case.id for case in dataset.cases if case.split != "test"]
    lines.sort(key=lambda name: (name in dataset.empty) != empty)
    (here / "splits" / "val.txt").unlink()
    (here / "splits" / "train.txt").write_text("\n".join(lines) + "\n")
    return lines


def test_empty_first_shots_are_refused_before_the_first_run(data: Path, cache: Path, tmp_path: Path) -> None:
    lines = list_first(data, tmp_path / "data", empty=True)
    with pytest.raises(LabelError, match=rf"^no mask of the first 1 training cases .*{lines[0]}"):
        draw_small(tmp_path / "data", tmp_path / "out", cache, shots=1, shots_from="first")
    assert not (tmp_path / "out").exists()


def test_more_first_shots_than_a_drawn_split_kept_are_told(data: Path, cache: Path, tmp_path: Path) -> None:
    list_first(data, tmp_path / "data", empty=False)
    wanted: dict[str, Any] = {"methods": ["linear"], "backbone": "untrained-vitt16", "draws": 1}
    wanted |= {
        "out": tmp_path / "out",
        "changes": {**TINY, "cache.folder": str(cache)},
        "shots_from": "first",
    }
    learn_curve(tmp_path / "data", shots=[2], **wanted)
    with pytest.raises(RunError, match=r"keeps the first 2 shots in train .* ask for 2 at most"):
        learn_curve(tmp_path / "data", shots=[2, 9], resume=True, **wanted)
    assert (
        len(learn_curve(tmp_path / "data", shots=[1, 2], resume=True, **{**wanted, "draws": 1}).repeats) == 2
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"shots": 99}, SplitError, r"99 shots; .* 1 to 9 \(cases\): ultrasound_0001; "),
        ({"shots": 0}, ConfigError, "'shots'"),
        ({"draws": 0}, UsageError, "0 draws"),
        ({"method": "unet"}, ConfigError, "'unet' is unknown"),
        ({"split": "train"}, UsageError, "'train' is not accepted"),
        ({"changes": {"train.lrr": 1}}, ConfigError, r"'train\.lrr' is unknown"),
        ({"changes": {"shots": 3}}, ConfigError, "'shots' cannot be changed here"),
        # All draws would be the same, and reported as if they were not.
        ({"changes": {"train.seed": 7}}, ConfigError, r"'train\.seed' cannot be changed here"),
        ({"changes": {"model.decoder.heads": 5}, "method": "dino-unet"}, UsageError, "5"),
        ({"device": "mps"}, UsageError, "cpu or cuda"),
        ({"seed": 2**32 - 1}, ConfigError, r"train\.seed"),
        ({"preset": "fast"}, ConfigError, "'preset' takes paper or default, given 'fast'"),
    ],
)
def test_what_cannot_work_leaves_nothing_behind(
    arguments: dict[str, Any], kind: type[DinosegError], words: str, data: Path, cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words) as caught:
        draw_small(data, tmp_path / "out", cache, **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_error_of_a_run_says_of_which(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*arguments: Any, **keywords: Any) -> None:
        raise RunError("diverged")

    monkeypatch.setattr(jobs_module, "train_run", diverge)
    with pytest.raises(RunError, match=r"^linear, 2 shots, draw 0: diverged$"):
        draw_small(data, tmp_path / "out", cache)


def test_an_older_folder_is_refused_or_replaced(
    drawn: Drawn, data: Path, cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="is not empty; continue with --resume"):
        draw_small(tmp_path / "nowhere", drawn.root, cache)
    root = shutil.copytree(drawn.root, tmp_path / "out")
    (root / ".0123456789ab.tmp-plan.json").write_text("left behind")
    draw_small(data, root, cache, overwrite=True, draws=1, seed=5)
    assert [row["seed"] for row in read_table(root / "draws.csv")] == ["5"]
    assert not (root / "draw-1").exists()
    (root / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"is not empty: .*notes\.txt was not written by dinoseg"):
        draw_small(data, root, cache, overwrite=True)
    (tmp_path / "photos" / "runs").mkdir(parents=True)
    (tmp_path / "photos" / "runs" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"runs/mine\.txt was not written by dinoseg"):
        draw_small(data, tmp_path / "photos", cache, overwrite=True)
    with pytest.raises(OutputError, match=r"holds no series of runs to resume \(no plan\.json\)"):
        draw_small(data, tmp_path / "photos", cache, resume=True)


def test_damage_is_named(drawn: Drawn, data: Path, cache: Path, tmp_path: Path) -> None:
    root = shutil.copytree(drawn.root, tmp_path / "out")
    (root / "draw-0" / "report" / "test" / "summary.json").write_text("{}")
    with pytest.raises(RunError, match=r"draw-0 is damaged .*delete this folder and use --resume"):
        draw_small(data, root, cache, resume=True)
    (root / "plan.json").write_text("{")
    with pytest.raises(RunError, match=r"plan\.json is damaged .*choose another --out"):
        draw_small(data, root, cache, resume=True)


# --- the spread --------------------------------------------------------------------------------------------


def test_interval_of_known_numbers() -> None:
    # Five values with mean 3 and sd sqrt(2.5): 3 ± 2.7764 · 0.70711.
    spread = find_spread([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (spread.draws, spread.mean) == (5, 3.0)
    assert spread.sd == pytest.approx(2.5**0.5)
    assert (spread.low, spread.high) == pytest.approx((1.03676, 4.96324), abs=1e-5)


def test_one_draw_has_no_spread_and_none_no_mean() -> None:
    spread = find_spread([0.7])
    assert spread.mean == 0.7
    assert math.isnan(spread.sd)
    assert math.isnan(spread.low)
    with pytest.raises(UsageError, match="one draw at least"):
        find_spread([])
