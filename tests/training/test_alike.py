"""Near duplicates by features: found across splits, named in training and by `data check --backbone`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinoseg.data.splits.alike import AlikeCases, AlikePair, find_alike
from tests.backbones.tiny import Notes
from tests.cli.conftest import (
    Run,
    run,  # noqa: F401 - a fixture
)
from tests.training.folders import make_data, train_small


def test_pairs_of_different_parts_that_are_as_near_as_mirror_images() -> None:
    vectors = {name: np.eye(4, dtype=np.float32)[place] for place, name in enumerate("abc")}
    vectors["d"] = vectors["a"] * 3 + 0.1 * vectors["b"]
    parts = {"a": "train", "b": "train", "c": "val", "d": "val"}
    found = find_alike(vectors, parts, [0.99, 0.995, 1.0])
    assert [(pair.first, pair.second) for pair in found.pairs] == [("a", "d")]
    assert 0.99 < found.limit < 0.992
    assert "1 pair looks nearly the same" in found.describe()
    assert "a (train) and d (val), 0.999" in found.describe()
    assert find_alike(vectors, dict.fromkeys("abcd", "train"), [0.5]).pairs == ()
    assert find_alike(vectors, parts, []).describe() == ""


def test_many_pairs_are_counted() -> None:
    parts = dict.fromkeys(map(str, range(10)), "train")
    pairs = tuple(AlikePair(str(place), str(place + 1), 1.0) for place in range(9))
    assert AlikeCases(0.9, pairs, parts).describe(most=2).endswith("1.000; and 7 more")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A validation image that is a training image, mirrored and a little brighter."""
    folder = make_data(tmp_path_factory.mktemp("alike"))
    train, val = ((folder / "splits" / f"{name}.txt").read_text().split()[0] for name in ("train", "val"))
    array = np.asarray(Image.open(next((folder / "images").glob(f"{train}.*"))))
    path = next((folder / "images").glob(f"{val}.*"))
    Image.fromarray(np.minimum(array[:, ::-1], 253) + 2).save(path)
    return folder


@pytest.mark.usefixtures("quick")
def test_training_names_them(data: Path, tmp_path: Path) -> None:
    notes = Notes()
    train_small(data, tmp_path / "run", tmp_path / "cache", method="linear", progress=notes)
    assert any("nearly the same to the backbone" in line for line in notes.notes)


def test_data_check_names_them_where_a_backbone_is_given(data: Path, run: Run) -> None:  # noqa: F811
    ended = run("data", "check", data, "--backbone", "untrained-vitt16", "--size", "64")
    assert "nearly the same to the backbone" in ended.out
    assert "nearly the same to the backbone" not in run("data", "check", data).out
