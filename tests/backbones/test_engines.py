"""A backbone that an engine computes gives the features of torch, under a digest of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dinoseg.backbones.engines import EngineBackbone, computed_by, in_torch
from dinoseg.config import BackboneSettings
from dinoseg.errors import UsageError
from tests.backbones.tiny import make_extractor, random_images, vit_spec

pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def torch_backbone():
    return make_extractor(vit_spec(num_hidden_layers=4, hidden_size=16, intermediate_size=16))


def test_an_engine_gives_the_features_of_torch(torch_backbone, home: Path) -> None:
    backbone = EngineBackbone(torch_backbone, "onnxruntime", "float32")
    image = random_images(3, 3, 30, 33)
    expected, found = torch_backbone(image), backbone(image)
    assert (found.size, found.padded, found.strides) == (expected.size, expected.padded, expected.strides)
    for one, other in zip(found.levels, expected.levels, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    grey = EngineBackbone(torch_backbone, "onnxruntime", "float32")(
        image[:1, :1]
    )  # from the graph that is kept
    torch.testing.assert_close(grey.levels[0], torch_backbone(image[:1, :1]).levels[0], rtol=0, atol=1e-5)
    kept = [path.name for path in (home / "dinoseg" / "graphs").iterdir()]
    assert kept == [f"{torch_backbone.identity[:32]}-30x33-opset20.onnx"]


def test_its_features_have_a_key_of_their_own_and_its_decoders_have_not(torch_backbone) -> None:
    pytest.importorskip("openvino")
    made = [
        torch_backbone,
        EngineBackbone(torch_backbone, "onnxruntime", "float32"),
        EngineBackbone(torch_backbone, "openvino", "float32"),
        EngineBackbone(torch_backbone, "openvino", "bfloat16"),
    ]
    assert len({backbone.digest for backbone in made}) == 4
    assert {backbone.identity for backbone in made} == {torch_backbone.identity}


def test_settings_say_what_computes(torch_backbone) -> None:
    plain = BackboneSettings(name="x", precision="bfloat16")
    assert in_torch(plain) == "bfloat16"
    assert computed_by(plain, torch_backbone) is torch_backbone
    other = BackboneSettings(name="x", engine="onnxruntime", precision="bfloat16")
    assert in_torch(other) == "float32"
    with pytest.raises(UsageError, match="onnxruntime computes in float32; precision bfloat16 needs"):
        computed_by(other, torch_backbone)
