"""`Segmenter`: what goes in and comes out, and that a saved model is the same one when it comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dinoseg.backbones import create_backbone
from dinoseg.backbones.extractors import Backbone
from dinoseg.backbones.features import Features
from dinoseg.config import BackboneSettings, PreprocessingSettings, override, to_yaml
from dinoseg.data.case import Image
from dinoseg.errors import ConfigError, RunError
from dinoseg.methods import METHODS, decoder_settings
from dinoseg.methods.assembly import create_decoder
from dinoseg.methods.decoder import Decoder
from dinoseg.model.opening import load
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from tests.backbones.tiny import save_folder, vit_spec
from tests.methods.small import SMALL

# Every method at its smallest.
BINARY = {0: "background", 1: "lesion"}
THREE = {0: "background", 1: "Läsion 😀", 2: "tool"}

each_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def vit() -> Backbone:
    return create_backbone("untrained-vitt16")


def make_model(vit: Backbone, method: str = "linear", classes: dict[int, str] = BINARY) -> Segmenter:
    settings = make_settings("untrained-vitt16", method, classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Segmenter(settings, vit).eval()


def make_settings(backbone: str, method: str = "linear", classes: dict[int, str] = BINARY) -> ModelSettings:
    return ModelSettings(
        backbone=BackboneSettings(name=backbone),
        decoder=decoder_settings(method, **SMALL[method]),
        preprocessing=PreprocessingSettings(size=48),
        classes=classes,
    )


def picture(height: int, width: int, channels: int = 3) -> Image:
    return Image(np.random.default_rng(0).random((channels, height, width), dtype=np.float32))


def logits_of(model: Segmenter) -> torch.Tensor:
    with torch.no_grad():
        return model(model.prepare(picture(30, 70))[None])


def test_every_card_has_a_decoder() -> None:
    assert all(name == card.name for name, card in METHODS.items())
    decoders = [card.load_decoder() for card in METHODS.values()]
    assert len(set(decoders)) == len(decoders)
    assert all(issubclass(decoder, Decoder) for decoder in decoders)
    assert all(entry.title and entry.source for entry in METHODS.values())


@each_method
def test_published_settings_build_the_published_decoder(method: str) -> None:
    decoder = create_decoder(decoder_settings(method), (384,) * 4, 1)
    assert type(decoder) is METHODS[method].load_decoder()
    assert all(weight.requires_grad for weight in decoder.parameters())


@each_method
@pytest.mark.parametrize("classes", [BINARY, THREE], ids=["binary", "three"])
def test_saved_and_loaded_gives_the_same_logits(
    method: str, classes: dict[int, str], vit: Backbone, tmp_path: Path
) -> None:
    model = make_model(vit, method, classes)
    expected = logits_of(model)
    model.save(tmp_path / "model")
    back = load(tmp_path)
    assert expected.shape == (1, model.settings.outputs, 48, 48)
    assert torch.equal(logits_of(back), expected)
    assert back.settings == model.settings
    assert back.classes == classes
    assert not back.training
    assert torch.equal(logits_of(load(tmp_path / "model")), expected)


def test_saved_folder_holds_the_decoder_only(vit: Backbone, tmp_path: Path) -> None:
    model = make_model(vit, "segdino-v2", THREE)
    model.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"decoder.safetensors", "config.json", "README.md"}
    assert load_file(tmp_path / "decoder.safetensors").keys() == model.decoder.state_dict().keys()
    described = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert described["format"] == 1
    assert described["backbone"] == {
        "name": "untrained-vitt16",
        "digest": vit.digest,
        "precision": "float32",
        "mean": list(vit.mean),
        "std": list(vit.std),
        "license": vit.license,
        "source": vit.source,
    }
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    count = sum(weight.numel() for weight in model.decoder.parameters())
    for words in (f"`{vit.license}`", "0 background, 1 Läsion 😀, 2 tool", "48×48 px", f"{count:,} trained"):
        assert words in card
    assert "arXiv 2606.17972" in card
    assert to_yaml(model.settings) in card


def test_saving_keeps_an_older_model_unless_told(vit: Backbone, tmp_path: Path) -> None:
    first, second = make_model(vit), make_model(vit)
    with torch.no_grad():
        second.decoder.classify.bias.fill_(5.0)
    first.save(tmp_path)
    with pytest.raises(Exception, match="exists already"):
        second.save(tmp_path)
    assert torch.equal(logits_of(load(tmp_path)), logits_of(first))
    second.save(tmp_path, overwrite=True)
    assert torch.equal(logits_of(load(tmp_path)), logits_of(second))


def _remove(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _not_json(path: Path) -> None:
    path.write_text("{")


def _edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        value = json.loads(path.read_text(encoding="utf-8"))
        change(value)
        path.write_text(json.dumps(value), encoding="utf-8")

    return edit


def _drop_tensor(path: Path) -> None:
    state = load_file(path)
    del state["classify.bias"]
    save_file(state, path)


def _add_tensor(path: Path) -> None:
    save_file({**load_file(path), "extra": torch.zeros(2)}, path)


def _shrink_tensor(path: Path) -> None:
    state = load_file(path)
    save_file({**state, "classify.weight": state["classify.weight"][:, :5].contiguous()}, path)


CONFIG, TENSORS = "config.json", "decoder.safetensors"


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        (CONFIG, _remove, "holds no model"),
        (TENSORS, _remove, "holds no model"),
        (CONFIG, _not_json, "config.json is damaged"),
        (CONFIG, _empty, "config.json is damaged"),
        (CONFIG, lambda path: path.write_text("[]"), "config.json is damaged"),
        (CONFIG, lambda path: path.write_bytes(b"\xff\xfe"), "config.json is damaged"),
        (CONFIG, _edit(lambda value: value.pop("format")), "config.json is damaged"),
        (CONFIG, _edit(lambda value: value.pop("settings")), "config.json is damaged"),
        (CONFIG, _edit(lambda value: value.pop("backbone")), "config.json is damaged"),
        (CONFIG, _edit(lambda value: value["backbone"].pop("digest")), "config.json is damaged"),
        (CONFIG, _edit(lambda value: value["settings"].update(extra=1)), "'extra' is unknown"),
        (CONFIG, _edit(lambda value: value.update(format=2)), "has format 2, this dinoseg reads 1; upgrade"),
        (CONFIG, _edit(lambda value: value["settings"]["classes"].update({"2": "b"})), "does not fit"),
        (TENSORS, _truncate, "cannot be read"),
        (TENSORS, _empty, "cannot be read"),
        (TENSORS, _drop_tensor, "does not fit .*classify.bias"),
        (TENSORS, _add_tensor, "does not fit .*extra"),
        (TENSORS, _shrink_tensor, "does not fit .*classify.weight"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(
    name: str, damage: Callable[[Path], None], words: str, vit: Backbone, tmp_path: Path
) -> None:
    make_model(vit).save(tmp_path / "model")
    damage(tmp_path / "model" / name)
    with pytest.raises(RunError, match=words) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_folder_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no model .*`dinoseg train DATA --out .*absent`"):
        load(tmp_path / "absent")


def test_another_backbone_is_refused(vit: Backbone, tmp_path: Path) -> None:
    """Neither other weights under the recorded name, nor another network, nor other layers."""
    make_model(vit).save(tmp_path / "run" / "model")
    other = save_folder(tmp_path / "other", vit_spec())
    with pytest.raises(RunError, match=rf"digest {vit.digest[:12]}, given .*--backbone"):
        load(tmp_path / "run", backbone=other)
    path = tmp_path / "run" / "model" / CONFIG
    _edit(lambda value: value["backbone"].update(digest="0" * 64))(path)
    with pytest.raises(RunError, match=rf"untrained-vitt16 with digest 000000000000, .*{vit.digest[:12]}"):
        load(tmp_path / "run")


def test_the_same_weights_with_another_normalisation_are_refused(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "vit", vit_spec())
    make_model(create_backbone(str(folder))).save(tmp_path / "run" / "model")
    processor = {"image_mean": [0.4, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(RunError, match=r"\[0.5, 0.5, 0.5\].*\[0.4, 0.5, 0.5\].*preprocessor_config"):
        load(tmp_path / "run", backbone=folder)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_says_how_many_layers_it_reads(method: str) -> None:
    settings, levels = decoder_settings(method), METHODS[method].load_decoder().levels
    if levels is None:  # any number
        image = torch.zeros(1, 3, 32, 32)  # for those that look at it
        assert create_decoder(settings, [8, 8], 1)(make_features(8, 2), image).shape == (1, 1, 32, 32)
        return
    reads = f"{method} reads {levels} layers"
    with pytest.raises(ConfigError, match=rf"{reads} .* given 2; .*model.backbone.layers"):
        create_decoder(settings, [8, 8], 1)


def make_features(channels: int, levels: int) -> Features:
    return Features(
        tuple(torch.zeros(1, channels, 2, 2) for _ in range(levels)), (16,) * levels, (32, 32), (32, 32)
    )


def test_the_backbone_may_have_moved(tmp_path: Path) -> None:
    first = save_folder(tmp_path / "first", vit_spec())
    backbone = create_backbone(str(first))
    settings = make_settings(str(first))
    model = Segmenter(settings, backbone)
    model.save(tmp_path / "run" / "model")
    second = first.rename(tmp_path / "second")
    assert torch.equal(logits_of(load(tmp_path / "run", backbone=second)), logits_of(model.eval()))


def test_a_backbone_within_the_run_is_found(tmp_path: Path) -> None:
    save_folder(tmp_path / "run" / "backbone", vit_spec())
    model = Segmenter(make_settings("./backbone"), create_backbone(str(tmp_path / "run" / "backbone")))
    model.save(tmp_path / "run" / "model")
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    assert torch.equal(logits_of(load(moved)), logits_of(model.eval()))


@pytest.mark.parametrize("channels", [1, 3])
def test_probabilities_add_up_and_the_mask_is_their_maximum(channels: int, vit: Backbone) -> None:
    model = make_model(vit, classes=BINARY if channels == 1 else THREE)
    logits = 3 * torch.randn(2, channels, 12, 9, generator=torch.Generator().manual_seed(1))
    for size in ((12, 9), (25, 40), (5, 3)):
        probabilities = model.probabilities(logits, size)
        mask = model.mask(logits, size)
        assert probabilities.shape == (2, len(model.classes), *size)
        assert torch.all((probabilities >= 0) & (probabilities <= 1))
        torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, *size))
        assert mask.dtype == torch.uint8
        assert torch.equal(mask.long(), probabilities.argmax(dim=1))
        assert set(mask.unique().tolist()) == set(range(len(model.classes)))


def test_one_channel_is_the_foreground(vit: Backbone) -> None:
    logits = torch.tensor([[[[0.0, 4.0], [-4.0, 0.1]]]])
    model = make_model(vit)
    probabilities = model.probabilities(logits, (2, 2))
    expected = torch.tensor([[0.5, 0.98201], [0.01799, 0.52498]])
    torch.testing.assert_close(probabilities[0, 1], expected, atol=1e-5, rtol=0)
    assert model.mask(logits, (2, 2)).tolist() == [[[0, 1], [0, 1]]]


def test_three_channels_are_a_softmax(vit: Backbone) -> None:
    logits = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1)
    probabilities = make_model(vit, classes=THREE).probabilities(logits, (1, 1))
    torch.testing.assert_close(
        probabilities.flatten(), torch.tensor([0.09003, 0.24473, 0.66524]), atol=1e-5, rtol=0
    )


def test_prepare_resizes_and_normalises(vit: Backbone) -> None:
    model = make_model(vit)
    white = Image(np.ones((3, 20, 50), dtype=np.float32))
    pixels = model.prepare(white)
    assert pixels.shape == (3, *model.size) == (3, 48, 48)
    expected = [(1 - mean) / std for mean, std in zip(vit.mean, vit.std, strict=True)]
    torch.testing.assert_close(pixels.mean(dim=(1, 2)), torch.tensor(expected))
    assert float(pixels.std(dim=(1, 2)).max()) < 1e-5


def test_prepare_at_the_native_size_only_normalises(vit: Backbone) -> None:
    model, image = make_model(vit), picture(20, 50)
    pixels = model.prepare(image, (20, 50))
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (vit.mean, vit.std))
    np.testing.assert_allclose(pixels.numpy(), (image.array - mean) / std, rtol=1e-5, atol=1e-6)
    assert not torch.equal(model.prepare(image)[:, :20], pixels[:, :, :48])


def test_grey_is_the_same_as_three_equal_channels(vit: Backbone) -> None:
    model, grey = make_model(vit), picture(30, 30, channels=1)
    colour = Image(np.repeat(grey.array, 3, axis=0))
    assert torch.equal(model.prepare(grey), model.prepare(colour))


def test_forward_is_backbone_then_decoder(vit: Backbone) -> None:
    for method in METHODS:
        model = make_model(vit, method)
        pixels = model.prepare(picture(33, 41), (33, 41))[None]
        with torch.no_grad():
            logits = model(pixels)
            assert logits.shape == (1, 1, 33, 41)
            assert torch.equal(model.decode(vit(pixels), pixels), logits)


def test_only_the_decoder_learns(vit: Backbone) -> None:
    model = make_model(vit, "segdino-v1").train()
    assert model.decoder.training
    assert not vit.training
    model(model.prepare(picture(48, 48))[None]).sum().backward()
    learning = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert learning == {"decoder"}
    assert not any(weight.requires_grad for weight in vit.parameters())


def test_fresh_weights_come_from_the_seed(vit: Backbone) -> None:
    first, second = make_model(vit, "segdino-v2"), make_model(vit, "segdino-v2")
    assert torch.equal(logits_of(first), logits_of(second))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        third = Segmenter(first.settings, vit).eval()
    assert not torch.equal(logits_of(first), logits_of(third))


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        ("segdino-v1", "features", 12),
        ("segdino-v1", "widths", [8, 8, 8, 12]),
        ("segdino-v1", "upsample", False),
        ("segdino-v2", "width", 32),
        ("segdino-v2", "norm", "batch"),
        ("dino-unet", "features_per_stage", [8, 8, 8, 12]),
        ("dino-unet", "fapm_rank", 12),
        ("dino-unet", "spm_width", 12),
        ("dino-unet", "heads", 2),
        ("dino-unet", "drop_path", 0.0),
        ("dino-unet", "deep_supervision", False),
        ("dino-augseg", "final_width", 12),
        ("dino-augseg", "heads", 2),
        ("guided", "width", 12),
        ("guided", "reach", 0),
        ("guided", "image_widths", [4, 6, 12]),
        ("guided", "image_share", 0.5),
    ],
)
def test_every_decoder_setting_changes_the_decoder(method: str, key: str, value: Any, vit: Backbone) -> None:
    """By its parameters, or by what it computes in training with the same weights."""
    settings = make_model(vit, method).settings
    changed = override(settings, {f"decoder.{key}": value})
    outputs = []
    for each in (settings, changed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = Segmenter(each, vit).train()
            pixels = model.prepare(picture(48, 48))
            pixels = torch.stack([pixels, pixels.flip(1)])  # two images: a norm over the batch shows
            shapes = {name: tuple(weight.shape) for name, weight in model.decoder.named_parameters()}
            torch.manual_seed(1)
            outputs.append((shapes, model(pixels).detach()))
    (shapes, logits), (other_shapes, other_logits) = outputs
    assert shapes != other_shapes or not torch.equal(logits, other_logits)


def test_every_decoder_setting_is_in_the_test_above() -> None:
    marks = test_every_decoder_setting_changes_the_decoder.pytestmark  # type: ignore[attr-defined]
    tested = {(method, key) for method, key, _ in marks[0].args[1]}
    fields = {
        (method, key)
        for method in METHODS
        for key in type(decoder_settings(method)).model_fields
        if key != "method"
    }
    assert tested == fields


def test_equal_models_are_equal_files(vit: Backbone, tmp_path: Path) -> None:
    """safetensors writes several metadata entries in another order each time."""
    for index in range(8):
        make_model(vit).save(tmp_path / str(index))
    for name in ("decoder.safetensors", "config.json", "README.md"):
        assert len({(tmp_path / str(index) / name).read_bytes() for index in range(8)}) == 1
