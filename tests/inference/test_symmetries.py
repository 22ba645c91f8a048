"""The symmetries of the square: turned back exactly, averaged as the model says, or as is asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dinoseg.backbones.features import Features
from dinoseg.config import Inference, override
from dinoseg.inference import logits, predict, segment_volume
from dinoseg.inference.logits import FromLogits
from dinoseg.inference.results.report import describe_settings, word_settings
from dinoseg.model import voting
from dinoseg.model.ensemble import Ensemble
from dinoseg.model.network import symmetries_of
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.shared import SharedBackbone
from dinoseg.model.symmetries import SYMMETRIES, Symmetry
from tests.inference.models import Threshold, make_glass
from tests.inference.test_slabs import make_model, make_volume

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
EIGHT: list[Callable[[NDArray], NDArray]] = [
    lambda image, turns=turns, mirrored=mirrored: np.rot90(image[:, ::-1] if mirrored else image, turns)
    for mirrored in (False, True)
    for turns in range(4)
]


class Leaning(Threshold):
    """Reads the pixels and leans to a corner: not the same under any symmetry."""

    needs_image = True

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        height, width = image.shape[-2:]
        ramp = torch.linspace(2, -2, width) + torch.linspace(3, -3, height).view(-1, 1)
        return super().decode(features, image) * 0.1 + ramp


def make_leaning(symmetries: int = 1, **changes: object) -> Segmenter:
    model = make_glass(decoder=Leaning)
    model.settings = override(model.settings, {"symmetries": symmetries, **changes})
    return model


def probabilities(model: Segmenter, image: NDArray, **options: object) -> NDArray:
    return predict(model, image, probabilities=True, **options).probabilities


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=lambda each: each.name)
def test_what_is_turned_is_turned_back_exactly_in_torch_and_numpy(symmetry: Symmetry) -> None:
    maps = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(np.float32)
    ours, torchs = logits.turn(maps, symmetry), voting.turn(torch.from_numpy(maps), symmetry)
    assert np.array_equal(ours, torchs.numpy())
    assert ours.shape[-2:] == ((7, 5) if symmetry.transposed else (5, 7))
    assert np.array_equal(logits.turn_back(ours, symmetry), maps)
    assert np.array_equal(voting.turn_back(torchs, symmetry).numpy(), maps)


def test_they_are_eight_and_each_is_what_it_is_called() -> None:
    image = np.arange(12.0).reshape(3, 4)
    turned = {each.name: logits.turn(image, each) for each in SYMMETRIES}
    assert len({(each.shape, each.tobytes()) for each in turned.values()}) == 8
    assert np.array_equal(turned["mirrored left and right"], np.fliplr(image))
    assert np.array_equal(turned["half turn"], np.rot90(image, 2))
    assert np.array_equal(turned["quarter turn clockwise"], np.rot90(image, -1))
    assert np.array_equal(turned["quarter turn counter-clockwise"], np.rot90(image))


@pytest.mark.parametrize("window", [None, 24])
def test_a_leaning_model_turns_with_the_image(window: int | None) -> None:
    model = make_leaning(8)
    found = probabilities(model, IMAGE, window=window)
    for turn in EIGHT:
        turned = probabilities(model, np.ascontiguousarray(turn(IMAGE)), window=window)
        for ours, theirs in zip(found, turned, strict=True):
            np.testing.assert_allclose(turn(ours), theirs, atol=1e-6)
    plain = probabilities(model, IMAGE, window=window, flips=False)
    assert np.abs(plain - found).max() > 0.1


def test_images_that_are_not_square_are_turned_within_the_input_of_the_model() -> None:
    wide = np.random.default_rng(1).integers(0, 256, (20, 44, 3), dtype=np.uint8)
    for count in (4, 8):
        found = probabilities(make_leaning(count), wide)
        mirrored = probabilities(make_leaning(count), np.ascontiguousarray(wide[:, ::-1]))
        np.testing.assert_allclose(found[:, :, ::-1], mirrored, atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 32), (20, 28)])
def test_numpy_and_torch_average_alike(shape: tuple[int, int]) -> None:
    model = make_leaning()
    pixels = np.random.default_rng(2).random((2, 3, *shape), dtype=np.float32)
    for count in (1, 2, 4, 8):
        sides = ("answer", FromLogits(model).answer), ("answer", model.answer)
        ours, torchs = (
            answer(pixels, [(30, 41)] * 2, symmetries=count, probabilities=True) for _, answer in sides
        )
        for one, other in zip(ours, torchs, strict=True):
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


@pytest.mark.parametrize(
    ("own", "flips", "used"),
    [
        *((own, None, own) for own in (1, 2, 4, 8)),
        *((own, False, 1) for own in (1, 8)),
        *((own, True, max(4, own)) for own in (1, 2, 4, 8)),
    ],
)
def test_what_is_asked_for_goes_before_what_the_model_does(own: int, flips: bool | None, used: int) -> None:
    model, how = make_leaning(own), Inference(flips=flips)
    assert symmetries_of(model.settings, how) == used
    predict(model, IMAGE, how=how)
    assert model.backbone.batches == [1] * used
    assert describe_settings(how, model)["symmetries"] == used
    assert word_settings(describe_settings(how, model))["Symmetries"] == str(used)


def test_four_are_the_flips_as_they_always_were() -> None:
    pixels = torch.rand(1, 3, 16, 20)
    wanted = [pixels, *(pixels.flip(axes) for axes in ((-1,), (-2,), (-2, -1)))]
    for symmetry, each in zip(SYMMETRIES[:4], wanted, strict=True):
        assert torch.equal(voting.turn(pixels, symmetry), each)


def test_members_of_an_ensemble_look_under_as_many_as_each_was_made_for() -> None:
    members = [make_leaning(1), make_leaning(8)]
    whole = Ensemble(members, members)
    alone = [probabilities(member, IMAGE) for member in members]
    np.testing.assert_allclose(probabilities(whole, IMAGE), np.mean(alone, axis=0), atol=1e-6)
    assert describe_settings(Inference(), whole)["symmetries"] == [1, 8]
    assert word_settings(describe_settings(Inference(), whole))["Symmetries"] == "1, 8"
    assert describe_settings(Inference(flips=False), whole)["symmetries"] == 1


def test_members_that_share_a_backbone_are_averaged_under_all() -> None:
    members = [make_leaning(8), make_leaning(8)]
    members[1].backbone = members[0].backbone
    members[1].decoder.scale = nn.Parameter(torch.tensor(5.0))
    alone = [probabilities(member, IMAGE) for member in members]
    members[0].backbone.batches.clear()
    found = probabilities(Ensemble(members, [SharedBackbone(members)]), IMAGE)
    np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=1e-6)
    assert members[0].backbone.batches == [1] * 8


def test_slabs_of_volumes_are_turned_whole() -> None:
    model, volume = make_model(1), make_volume()
    model.settings = override(model.settings, {"symmetries": 8})
    found = segment_volume(model, volume).mask
    turned = make_volume()
    turned.array[:] = turned.array[..., ::-1].copy()
    assert (segment_volume(model, turned).mask[..., ::-1] == found).mean() > 0.999
    assert (segment_volume(model, volume, flips=False).mask != found).any()
