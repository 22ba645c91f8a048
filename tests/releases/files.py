"""Checkpoint files of the released programs, made from the parity tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinoseg.backbones.catalog import BackboneSpec
from dinoseg.backbones.folders import write_folder
from dinoseg.backbones.published import load_weights
from dinoseg.methods import METHODS
from tests.backbones.tiny import convnext_spec, read_parity, save_folder
from tests.methods.released import read

METHOD_OF = {
    "segdino_v1_c1": "segdino-v1",
    "segdino_v1_c4": "segdino-v1",
    "segdino_v2_c1_gn": "segdino-v2",
    "segdino_v2_c4_bn": "segdino-v2",
    "dino_unet_c3": "dino-unet",
    "dino_unet_c2_ds": "dino-unet",
    "dino_augseg_c4": "dino-augseg",
}


@dataclass(frozen=True)
class Release:
    """One case: tensors under the released names, an input and the logits (B, K, H, W) that it gave."""

    method: str
    spec: BackboneSpec
    state: dict[str, Tensor]
    pixels: Tensor
    logits: Tensor

    @property
    def prefix(self) -> str:
        """Of the backbone's tensors."""
        return METHODS[self.method].load_decoder().released_backbone

    @property
    def backbone(self) -> dict[str, Tensor]:
        return {
            name.removeprefix(self.prefix): tensor
            for name, tensor in self.state.items()
            if name.startswith(self.prefix)
        }

    @property
    def decoder(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.state.items() if not name.startswith(self.prefix)}

    def save_other_backbone(self, folder: Path) -> str:
        """A backbone folder of the case's architecture, with other weights."""
        return str(save_folder(folder, self.spec))

    def save_same_backbone(self, folder: Path) -> str:
        """A backbone folder with the case's own weights."""
        write_folder(folder, load_weights(self.spec, self.backbone, source="fixture"))
        return str(folder)


def open_release(name: str) -> Release:
    case = read(name)
    spec = convnext_spec([8, 16, 24, 32], [1, 1, 2, 1])
    if "dims" not in case.settings:
        spec = read_parity("dinov3_vit_mlp").spec
    logits = case.outputs.get("logits", case.outputs.get("logits0"))
    assert logits is not None
    return Release(METHOD_OF[name], spec, case.state, case.inputs["pixels"], logits)


def write(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def as_ours(logits: Tensor) -> Tensor:
    """The logits as our model has them: one for two classes."""
    return logits[:, 1:] - logits[:, :1] if logits.shape[1] == 2 else logits
