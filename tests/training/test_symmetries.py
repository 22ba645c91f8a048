"""A model is averaged over the symmetries that its training shows, unless a person says how many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dinoseg.config import from_yaml, override, to_yaml
from dinoseg.config.training import Training
from dinoseg.data import Dataset, open_dataset
from dinoseg.errors import ConfigError, RunError
from dinoseg.methods import METHODS, find_method
from dinoseg.model.settings import RunSettings
from dinoseg.training.runs.composition import compose_settings, shown_symmetries
from dinoseg.training.runs.run_folder import RunFolder
from tests.training.folders import make_data
from tests.training.test_run_folder import make_settings

AUGMENTATION = "train.augmentation"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(make_data(tmp_path_factory.mktemp("few") / "data", count=8))


def compose(dataset: Dataset, method: str = "guided", preset: str = "default", **changes: Any) -> int:
    how = Training(method=method, backbone="untrained-vitt16", preset=preset, changes=changes)
    return compose_settings(dataset, [dataset.root], how).model.symmetries


def test_ours_has_eight_and_published_methods_have_one(dataset: Dataset) -> None:
    assert {name: find_method(name).symmetries for name in METHODS.ours} == {
        name: 8 if name == "guided" else 1 for name in METHODS.ours
    }
    assert compose(dataset) == compose(dataset, preset="paper") == 8
    assert compose(dataset, "linear") == compose(dataset, "segdino-v1", preset="paper") == 1


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({f"{AUGMENTATION}.rotation": 45.0}, 8),
        ({f"{AUGMENTATION}.rotation": 44.0}, 4),
        ({f"{AUGMENTATION}.rotation_probability": 0}, 4),
        ({f"{AUGMENTATION}.vertical_flip": 0}, 2),
        ({f"{AUGMENTATION}.horizontal_flip": 0}, 1),
        ({f"{AUGMENTATION}.horizontal_flip": 0, f"{AUGMENTATION}.vertical_flip": 0}, 1),
        ({AUGMENTATION: None, "train.views": 1, "train.min_bank": 0}, 1),
        ({"train.views": 1, "train.min_bank": 0}, 1),
        ({"train.views": 1}, 8),  # min_bank asks for more
    ],
)
def test_it_is_no_more_than_the_training_shows(dataset: Dataset, changes: dict[str, Any], shown: int) -> None:
    assert compose(dataset, **changes) == shown


def test_volumes_lie_alike_and_are_not_seen_on_their_side(dataset: Dataset) -> None:
    how = Training(method="guided", backbone="untrained-vitt16")
    settings = compose_settings(dataset, [dataset.root], how)
    volumes = override(settings, {"model.preprocessing.intensity": {"kind": "percentiles"}})
    assert (shown_symmetries(settings), shown_symmetries(volumes)) == (8, 4)


def test_what_a_person_says_is_done(dataset: Dataset) -> None:
    for count in (1, 2, 4, 8):
        assert compose(dataset, "linear", **{"model.symmetries": count}) == count
    unseen = {f"{AUGMENTATION}.horizontal_flip": 0, "model.symmetries": 8}
    assert compose(dataset, **unseen) == 8
    with pytest.raises(ConfigError, match=r"'model\.symmetries': Input should be 1, 2, 4 or 8"):
        compose(dataset, **{"model.symmetries": 3})


def test_a_run_that_was_begun_before_there_were_any_goes_on(tmp_path: Path) -> None:
    changes = {"model.symmetries": 8, "model.decision": "dice"}
    eight, folder = make_settings(**changes), RunFolder(tmp_path / "run")
    folder.open(eight, resume=False, overwrite=False)
    text = to_yaml(eight).replace("  symmetries: 8\n", "")
    folder.config.write_text(text, encoding="utf-8")
    assert from_yaml(RunSettings, text).model.symmetries == 1
    folder.open(eight, resume=True, overwrite=False)
    assert folder.read_config() == eight
    with pytest.raises(RunError, match=r"was started with model\.symmetries=8, now 1"):
        folder.open(override(eight, {"model.symmetries": 1}), resume=True, overwrite=False)
