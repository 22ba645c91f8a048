"""From modules of torch to graphs of ONNX: standard operators only, of one size and any batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dinoseg.backbones.backbone import Backbone
from dinoseg.extras import require
from dinoseg.outputs import atomic_path
from dinoseg.streams import ignoring_warnings

OPSET = 20
"""Version of the standard operators; 20 is the first with GELU and a GridSample that trains."""

BATCH = 4096  # images at once, at most
BATCH_NAME = "batch"
IMAGE = "image"  # name of the input
LEVEL = "level_{}"  # of the maps, counted from 0
_LARGE = 2**31 - 2**24  # bytes of weights that one file of ONNX cannot hold: they get a file beside it


class Maps(nn.Module):
    """A backbone as a function of tensors: (B, 3, H, W) to its maps, shallow to deep."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, C_i, h_i, w_i)."""
        features = self.backbone(image)
        return features.levels


def write_backbone(backbone: Backbone, path: Path, *, size: tuple[int, int]) -> None:
    """Write a backbone as a graph: `image` (B, 3, H, W), normalised, to `level_0`, `level_1`, ...

    Args:
        backbone: frozen, on the processor, in float32.
        path: the .onnx file.
        size: (H, W) of the images in pixels.

    Raises:
        OutputError: the file cannot be written.
        DinosegError: the libraries of the extra `export` are not installed.
    """
    outputs = [LEVEL.format(index) for index in range(len(backbone.channels))]
    image = torch.zeros(2, 3, *size)
    write_graph(Maps(backbone), [image], path, inputs=[IMAGE], outputs=outputs)


@torch.no_grad()
def write_graph(
    module: nn.Module,
    examples: Sequence[Tensor],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    """Write a module as a graph of ONNX.

    Args:
        module: a function of tensors with a batch first; what it gives has that batch first as well.
        examples: tensors of a batch of two; sizes but the batch are kept.
        path: the .onnx file; where weights are too large for it they lie beside it, as `NAME.data`.
        inputs: names of the inputs.
        outputs: names of the outputs.

    Raises:
        OutputError: the file cannot be written.
        DinosegError: the libraries of the extra `export` are not installed.
    """
    for library in ("onnx", "onnxscript"):
        require(library, "a graph of ONNX")
    batch = torch.export.Dim("batch", min=1, max=BATCH)
    with ignoring_warnings():  # of torch about itself
        recorded = torch.export.export(
            _Positional(module).eval(),
            tuple(examples),
            dynamic_shapes=(({0: batch},) * len(examples),),
            strict=False,
        )
        program = torch.onnx.export(
            recorded,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    _save(program, path)


class _Positional(nn.Module):
    """A module that is called with any number of tensors: one way to say which sizes of them may change."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *tensors: Tensor) -> Any:
        return self.module(*tensors)


def _save(program: torch.onnx.ONNXProgram | None, path: Path) -> None:
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    _name_batch(program)
    held = (value.const_value for value in program.model.graph.initializers.values())
    if sum(value.nbytes for value in held if value is not None) > _LARGE:
        program.save(path, external_data=True)
        return
    with atomic_path(path, overwrite=True) as temporary:
        # As bytes, because a library of its own would hide that the disk is full.
        temporary.write_bytes(program.model_proto.SerializeToString())


def _name_batch(program: torch.onnx.ONNXProgram) -> None:
    """Call the one size that may change `batch`, where torch numbers it."""
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        if value.shape is not None and not isinstance(value.shape[0], int):
            value.shape[0] = BATCH_NAME
