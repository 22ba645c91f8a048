from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dinoseg.backbones import create_backbone
from dinoseg.backbones.extractors import Extractor
from dinoseg.backbones.tensor_files import read_tensors
from dinoseg.errors import UsageError, WeightsError
from tests.backbones.oracle import build_oracle, save_pretrained, take_weights
from tests.backbones.tiny import (
    Notes,
    convnext_spec,
    dinov2_spec,
    random_images,
    save_folder,
    vit_spec,
)

SPECS = {
    "dinov3_vit": vit_spec(),
    "dinov3_convnext": convnext_spec(),
    "dinov2": dinov2_spec(),
    "dinov2_registers": dinov2_spec("dinov2_registers"),
}


@pytest.mark.parametrize("family", SPECS)
def test_folder_of_every_type(family: str, tmp_path: Path) -> None:
    spec = SPECS[family]
    backbone = create_backbone(save_folder(tmp_path / "my-backbone", spec))
    assert backbone.name == "my-backbone"
    assert backbone.spec.family == family
    assert (backbone.channels, backbone.strides, backbone.stride) == (
        spec.channels,
        spec.strides,
        spec.stride,
    )
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert backbone.license == "unstated"
    assert backbone.source == f"folder {tmp_path / 'my-backbone'}"
    assert backbone.spec.parameters == sum(weight.numel() for weight in build_oracle(spec).parameters())
    assert backbone(random_images(1, 3, 20, 20)).levels[0].shape[1] == spec.channels[0]


def test_twelve_blocks_are_tapped_at_the_quarters(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "deep", dinov2_spec(num_hidden_layers=12))
    assert create_backbone(folder).layers == (2, 5, 8, 11)
    assert create_backbone(folder, layers=(1, 10)).layers == (1, 10)


def test_a_name_in_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_folder(tmp_path / "mine", vit_spec())
    monkeypatch.chdir(tmp_path)
    assert create_backbone("mine").name == create_backbone("./mine").name == "mine"


def test_a_backbone_class_folder_and_stated_licence(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "stated", dinov2_spec())
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["Dinov2Backbone"]
    (folder / "config.json").write_text(json.dumps({**config, "out_features": ["stage4"]}))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- x\n---\n# Text\n")
    assert create_backbone(folder).license == "apache-2.0"


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "bare", vit_spec())
    (folder / "preprocessor_config.json").unlink()
    notes = Notes()
    backbone = create_backbone(folder, progress=notes)
    assert backbone.mean == (0.485, 0.456, 0.406)
    assert any("ImageNet's mean and std are assumed" in note for note in notes.notes)
    assert any("the DINOv3 License applies" in note for note in notes.notes)


def test_weights_split_over_several_files(tmp_path: Path) -> None:
    spec = vit_spec()
    folder = tmp_path / "split"
    oracle = build_oracle(spec)
    save_pretrained(folder, oracle, max_shard_size="60KB")
    assert (folder / "model.safetensors.index.json").is_file()
    split = create_backbone(folder)
    assert split.digest == Extractor(take_weights(oracle, spec), spec, source="test").digest
    next(iter(folder.glob("model-*.safetensors"))).unlink()
    with pytest.raises(WeightsError, match="does not exist"):
        create_backbone(folder)


def test_missing_folder() -> None:
    with pytest.raises(WeightsError, match="is no folder"):
        create_backbone("./nowhere")
    with pytest.raises(WeightsError, match="is no folder"):
        create_backbone(Path("nowhere"))


def test_weights_do_not_go_with_a_folder(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "mine", vit_spec())
    with pytest.raises(UsageError, match="catalog name only"):
        create_backbone(folder, weights=tmp_path / "x.pth")


CONFIG_CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "vit"}, "of type 'vit'; accepted are dinov3_vit"),
    ({"model_type": None}, "of type 'None'"),
    ({"hidden_size": "wide"}, "config.json is not accepted"),
    ({"hidden_size": 48}, "another shape"),
    ({"num_hidden_layers": 5}, "missing"),
    ({"num_hidden_layers": 3}, "unexpected"),
    ({"num_channels": 4}, "takes 4 channels"),
    ({"patch_size": [16, 8]}, "accepted are square ones"),
    ({"use_gated_mlp": True}, "missing"),
]


@pytest.mark.parametrize(("changes", "message"), CONFIG_CHANGES)
def test_configurations_that_do_not_fit(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "mine", vit_spec())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(WeightsError, match=message) as caught:
        create_backbone(folder)
    assert "\n" not in str(caught.value)


def damage(path: Path, content: bytes | None) -> None:
    path.unlink() if content is None else path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "does not exist"),
        ("config.json", b"{", "cannot be read"),
        ("config.json", b"[]", "holds no settings"),
        ("config.json", b"\xff\xfe\x00", "cannot be read"),
        ("model.safetensors", None, "has no model.safetensors"),
        ("model.safetensors", b"", "damaged"),
        ("model.safetensors", b"not tensors at all", "damaged"),
        ("preprocessor_config.json", b"{}", "no image_mean of three numbers"),
        ("preprocessor_config.json", b'{"image_mean": [0, 0, 0], "image_std": [1, 1, 0]}', "above 0"),
        ("preprocessor_config.json", b'{"image_mean": [0.5], "image_std": [1]}', "three numbers"),
    ],
)
def test_damaged_folders(file: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "mine", vit_spec())
    damage(folder / file, content)
    with pytest.raises(WeightsError, match=message) as caught:
        create_backbone(folder)
    assert "\n" not in str(caught.value)


def test_truncated_safetensors(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "mine", vit_spec())
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"damaged .*; fetch it again"):
        create_backbone(folder)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("was-run"),))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pth_that_holds_code_is_refused_and_not_run(
    legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"cls_token": torch.zeros(1), "x": Hostile()}
    torch.save(content, "evil.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match="holds more than tensors") as caught:
        read_tensors(tmp_path / "evil.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"model": {"a": torch.zeros(1)}}, torch.zeros(3)])
def test_a_pth_that_is_no_table_of_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match="no table of tensors"):
        read_tensors(tmp_path / "odd.pth")


@pytest.mark.parametrize(("name", "content"), [("a.pth", b""), ("a.pth", b"PK\x03\x04"), ("a.pt", b"text")])
def test_damaged_pth(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        read_tensors(tmp_path / name)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"accepted are \.safetensors and Meta's \.pth"):
        read_tensors(tmp_path / "a.bin")
    with pytest.raises(WeightsError, match="does not exist"):
        read_tensors(tmp_path / "b.pth")


@pytest.mark.parametrize("size", [(224, 224), (33, 47), (1, 1)])
def test_the_real_local_folder(shared: Path, size: tuple[int, int]) -> None:
    folder = shared / "weights" / "vit-tiny-in1k"
    if not folder.is_dir():
        pytest.skip("needs ../shared/weights/vit-tiny-in1k, which is not there")
    backbone = create_backbone(folder)
    assert (backbone.layers, backbone.channels, backbone.stride) == ((2, 5, 8, 11), (192,) * 4, 16)
    assert (backbone.mean, backbone.std) == ((0.5,) * 3, (0.5,) * 3)
    features = backbone(random_images(1, 3, *size))
    assert features.padded == tuple(-(-side // 16) * 16 for side in size)
    assert torch.isfinite(features.levels[-1]).all()
