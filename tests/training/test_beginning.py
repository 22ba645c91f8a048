"""A run that begins with the decoder of another."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dinoseg.config import from_yaml
from dinoseg.data.splits.splits import load_splits
from dinoseg.errors import RunError, SplitError
from dinoseg.model.settings import RunSettings
from tests.backbones.tiny import Notes
from tests.training.conftest import Finished
from tests.training.folders import make_data, read_decoder, train_small
from tests.training.test_train import lists_of, make_classes, rewrite_splits

pytestmark = pytest.mark.usefixtures("quick")

#: So little that a decoder stays where it began.
STILL: dict[str, Any] = {"train.lr": 1e-12, "train.weight_decay": 0.0, "train.epochs": 1}


def test_the_decoder_is_that_of_the_other_run(
    finished: Finished, data: Path, cache: Path, tmp_path: Path
) -> None:
    notes = Notes()
    train_small(data, tmp_path / "run", cache, changes=STILL, init=finished.root, seed=0, progress=notes)
    begun, before = read_decoder(tmp_path / "run"), read_decoder(finished.root)
    assert all(torch.allclose(begun[name], before[name], atol=1e-7) for name in before)
    assert f"the decoder begins as that of {finished.root}" in notes.notes
    assert from_yaml(RunSettings, (tmp_path / "run" / "config.yaml").read_text()).init == finished.root
    train_small(data, tmp_path / "without", cache, changes=STILL)
    without = read_decoder(tmp_path / "without")
    assert not all(torch.allclose(without[name], before[name], atol=1e-7) for name in before)


def test_a_model_folder_of_its_own_will_do(
    finished: Finished, data: Path, cache: Path, tmp_path: Path
) -> None:
    """As somebody copied it; nothing is known of the cases that it was trained on."""
    shutil.copytree(finished.root / "model", tmp_path / "copied")
    train_small(data, tmp_path / "run", cache, changes=STILL, init=tmp_path / "copied")
    begun, before = read_decoder(tmp_path / "run"), read_decoder(finished.root)
    assert all(torch.allclose(begun[name], before[name], atol=1e-7) for name in before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "linear"}, r"it has method segdino-v2, this run linear; give both the same, or leave"),
        ({"changes": {"model.decoder.width": 8}}, r"it has model\.decoder\.width 16, this run 8"),
        ({"changes": {"model.backbone.layers": [1, 2, 3, 4]}}, r"layers None, this run \(1, 2, 3, 4\)"),
    ],
)
def test_another_decoder_is_refused_by_what_differs(
    arguments: dict[str, Any], message: str, finished: Finished, data: Path, cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=f"^the decoder of .*finished does not fit this run: .*{message}"):
        train_small(data, tmp_path / "run", cache, init=finished.root, **arguments)
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_is_refused(data: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere holds no model"):
        train_small(data, tmp_path / "run", cache, init=tmp_path / "nowhere")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["linear", "segdino-v2", "segdino-v1"])
def test_a_classifier_of_other_classes_begins_anew(
    method: str, data: Path, cache: Path, tmp_path: Path
) -> None:
    notes, other = Notes(), make_classes(tmp_path / "data")
    train_small(data, tmp_path / "first", cache, method=method, changes=STILL)
    arguments: dict[str, Any] = {"method": method, "changes": STILL, "seed": 1}
    train_small(other, tmp_path / "run", cache, init=tmp_path / "first", progress=notes, **arguments)
    train_small(other, tmp_path / "fresh", cache, **arguments)
    begun, before, fresh = (read_decoder(tmp_path / name) for name in ("run", "first", "fresh"))
    new = [name for name in before if before[name].shape != begun[name].shape]
    assert 1 <= len(new) <= 2
    for name in begun:
        wanted = fresh if name in new else before
        assert torch.allclose(begun[name], wanted[name], atol=1e-7), name
    (told,) = [note for note in notes.notes if note.startswith("the decoder begins")]
    assert f"but for {', '.join(new)}, which are new: it has the classes background, lesion, the data" in told


def test_other_names_of_as_many_classes_are_told(finished: Finished, tmp_path: Path, cache: Path) -> None:
    notes, other = Notes(), make_data(tmp_path / "data", seed=5)
    text = (other / "dataset.yaml").read_text() if (other / "dataset.yaml").is_file() else ""
    assert "lesion" in text
    (other / "dataset.yaml").write_text(text.replace("lesion", "polyp"))
    train_small(other, tmp_path / "run", cache, changes=STILL, init=finished.root, progress=notes)
    assert any(
        "whose classes background, lesion are here, in this order, background, polyp" in note
        for note in notes.notes
    )


def test_cases_that_the_other_run_learned_are_not_tested(
    finished: Finished, data: Path, cache: Path, tmp_path: Path
) -> None:
    """Not through a chain of beginnings either."""
    splits = load_splits(finished.root / "splits.json")
    train_small(data, tmp_path / "second", cache, changes=STILL, init=finished.root, shots=1)
    mixed = rewrite_splits(tmp_path / "s.json", train=splits.val, val=splits.train[:1], test=splits.test)
    for start in (finished.root, tmp_path / "second"):
        with pytest.raises(
            SplitError, match=rf"finished was trained on 1 of .*'{splits.train[0]}'; use its splits"
        ):
            train_small(data, tmp_path / "run", cache, changes=STILL, init=start, splits=mixed)
    assert not (tmp_path / "run").exists()


def test_other_data_may_have_the_same_names(finished: Finished, cache: Path, tmp_path: Path) -> None:
    other = make_data(tmp_path / "data", seed=9)
    names = lists_of(other)
    mixed = rewrite_splits(tmp_path / "s.json", train=names["test"], val=names["train"], test=names["val"])
    assert {*names["train"]} & {*load_splits(finished.root / "splits.json").train}
    train_small(other, tmp_path / "run", cache, changes=STILL, init=finished.root, splits=mixed)
    assert (tmp_path / "run" / "model").is_dir()


def test_resuming_needs_the_same_beginning_and_no_longer_its_weights(
    finished: Finished, data: Path, cache: Path, tmp_path: Path
) -> None:
    first = shutil.copytree(finished.root, tmp_path / "first")
    changes = {"train.schedule": "constant"}
    train_small(data, tmp_path / "run", cache, changes=changes, init=first)
    more = {**changes, "train.epochs": 3}
    with pytest.raises(RunError, match=r"was started with init=.*first\", now null"):
        train_small(data, tmp_path / "run", cache, changes=more, resume=True)
    with pytest.raises(RunError, match=r"was started with init=.*first\", now .*finished"):
        train_small(data, tmp_path / "run", cache, changes=more, resume=True, init=finished.root)
    train_small(data, tmp_path / "whole", cache, changes=more, init=first)
    shutil.rmtree(first)
    train_small(data, tmp_path / "run", cache, changes=more, resume=True, init=first)
    resumed, whole = read_decoder(tmp_path / "run"), read_decoder(tmp_path / "whole")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
