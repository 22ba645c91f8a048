"""Smaller graphs: standard operators, less space, and nearly the same features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from dinoseg.backbones.graphs import write_graph
from dinoseg.data.case import Case, Image
from dinoseg.engines import open_graph
from dinoseg.export.cases import Example, Examples
from dinoseg.export.quantisation import quantise, store_in_half


def _prepare(seed: int) -> Example:
    pixels = np.random.default_rng(seed).standard_normal((3, 16, 16)).astype(np.float32)
    return Example(Case(str(seed), Image(pixels), None, group="", source=Path("made")), pixels)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution, a product and what is between them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 32, 4, 4), nn.Flatten(2), nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 64)
        )
    path = tmp_path_factory.mktemp("graph") / "graph.onnx"
    write_graph(module, [torch.zeros(2, 3, 16, 16)], path, inputs=["image"], outputs=["level_0"])
    return path


@pytest.mark.parametrize(
    ("shrink", "share", "error", "operator"),
    [
        (store_in_half, 0.7, 2e-3, "Cast"),
        (
            lambda path: quantise(path, Examples("made", (tuple(map(_prepare, range(4))),))),
            0.8,
            0.1,
            "DequantizeLinear",
        ),
    ],
    ids=["float16", "int8"],
)
def test_a_graph_is_smaller_and_says_nearly_the_same(
    graph: Path, tmp_path: Path, shrink: Callable[[Path], None], share: float, error: float, operator: str
) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(graph.read_bytes())
    shrink(path)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} == {""}
    assert operator in {node.op_type for node in model.graph.node}
    assert path.stat().st_size < share * graph.stat().st_size
    assert [each.name for each in tmp_path.iterdir()] == ["small.onnx"]
    pixels = np.stack([_prepare(seed).pixels for seed in (0, 9)])
    (expected,), (found,) = (open_graph(each, threads=1).run({"image": pixels}) for each in (graph, path))
    assert 0 < np.linalg.norm(found - expected) < error * np.linalg.norm(expected)
