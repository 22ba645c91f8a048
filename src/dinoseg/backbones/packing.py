"""Faster forms of two operations on a processor, for prediction only; elsewhere they are torch's own.

torch multiplies float32 matrices with MKL, which on processors of another maker does without their widest
registers: oneDNN then takes half the time. It wants weights in blocks, which are laid out once.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEW = 512  # tokens; up to here attention in bfloat16 is faster with its matrix
HEAVY = 20_000_000  # bytes; a weight beyond that is not kept twice but laid out at every call


class Linear(nn.Linear):
    """A linear layer, with GELU after it if asked for.

    On a processor a second copy of the weight is kept, in blocks. It is made at the first use and whenever
    the weight has changed, and is no part of what is saved or copied.
    """

    def __init__(self, inputs: int, outputs: int, *, gelu: bool = False) -> None:
        super().__init__(inputs, outputs)
        self.gelu = gelu
        self._packed: tuple[Tensor, tuple[int, int], Tensor] | None = None  # of what, its state, blocks

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        if not runs_packed(tokens):
            plain = F.linear(tokens, self.weight, self.bias)
            return F.gelu(plain) if self.gelu else plain
        operation, form = ("gelu", "none") if self.gelu else ("none", "")
        outputs: Tensor = torch.ops.mkldnn._linear_pointwise(
            tokens, self._pack(), self.bias, operation, [], form
        )
        return outputs

    def _pack(self) -> Tensor:
        weight = self.weight
        if weight.nbytes > HEAVY:
            return weight
        state = (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
        packed = self._packed  # read once: another thread may replace it
        if packed is None or packed[0] is not weight or packed[1] != state:
            packed = (weight, state, torch.ops.mkldnn._reorder_linear_weight(weight.detach()))
            self._packed = packed
        return packed[2]

    def _apply(self, *arguments: Any, **options: Any) -> Any:
        self._packed = None
        return super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Every query's mean of the values, weighted by the softmax of its products with the keys.

    Args:
        query: (B, heads, N, d).
        key: the same shape.
        value: the same shape.
    """
    few = query.dtype == torch.bfloat16 and query.shape[-2] <= FEW
    if few and query.device.type == "cpu" and not torch.compiler.is_compiling():
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # (B, heads, N, N)
        attended: Tensor = scores.softmax(dim=-1) @ value
        return attended
    return F.scaled_dot_product_attention(query, key, value)


def runs_packed(tokens: Tensor) -> bool:
    """Whether oneDNN's layer takes these; what is recorded for another program has torch's own."""
    if tokens.device.type != "cpu" or not has_onednn():
        return False
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False
    if tokens.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return tokens.dtype == torch.float32


@cache
def has_onednn() -> bool:
    """Whether torch was built with oneDNN, for a processor on which that pays."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(available) and platform.machine().lower() in ("x86_64", "amd64")
