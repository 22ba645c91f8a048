"""Smaller graphs: weights of 16 bits, or products of 8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dinoseg.export.cases import Examples
from dinoseg.streams import ignoring_warnings

SMALL = 1024  # numbers; tensors below that are not worth a second type
_PRODUCTS = ("MatMul", "Gemm", "Conv")


def store_in_half(path: Path) -> None:
    """Keep the weights of a graph in float16; it computes in float32 as before.

    Every engine turns them back once, when it reads the graph, so it takes half the space on the disk and the
    same time and memory to compute. Arithmetic in 16 bits is slower than that on most processors.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    casts, kept = [], []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims, dtype=np.int64) < SMALL:
            kept.append(tensor)
            continue
        half = numpy_helper.to_array(tensor).astype(np.float16)
        name = f"{tensor.name}.float16"
        kept.append(numpy_helper.from_array(half, name))
        casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())


def quantise(path: Path, examples: Examples) -> None:
    """Compute the products of the backbone's graph in 8 bits, scaled by what its values are on `examples`.

    Static, in the standard QuantizeLinear and DequantizeLinear: weights by output channel, values by tensor.

    Args:
        path: a graph whose input is `image`.
        examples: images like those that it will see.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = path.with_name(f"prepared-{path.name}")
    with ignoring_warnings():
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            _Reader(examples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_PRODUCTS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    prepared.unlink()


class _Reader:
    """Images one at a time, as the calibration asks for them."""

    def __init__(self, examples: Examples) -> None:
        self._left = self._read(examples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)

    @staticmethod
    def _read(examples: Examples) -> Iterator[dict[str, np.ndarray]]:
        for series in examples.series:
            for item in series:
                yield {"image": item.pixels[None]}
