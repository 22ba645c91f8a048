"""A backbone that an engine computes: its graph is made once for each size, and kept in the home folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from dinoseg.backbones.backbone import Backbone, Precision
from dinoseg.backbones.features import Features
from dinoseg.backbones.graphs import OPSET, write_backbone
from dinoseg.backbones.weights_settings import read_settings
from dinoseg.config import BackboneSettings
from dinoseg.engines import Engine, Graph, check_engine, open_graph

GRAPHS = "graphs"  # folder in the home folder


class EngineBackbone:
    """A frozen backbone whose maps come from an engine instead of torch.

    They differ from torch's in the last digits, so the digest is another; the identity, which decoders belong
    to, is the same. It gives no class tokens, which no method reads. What is not said here is as in the
    backbone.

    Attributes:
        engine: what computes it.
        precision: what the engine computes in.
        digest: of the identity, the engine and the precision.
    """

    def __init__(self, backbone: Backbone, engine: Engine, precision: Precision) -> None:
        """Wrap a backbone.

        Args:
            backbone: in torch, on the processor, in float32.
            engine: "onnxruntime" or "openvino".
            precision: what the engine computes in.

        Raises:
            UsageError: the engine is unknown, or has no such precision.
            DinosegError: the engine is not installed.
        """
        check_engine(engine, precision)
        self.engine = engine
        self.precision: Precision = precision
        self.name, self.layers, self.channels = backbone.name, backbone.layers, backbone.channels
        self.strides, self.stride = backbone.strides, backbone.stride
        self.mean, self.std = backbone.mean, backbone.std
        self.identity, self.weights_sha256 = backbone.identity, backbone.weights_sha256
        self.license, self.source = backbone.license, backbone.source
        content = {"identity": backbone.identity, "engine": engine, "precision": precision, "opset": OPSET}
        self.digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        self._backbone = backbone
        self._threads = torch.get_num_threads()  # as was asked for: later on each thread may have one
        self._graphs: dict[tuple[int, int], tuple[Graph, Features]] = {}
        self._lock = Lock()

    @torch.no_grad()
    def __call__(self, image: Tensor, /) -> Features:
        """Features of (B, 1 | 3 | 4, H, W), normalised, of any H and W from 1 up."""
        pixels = (image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image[:, :3]).float()
        with self._lock:  # images side by side: one after the other on all cores takes no longer
            graph, like = self._open((int(image.shape[-2]), int(image.shape[-1])))
            found = graph.run({"image": pixels.cpu().numpy()})
        levels = tuple(torch.from_numpy(level).to(image.device) for level in found)
        return Features(levels, like.strides, like.size, like.padded)

    def _open(self, size: tuple[int, int]) -> tuple[Graph, Features]:
        if size not in self._graphs:
            path = self._find(size)
            like = self._backbone(torch.zeros(1, 3, *size))
            graph = open_graph(path, engine=self.engine, precision=self.precision, threads=self._threads)
            self._graphs[size] = (graph, like)
        return self._graphs[size]

    def _find(self, size: tuple[int, int]) -> Path:
        name = f"{self.identity[:32]}-{size[0]}x{size[1]}-opset{OPSET}.onnx"
        path = read_settings().home / GRAPHS / name
        if not path.is_file():
            write_backbone(self._backbone, path, size=size)
        return path


def in_torch(settings: BackboneSettings) -> Precision:
    """The precision to make a backbone of torch in, before `computed_by` hands it to its engine."""
    return settings.precision if settings.engine == "torch" else "float32"


def computed_by(settings: BackboneSettings, backbone: Backbone) -> Backbone:
    """The backbone as it is, or one that the engine of the settings computes.

    Raises:
        UsageError: the engine has no such precision.
        DinosegError: the engine is not installed.
    """
    if settings.engine == "torch":
        return backbone
    return EngineBackbone(backbone, settings.engine, settings.precision)
