"""Which tensors can be weights at all: plain numbers in plain memory, as many as the file holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from dinoseg.backbones.keys import name_some
from dinoseg.errors import WeightsError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def _claims_more_than_it_has(tensor: Tensor) -> bool:
    """A view that repeats its numbers: a few bytes may claim terabytes."""
    return tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()


_FAULTS: Mapping[str, Callable[[Tensor], bool]] = {
    "sparse": lambda tensor: tensor.layout is not torch.strided,
    "quantized": lambda tensor: tensor.is_quantized,
    "without values": lambda tensor: tensor.device.type == "meta",
    "complex": lambda tensor: tensor.is_complex(),
    "of another kind of number": lambda tensor: tensor.dtype not in (*FLOATS, *WHOLE),
    "empty": lambda tensor: tensor.numel() == 0,
    "larger than their memory": _claims_more_than_it_has,
}


def refuse_odd_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise unless every tensor is dense, of real numbers, and as large as what lies in the file.

    Raises:
        WeightsError: names the first ones of each fault, as the file calls them.
    """
    found: dict[str, list[str]] = {}
    for name, tensor in state.items():
        fault = next((fault for fault, has in _FAULTS.items() if has(tensor)), None)
        if fault is not None:
            found.setdefault(fault, []).append(f"{name}: {_describe(tensor)}")
    if found:
        faults = "; ".join(
            f"{len(names)} tensors are {fault} ({name_some(names)})" for fault, names in found.items()
        )
        raise WeightsError(f"{path} was refused: {faults}; accepted are dense tensors of floats and integers")


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers stay finite in float32, which is what they become."""
    return not tensor.is_floating_point() or bool(tensor.to(torch.float32).isfinite().all())


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
