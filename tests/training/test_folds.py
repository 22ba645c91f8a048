"""`train_folds()`: every case is left out once and scored by the model that did not see it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import dinoseg.training.series.jobs as jobs_module
from dinoseg.data import open_dataset
from dinoseg.data.splits.folds import resolve_folds
from dinoseg.data.splits.splits import load_splits
from dinoseg.errors import RunError, SplitError, UsageError
from dinoseg.evaluation import choose_postprocessing, evaluate
from dinoseg.model.ensemble import Ensemble, read_ensemble
from dinoseg.model.opening import load
from dinoseg.training import CrossValidation, train, train_folds
from tests.backbones.tiny import Notes
from tests.training.folders import make_data, read_decoder
from tests.training.series import TINY, hurry, stamps

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def fold_small(data: Path, out: Path, cache: Path, **arguments: Any) -> CrossValidation:
    changes = {**TINY, "cache.folder": str(cache), "train.epochs": 2, **arguments.pop("changes", {})}
    wanted = {"method": "linear", "backbone": "untrained-vitt16", "folds": 3, **arguments}
    return train_folds(data, out=out, changes=changes, **wanted)


@dataclass(frozen=True)
class Folded:
    """Three folds that are not to be changed; copy the folder to do so."""

    found: CrossValidation
    root: Path
    notes: list[str]


@pytest.fixture(scope="module")
def folded(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Folded:
    root, notes = tmp_path_factory.mktemp("folds") / "out", Notes()
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        found = fold_small(data, root, cache, progress=notes)
    return Folded(found, root, notes.notes)


def test_every_development_case_is_left_out_once_with_its_group(folded: Folded, data: Path) -> None:
    dataset = open_dataset(data)
    test = {case.id for case in dataset.cases if case.split == "test"}
    folds = [load_splits(folded.root / f"fold_{index}" / "splits.json") for index in range(3)]
    left_out = [id_ for fold in folds for id_ in fold.val]
    assert sorted(left_out) == sorted({case.id for case in dataset.cases} - test)
    group_of = {case.id: case.group for case in dataset.cases}
    for fold in folds:
        assert set(fold.test) == test
        assert {group_of[id_] for id_ in fold.val}.isdisjoint(group_of[id_] for id_ in fold.train)
        assert not test & {*fold.train, *fold.val}
    assert f"3 folds of {len(left_out)} cases, drawn by group" in folded.notes[0]
    assert resolve_folds(dataset, 3, seed=0).folds == tuple(folds)
    assert resolve_folds(dataset, 3, seed=1).folds != tuple(folds)


def test_pooled_scores_are_those_of_the_models_that_did_not_see_the_cases(folded: Folded, data: Path) -> None:
    pooled = evaluate(folded.root, data, split="val")
    alone = [score for fold in folded.found.folds for score in evaluate(fold.run, data, split="val").scores]
    assert list(pooled.scores) == alone
    assert folded.found.dice == pooled.headline.metric("dice").interval
    assert folded.found.report == folded.root / "report" / "val" / "index.html"
    facts = json.loads((folded.root / "report" / "val" / "summary.json").read_text())["facts"]
    assert facts["Split"].startswith("out of fold: every case by the one of 3 models that did not see it")


def test_the_folder_is_one_model_that_knows_what_it_was_trained_on(folded: Folded, data: Path) -> None:
    model = load(folded.root)
    assert isinstance(model, Ensemble)
    assert model.weights == (3,)  # one look of the backbone for all
    assert model.seen is not None
    held = load_splits(folded.root / "fold_0" / "splits.json")
    assert {score.case for score in evaluate(folded.root, data).scores} == set(held.test)
    with pytest.raises(SplitError, match="the model was trained on"):
        evaluate(folded.root, data, split="all")
    with pytest.raises(SplitError, match="the model was trained on"):
        evaluate(model, data, split="test", splits=_swap(folded.root))


def _swap(root: Path) -> Path:
    """Splits that test what fold 0 left out, which the other folds were trained on."""
    fold = load_splits(root / "fold_0" / "splits.json")
    path = root.parent / "swapped.json"
    path.write_text(json.dumps({"train": list(fold.test), "val": [], "test": list(fold.val)}))
    return path


def test_an_interrupted_fold_goes_on_and_equals_an_uninterrupted_one(
    folded: Folded, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "out"
    whole = jobs_module.train_run

    def stop(*arguments: Any, **keywords: Any) -> Any:
        if arguments[3].name == "fold_1":
            monkeypatch.setattr("dinoseg.training.fitting._restore", _interrupt)
        return whole(*arguments, **keywords)

    monkeypatch.setattr(jobs_module, "train_run", stop)
    with pytest.raises(KeyboardInterrupt):
        fold_small(data, root, cache)
    monkeypatch.undo()
    hurry(monkeypatch)
    before = stamps(root / "fold_0")
    found = fold_small(data, root, cache, resume=True)
    assert stamps(root / "fold_0") == before
    assert found.dice == folded.found.dice
    for index in range(3):
        one, other = (read_decoder(place / f"fold_{index}") for place in (root, folded.root))
        assert all(torch.equal(one[name], other[name]) for name in other)


def _interrupt(*arguments: Any, **keywords: Any) -> None:
    raise KeyboardInterrupt


def test_what_is_finished_stays_and_goes_on_as_it_began_or_not_at_all(
    folded: Folded, data: Path, cache: Path
) -> None:
    before = stamps(folded.root)
    assert fold_small(data, folded.root, cache, resume=True).dice == folded.found.dice
    for arguments, words in (
        ({"changes": {"train.lr": 0.5}}, r"was started with train\.lr 0\.001, now 0\.5"),
        ({"folds": 2}, "divides the cases otherwise|was started with folds 3, now 2"),
        ({"seed": 3}, "divides the cases otherwise"),
    ):
        with pytest.raises(RunError, match=words) as caught:
            fold_small(data, folded.root, cache, resume=True, **arguments)
        assert "\n" not in str(caught.value)
    changed = {path for path, stamp in stamps(folded.root).items() if before.get(path) != stamp}
    assert {path.name for path in changed} <= {"plan.json", "splits_final.json", "splits.json"} | {
        ".dinoseg-manifest.jsonl"
    }


def test_postprocessing_is_chosen_out_of_fold_and_kept_with_the_ensemble(
    folded: Folded, data: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(folded.root, tmp_path / "out")
    choice = choose_postprocessing(root, data)
    assert choice.cases == folded.found.cases
    cleans = any(step.steps for step in choice.settings.classes.values())
    assert read_ensemble(root).postprocessing == (choice.settings if cleans else None)


def test_folds_of_nnunet_are_used_as_they_are(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", count=12)
    dataset = open_dataset(data)
    groups = sorted({case.group for case in dataset.cases if case.split != "test"})
    sides = [
        [case.id for case in dataset.cases if case.split != "test" and (case.group in groups[::2]) == side]
        for side in (True, False)
    ]
    path = data / "splits_final.json"
    path.write_text(json.dumps([{"train": sides[0], "val": sides[1]}, {"train": sides[1], "val": sides[0]}]))
    found = resolve_folds(open_dataset(data), 2)
    assert [fold.val for fold in found.folds] == [tuple(sides[1]), tuple(sides[0])]
    assert found.source == path
    assert set(found.folds[0].test) == {case.id for case in dataset.cases if case.split == "test"}
    with pytest.raises(SplitError, match="holds 2 folds, given 5; ask for --folds 2"):
        resolve_folds(open_dataset(data), 5)
    path.write_text(json.dumps([{"train": sides[0], "val": sides[1]}] * 2))
    with pytest.raises(SplitError, match="left out by two folds"):
        resolve_folds(open_dataset(data), 2)


def test_what_makes_no_sense_is_refused_before_anything_is_written(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    for arguments, words in (
        ({"folds": 1}, "2 at least are accepted"),
        ({"shots": 3}, "folds train on all cases but those left out"),
        ({"changes": {"fold": 2}}, "setting 'fold' chooses one of the folds"),
        ({"folds": 50}, "ask for --folds"),
    ):
        with pytest.raises((UsageError, SplitError), match=words):
            fold_small(data, tmp_path / "out", cache, **arguments)
    with pytest.raises(UsageError, match=r"folds belongs to dinoseg\.training\.train_folds"):
        train(data, tmp_path / "out", folds=3)
    assert not (tmp_path / "out").exists()
