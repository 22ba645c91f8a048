"""Several models as one: the answer is the mean of the members' own, however they are applied."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.errors import OutputError, RunError, UsageError
from dinoseg.inference import predict, segment_volume
from dinoseg.model.assembling import make_ensemble
from dinoseg.model.ensemble import Ensemble
from dinoseg.model.network import find_reach
from dinoseg.model.opening import load
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.shared import SharedBackbone
from tests.backbones.tiny import Notes
from tests.inference.models import make_glass
from tests.inference.test_slabs import make_model, make_volume
from tests.methods.small import SMALL

IMAGE = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)


def make_member(method: str, *, size: int = 32, seed: int = 0) -> Segmenter:
    from tests.inference.models import make_vit

    model = make_vit(method, size=size, **SMALL[method])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in model.decoder.parameters():
                weight.normal_(std=0.2)
    return model.eval()


@pytest.fixture(scope="module")
def members() -> list[Segmenter]:
    alike = [make_member("linear", seed=1), make_member("segdino-v1", seed=2)]
    alike[1].backbone = alike[0].backbone
    return [*alike, make_member("linear", size=48, seed=3)]


@pytest.fixture(scope="module")
def runs(members: list[Segmenter], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("members")
    for index, member in enumerate(members):
        member.save(root / str(index) / "model")
    return [root / str(index) for index in range(len(members))]


@pytest.mark.parametrize("options", [{}, {"flips": True}, {"window": 40}, {"window": 32, "flips": True}])
def test_probabilities_are_the_mean_of_those_of_all_members(
    options: dict[str, Any], members: list[Segmenter]
) -> None:
    whole = Ensemble(members, [SharedBackbone(members[:2]), members[2]])
    found = predict(whole, IMAGE, probabilities=True, **options)
    alone = [predict(member, IMAGE, probabilities=True, **options).probabilities for member in members]
    assert np.abs(found.probabilities - np.mean(alone, axis=0)).max() < 1e-6
    assert (found.mask == found.probabilities.argmax(axis=0)).mean() > 0.999
    assert (predict(whole, IMAGE, **options).mask == found.mask).all()
    assert whole.weights == (2, 1)


def test_members_that_see_images_alike_look_once() -> None:
    one, two = make_glass(), make_glass()
    two.backbone = one.backbone
    predict(Ensemble([one, two], [SharedBackbone([one, two])]), IMAGE)
    assert one.backbone.batches == [1]


def test_logits_are_those_of_the_averaged_probabilities(members: list[Segmenter]) -> None:
    shared = SharedBackbone(members[:2])
    pixels = np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)
    logits = Ensemble(members[:2], [shared]).logits(pixels)
    (answer,) = shared.answer(pixels, [(32, 32)], probabilities=True)
    scores = np.exp(logits[0]) / np.exp(logits[0]).sum(axis=0)
    assert np.abs(scores - answer.probabilities).max() < 1e-5
    with pytest.raises(UsageError, match="see images differently"):
        Ensemble(members, [shared, members[2]]).logits(pixels)


def test_members_may_read_different_numbers_of_slices() -> None:
    near, far = make_model(1), make_model(2)
    far.backbone = near.backbone
    whole = Ensemble([near, far], [SharedBackbone([near, far])])
    assert find_reach(whole) == 2
    volume = make_volume()
    few, many = (segment_volume(whole, volume, batch_size=size).mask for size in (2, 20))
    assert (few == many).mean() > 0.999
    assert (few != segment_volume(near, volume).mask).any()


def test_a_folder_of_copies_is_one_model_that_can_be_moved(
    runs: list[Path], members: list[Segmenter], tmp_path: Path
) -> None:
    made = make_ensemble(runs, tmp_path / "made")
    assert len(made.members) == 3
    moved = (tmp_path / "made").rename(tmp_path / "moved")
    model = load(moved)
    assert isinstance(model, Ensemble)
    assert model.weights == (2, 1)
    found = predict(model, IMAGE, probabilities=True).probabilities
    alone = [predict(member, IMAGE, probabilities=True).probabilities for member in members]
    assert np.abs(found - np.mean(alone, axis=0)).max() < 1e-6
    described = model.describe()
    assert described["method"] == "ensemble of 3: linear, segdino-v1"
    assert len({member["decoder_digest"] for member in described["members"]}) == 3
    with pytest.raises(OutputError, match="not empty"):
        make_ensemble(runs[:2], moved)
    make_ensemble(runs[:2], moved, overwrite=True)
    assert not (moved / "members" / "2").exists()


def test_what_cannot_be_averaged_is_one_line(runs: list[Path], tmp_path: Path) -> None:
    make_glass().save(tmp_path / "binary" / "model")
    for given, words in (
        ([runs[0], tmp_path / "binary"], "equal classes, given"),
        ([runs[0], runs[0]], "holds the same decoder as"),
        ([runs[0]], "1 model; an ensemble averages two at least"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            make_ensemble(given, tmp_path / "out")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_member_that_was_changed_is_noticed(runs: list[Path], tmp_path: Path) -> None:
    make_ensemble(runs[:2], tmp_path / "made")
    shutil.copy(
        runs[2] / "model" / "decoder.safetensors",
        tmp_path / "made" / "members" / "0" / "model" / "decoder.safetensors",
    )
    with pytest.raises(RunError, match="holds another decoder than when the ensemble was made"):
        load(tmp_path / "made")
    path = tmp_path / "made" / "ensemble.json"
    document = json.loads(path.read_text())
    for wrong in ({"folder": "../../elsewhere", "digest": ""}, None):
        document["members"][0] = wrong
        path.write_text(json.dumps(document))
        with pytest.raises(RunError, match=r"ensemble\.json is damaged"):
            load(tmp_path / "made")


def test_what_members_were_trained_on_and_do_to_masks_comes_along(runs: list[Path], tmp_path: Path) -> None:
    copies = [shutil.copytree(run, tmp_path / run.name) for run in runs[:2]]
    save_splits(copies[0] / "splits.json", Splits(("a",), ("b",), ("c",), 0, "case"))
    config = copies[0] / "model" / "config.json"
    steps = {"dimensions": 2, "unit": "px", "classes": {"1": {"fill_holes": True}}}
    config.write_text(json.dumps({**json.loads(config.read_text()), "postprocessing": steps}))
    notes = Notes()
    made = make_ensemble(copies, tmp_path / "made", progress=notes)
    assert (tmp_path / "made" / "members" / "0" / "splits.json").is_file()
    assert made.postprocessing is None
    assert "the members clean masks differently" in notes.notes[0]
