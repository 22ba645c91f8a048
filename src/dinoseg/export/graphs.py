"""A decoder as a graph: the maps of the backbone, and the image where it is looked at, to logits."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dinoseg.backbones.features import Features
from dinoseg.backbones.graphs import IMAGE, LEVEL, write_graph
from dinoseg.model.segmenter import Segmenter

AROUND = "around_{}"
LOGITS = "logits"


class Decode(nn.Module):
    """A decoder as a function of tensors: the image (if needed), maps, then those of the slices around.

    Args:
        model: whose decoder it is.
        like: features whose geometry all others share.
    """

    def __init__(self, model: Segmenter, like: Features) -> None:
        super().__init__()
        self.decoder = model.decoder
        self.reach = model.reach
        self.geometry = (like.strides, like.size, like.padded)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Logits (B, K, S, S)."""
        image, maps = (tensors[0], tensors[1:]) if self.decoder.needs_image else (None, tensors)
        count = len(maps) // 2 if self.reach else len(maps)
        strides, size, padded = self.geometry
        around = maps[count:] if self.reach else None
        features = Features(maps[:count], strides, size, padded, around=around)
        logits: Tensor = self.decoder(features, image)
        return logits


@torch.no_grad()
def write_decoder(model: Segmenter, path: Path, *, size: int) -> None:
    """Write the decoder of a model as a graph that gives `logits` (B, K, S, S).

    Its inputs are `image` (B, 3, S, S) where the decoder looks at it, the maps `level_0`, `level_1`, ... and,
    for models that read the slices around, `around_0`, ... (B, 2r, C_i, h_i, w_i).

    Args:
        model: on the processor.
        path: the .onnx file.
        size: S, side of the images in pixels.

    Raises:
        OutputError: the file cannot be written.
    """
    image = torch.zeros(2, 3, size, size)
    features = model.backbone(image)
    examples = [image] if model.decoder.needs_image else []
    inputs = [IMAGE] if model.decoder.needs_image else []
    # Copies: two inputs that are one tensor would become one input.
    examples += [level.clone() for level in features.levels]
    inputs += [LEVEL.format(index) for index in range(len(features.levels))]
    if model.reach:
        examples += [maps.clone() for maps in features.with_neighbours(model.reach).around or ()]
        inputs += [AROUND.format(index) for index in range(len(features.levels))]
    write_graph(Decode(model, features), examples, path, inputs=inputs, outputs=[LOGITS])
