"""Several data folders that are learned as one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from dinoseg.config import from_yaml
from dinoseg.data import open_dataset
from dinoseg.data.layouts.joined import name_folders, open_joined
from dinoseg.data.splits.splits import Splits, load_splits, save_splits
from dinoseg.errors import DinosegError, LabelError, LayoutError, RunError, SplitError, UsageError
from dinoseg.evaluation import evaluate
from dinoseg.model.settings import RunSettings
from dinoseg.training import train_draws
from tests.backbones.tiny import Notes
from tests.data.volume_folders import make_acdc
from tests.training.folders import make_data, read_decoder, train_small
from tests.training.test_train import lists_of, make_classes

pytestmark = pytest.mark.usefixtures("quick")

SHORT: dict[str, Any] = {"train.epochs": 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders with the same names of cases; the second keeps no lists of its own."""
    root = tmp_path_factory.mktemp("several")
    made = [make_data(root / "one"), make_data(root / "two", count=9, seed=4)]
    shutil.rmtree(made[1] / "splits")
    return made


@pytest.fixture(scope="module")
def trained(folders: list[Path], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run") / "both"
    train_small(folders, run, cache, changes=SHORT)
    return run


def test_each_folder_keeps_its_splits(folders: list[Path], trained: Path) -> None:
    alone = lists_of(folders[0])
    one, two = (load_splits(trained / "splits" / f"{name}.json") for name in ("one", "two"))
    assert {name: list(ids) for name, ids in one.items()} == alone
    whole = load_splits(trained / "splits.json")
    both = {case.id for case in open_dataset(folders[0]).cases} & {
        case.id for case in open_dataset(folders[1]).cases
    }
    for name, ids in whole.items():
        parts = [("one", dict(one.items())[name]), ("two", dict(two.items())[name])]
        wanted = [f"{folder}/{id_}" if id_ in both else id_ for folder, part in parts for id_ in part]
        assert list(ids) == wanted
    assert all(part for _, part in two.items())  # drawn from the second folder alone


def test_the_run_records_all_folders(folders: list[Path], trained: Path) -> None:
    settings = from_yaml(RunSettings, (trained / "config.yaml").read_text())
    assert settings.folders == tuple(folders)


def test_features_are_those_of_both(folders: list[Path], trained: Path, cache: Path, tmp_path: Path) -> None:
    """The order of folders is that of the cases; a folder more is another model."""
    train_small(folders, tmp_path / "again", cache, changes=SHORT)
    train_small(folders[:1], tmp_path / "list", cache, changes=SHORT)
    train_small(folders[0], tmp_path / "one", cache, changes=SHORT)
    both, again, listed, one = map(
        read_decoder, (trained, tmp_path / "again", tmp_path / "list", tmp_path / "one")
    )
    assert all(torch.equal(both[name], again[name]) for name in both)
    assert all(torch.equal(listed[name], one[name]) for name in one)
    assert not all(torch.equal(both[name], one[name]) for name in one)


@pytest.mark.parametrize("index", [0, 1])
def test_one_folder_is_scored_with_its_own_split(index: int, folders: list[Path], trained: Path) -> None:
    found = evaluate(trained, folders[index], split="test")
    wanted = load_splits(trained / "splits" / f"{folders[index].name}.json").test
    assert {score.case for score in found.scores} == set(wanted)
    assert not found.failures


def test_a_folder_that_may_be_either_is_asked_for(folders: list[Path], trained: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(folders[0], tmp_path / "elsewhere")
    with pytest.raises(SplitError, match=r"may be any of the 2 folders .*--splits .*one\.json"):
        evaluate(trained, moved, split="test")
    found = evaluate(trained, moved, split="test", splits=trained / "splits" / "one.json")
    assert {score.case for score in found.scores} == {*lists_of(folders[0])["test"]}


def test_a_resumed_run_has_the_same_folders(
    folders: list[Path], trained: Path, cache: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    more: dict[str, Any] = {"changes": {"train.epochs": 2}, "resume": True}
    with pytest.raises(RunError, match="was started with data="):
        train_small(folders[0], run, cache, **more)
    train_small(folders, run, cache, **more)


def test_a_beginning_has_learned_cases_of_a_folder(
    folders: list[Path], trained: Path, cache: Path, tmp_path: Path
) -> None:
    """Whether they are called by their own names, or by those of the whole."""
    learned = load_splits(trained / "splits" / "two.json").train
    swapped = load_splits(trained / "splits" / "two.json")
    path = tmp_path / "s.json"
    save_splits(path, Splits(swapped.test, learned, swapped.val, None, "group"))
    with pytest.raises(SplitError, match=rf"both was trained on {len(learned)} of the cases"):
        train_small(folders[1], tmp_path / "run", cache, changes=SHORT, init=trained, splits=path)
    other = shutil.copytree(folders[1], tmp_path / "third")
    train_small(other, tmp_path / "run", cache, changes=SHORT, init=trained, splits=path)


def test_masks_may_hold_other_values(folders: list[Path], cache: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folders[1], tmp_path / "ones")
    for path in (other / "masks").iterdir():
        values = np.asarray(PillowImage.open(path).convert("L"))
        PillowImage.fromarray((values > 0).astype(np.uint8)).save(path)
    declared = (other / "dataset.yaml").read_text()
    (other / "dataset.yaml").write_text(declared.replace("255", "1"))
    joined = open_joined([folders[0], other])
    assert set(joined.labels.table) == {0, 1, 255}
    train_small([folders[0], other], tmp_path / "a", cache, changes=SHORT)
    again = shutil.copytree(folders[1], tmp_path / "again" / "ones")
    train_small([folders[0], again], tmp_path / "b", cache, changes=SHORT)
    first, second = read_decoder(tmp_path / "a"), read_decoder(tmp_path / "b")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_value_with_two_meanings_is_refused(tmp_path: Path) -> None:
    """The same classes, by other numbers."""
    made = []
    for name, values in (("a", "{0: 0, 1: 1, 2: 2}"), ("b", "{0: 0, 1: 2, 2: 1}")):
        made.append(make_classes(tmp_path / name, count=3))
        declared = f"classes: {{0: background, 1: bright, 2: dark}}\nvalues: {values}\n"
        (made[-1] / "dataset.yaml").write_text(declared)
    with pytest.raises(
        LabelError, match=r"a and .*b are stored in different ways, .*declare the same labels"
    ):
        open_joined(made)


def test_images_and_volumes_are_not_mixed(folders: list[Path], tmp_path: Path) -> None:
    volumes = make_acdc(tmp_path / "volumes")
    with pytest.raises(LayoutError, match=r"one holds images and .*volumes volumes; train on one kind"):
        open_joined([folders[0], volumes])


def test_what_does_not_fit_together_is_one_line(folders: list[Path], cache: Path, tmp_path: Path) -> None:
    classes = make_classes(tmp_path / "classes")
    leaking = shutil.copytree(folders[0], tmp_path / "leaking")
    names = lists_of(leaking)
    for name, ids in (("train", names["test"]), ("test", names["train"])):
        (leaking / "splits" / f"{name}.txt").write_text("\n".join(ids) + "\n")
    cases: list[tuple[list[Path], type[DinosegError], str]] = [
        ([folders[0], classes], LabelError, "has the classes .*; declare the same classes"),
        ([folders[0], folders[0] / ".." / "one"], UsageError, "one is given twice as data"),
        ([], UsageError, "data names no folder"),
        ([folders[0], leaking], SplitError, "the splits leak: .* is the image of"),
        ([folders[0], tmp_path / "nowhere"], LayoutError, "nowhere"),
    ]
    for given, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            train_small(given, tmp_path / "run", cache)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_what_takes_one_folder_says_so(folders: list[Path], cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="draws and curves take one data folder"):
        train_draws(folders, tmp_path / "run", 2, shots=1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="several data folders have several"):
        train_small(folders, tmp_path / "run", cache, shots=2, shots_from="first")


def test_groups_of_two_folders_are_not_one(folders: list[Path]) -> None:
    notes = Notes()
    joined = open_joined(folders, notes)
    assert len({case.group for case in joined.cases}) == sum(
        len({case.group for case in open_dataset(folder).cases}) for folder in folders
    )
    assert any("groups are in more than one folder" in note for note in notes.notes)


def test_folders_have_names_of_their_own() -> None:
    assert name_folders([Path("/x/a"), Path("/y/b.csv")]) == ["a", "b"]
    assert name_folders([Path("/x/data"), Path("/y/data")]) == ["x-data", "y-data"]
