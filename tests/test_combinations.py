"""Any method on any backbone, as whole models: what the contract of the decoders cannot see."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dinoseg.backbones import create_backbone
from dinoseg.backbones.catalog import BackboneSpec
from dinoseg.config import BackboneSettings, PreprocessingSettings
from dinoseg.methods import METHODS, decoder_settings
from dinoseg.model.opening import load
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from tests.backbones.tiny import convnext_spec, dinov2_spec, random_images, save_folder, vit_spec
from tests.methods.contract import all_logits
from tests.methods.small import SMALL

KINDS: dict[str, BackboneSpec] = {
    "vit": vit_spec(),
    "dinov2": dinov2_spec(),
    "convnext": convnext_spec([8, 16, 24, 32], [1, 1, 2, 1]),
}
CLASSES = {"vit": 2, "dinov2": 3, "convnext": 9}
SIZE = (75, 50)  # no multiple of 14, 16 or 32

each_method = pytest.mark.parametrize("method", METHODS)
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A backbone folder of every kind, with random weights."""
    root = tmp_path_factory.mktemp("backbones")
    return {kind: str(save_folder(root / kind, spec)) for kind, spec in KINDS.items()}


def make_model(folder: str, method: str, *, classes: int = 2) -> Segmenter:
    settings = ModelSettings(
        backbone=BackboneSettings(name=folder),
        decoder=decoder_settings(method, **SMALL[method]),
        preprocessing=PreprocessingSettings(size=64),
        classes={index: f"class {index}" for index in range(classes)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Segmenter(settings, create_backbone(folder)).eval()


def copy_state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@each_method
@each_kind
def test_a_step_changes_the_decoder_and_never_the_backbone(
    folders: dict[str, str], kind: str, method: str
) -> None:
    model = make_model(folders[kind], method).train()
    assert not any(module.training for module in model.backbone.modules())
    assert not any(weight.requires_grad for weight in model.backbone.parameters())
    frozen, learned = copy_state(model.backbone), copy_state(model.decoder)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pixels = random_images(2, 3, *SIZE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outputs = all_logits(model.decoder, model.backbone(pixels), pixels)
    torch.stack([(logits - 1).square().mean() for logits in outputs]).sum().backward()
    optimizer.step()
    assert all(weight.grad is None for weight in model.backbone.parameters())
    assert all(weight.grad is not None for weight in model.decoder.parameters())
    after = model.backbone.state_dict()
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    assert any(not torch.equal(model.decoder.state_dict()[name], value) for name, value in learned.items())


@each_method
@each_kind
@torch.no_grad()
def test_a_saved_model_comes_back_the_same(
    folders: dict[str, str], kind: str, method: str, tmp_path: Path
) -> None:
    classes, pixels = CLASSES[kind], random_images(2, 3, *SIZE)
    model = make_model(folders[kind], method, classes=classes)
    logits = model(pixels)
    assert logits.shape == (2, model.settings.outputs, *SIZE)
    assert torch.isfinite(logits).all()
    assert torch.equal(model(pixels), logits)
    model.save(tmp_path / "model")
    assert torch.equal(load(tmp_path)(pixels), logits)
