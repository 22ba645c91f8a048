"""`Runtime`: the network of a bundle, computed by an engine; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dinoseg.backbones.licenses import require_license
from dinoseg.backbones.neighbours import find_margin, find_stride, list_places
from dinoseg.config import ConfidenceSettings, PostprocessingSettings
from dinoseg.data.cases.likeness import Profile
from dinoseg.data.cases.prints import TrainingCases
from dinoseg.engines import DEFAULT_ENGINE, Engine, EnginePrecision, Graph, check_engine, open_graph
from dinoseg.model.bundles import BundledDecoder, Pipeline, read_pipeline
from dinoseg.model.folder import read_training_cases
from dinoseg.model.network import Array
from dinoseg.model.settings import ModelSettings
from dinoseg.progress import Progress, Silent

TINY = 1e-7  # least probability whose logarithm is taken


class Runtime:
    """The network of a bundle; see `Network`.

    The backbone is one graph and the decoder another: the maps between them are arrays, so that slices of a
    volume can be shown with those around them, and several decoders can share one backbone.

    Attributes:
        pipeline: what the bundle says.
        engine: what computes it.
        postprocessing: what predict and evaluate do to masks; None for nothing.
        seen: what the training cases show; None for models that nobody told.
        calibration: what the probabilities are worth; None where that was not fitted.
        trained_on: what the training cases are known again by; None for models that nobody told.
    """

    run: Path | None = None  # which would name the cases that it was trained on

    def __init__(
        self,
        pipeline: Pipeline,
        backbone: Graph,
        decoders: Sequence[Graph],
        *,
        engine: Engine,
        precision: EnginePrecision,
    ) -> None:
        self.pipeline = pipeline
        self.engine = engine
        self.precision = precision
        self.postprocessing: PostprocessingSettings | None = pipeline.postprocessing
        self.seen = None if pipeline.seen is None else Profile.read(pipeline.seen)
        self.trained_on: TrainingCases | None = None
        self.calibration: ConfidenceSettings | None = pipeline.calibration
        self._backbone = backbone
        self._decoders = tuple(zip(pipeline.decoders, decoders, strict=True))

    @property
    def settings(self) -> ModelSettings:
        """Method, classes, and how images are prepared."""
        return self.pipeline.settings

    @property
    def classes(self) -> dict[int, str]:
        """Class id -> name; 0 is background."""
        return self.settings.classes

    @property
    def side(self) -> int:
        """Of the images, or windows, that the graphs take, in px."""
        return self.pipeline.size

    @property
    def mean(self) -> Sequence[float]:
        """What is subtracted of R, G and B in 0..1."""
        return self.pipeline.backbone.mean

    @property
    def std(self) -> Sequence[float]:
        """What R, G and B are then divided by."""
        return self.pipeline.backbone.std

    def describe(self) -> Mapping[str, Any]:
        """What identifies the model; with the engine and both precisions, as they change last digits."""
        pipeline = self.pipeline
        return {
            "method": pipeline.method,
            "backbone": pipeline.backbone.name,
            "backbone_digest": pipeline.backbone.digest,
            "precision": self.precision,
            "decoder_digest": pipeline.decoder_digest,
            "size": [pipeline.size, pipeline.size],
            "engine": self.engine,
            "bundle_precision": pipeline.precision,
        }

    def logits(self, pixels: Array, *, spacing: float | None = None) -> Array:
        """Logits (B, K, S, S) of prepared images (B, 3, S, S), or of slices that are `spacing` mm apart.

        Raises:
            RunError: the engine fails, or the images have another size than the graphs.
        """
        levels = self._backbone.run({"image": pixels})
        votes = [_decide(graph, decoder, levels, pixels, spacing) for decoder, graph in self._decoders]
        return votes[0] if len(votes) == 1 else average(votes)


def _decide(
    graph: Graph, decoder: BundledDecoder, levels: Sequence[Array], pixels: Array, spacing: float | None
) -> Array:
    arrays = {f"level_{index}": level for index, level in enumerate(levels)}
    if decoder.needs_image:
        arrays["image"] = pixels
    if decoder.reach:
        stride = find_stride(decoder.slice_spacing, spacing)
        around = (find_neighbours(level, decoder.reach, stride) for level in levels)
        arrays |= {f"around_{index}": maps for index, maps in enumerate(around)}
    (logits,) = graph.run(arrays)
    return logits


def average(votes: Sequence[Array]) -> Array:
    """Log-odds (B, K, H, W) of the averaged probabilities of several models' logits."""
    if votes[0].shape[1] == 1:
        shares = np.mean([0.5 + 0.5 * np.tanh(0.5 * vote) for vote in votes], axis=0, dtype=np.float32)
        share: Array = np.clip(shares, TINY, 1 - TINY)
        return np.log(share) - np.log1p(-share)
    raised = [np.exp(vote - vote.max(axis=1, keepdims=True)) for vote in votes]
    scores = np.mean([each / each.sum(axis=1, keepdims=True) for each in raised], axis=0, dtype=np.float32)
    found: Array = np.log(np.clip(scores, TINY, 1 - TINY))
    return found


def find_neighbours(level: Array, reach: int, stride: float = 1.0) -> Array:
    """Maps (B, 2r, C, h, w) of the steps before and behind each of B; zeros where there are none.

    Args:
        level: maps (B, C, h, w) of slices that follow each other.
        reach: r, how many steps on either side.
        stride: slices to a step; where one ends between two slices, it is their mean.
    """
    margin = find_margin(reach, stride)
    padded = np.pad(level, [(margin, margin), *[(0, 0)] * (level.ndim - 1)])
    around = np.zeros((len(level), 2 * reach, *level.shape[1:]), level.dtype)
    for step, place in enumerate(list_places(reach, stride)):
        for offset, weight in place:
            around[:, step] += padded[margin + offset :][: len(level)] * level.dtype.type(weight)
    return around


def open_bundle(
    folder: Path,
    *,
    accept_license: bool = False,
    engine: str | None = None,
    precision: EnginePrecision | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Runtime:
    """The network of a bundle, ready to predict.

    Args:
        folder: the bundle.
        accept_license: accept the licence of the backbone in it.
        engine: "onnxruntime" (if not given) or "openvino".
        precision: what the engine computes in; float32 if not given.
        threads: cores; all of them if not given.
        progress: where the licence's notice is shown, the first time only.

    Raises:
        RunError: the bundle is damaged or incomplete, or the engine cannot read it.
        LicenseError: the licence of the backbone has not been accepted.
        UsageError: the engine is unknown, or has no such precision.
        DinosegError: the engine is not installed.
    """
    computed: EnginePrecision = precision or "float32"
    chosen = check_engine(engine or DEFAULT_ENGINE, computed)
    pipeline = read_pipeline(folder)
    require_license(pipeline.backbone, accept=accept_license, progress=progress or Silent())
    runtime = open_graphs(folder, pipeline, engine=chosen, precision=computed, threads=threads)
    runtime.trained_on = read_training_cases(folder)
    return runtime


def open_graphs(
    folder: Path,
    pipeline: Pipeline,
    *,
    engine: Engine = DEFAULT_ENGINE,
    precision: EnginePrecision = "float32",
    threads: int | None = None,
) -> Runtime:
    """The network of graphs in a folder that a pipeline describes; as `open_bundle`, without its checks."""
    names = [pipeline.backbone.file, *(decoder.file for decoder in pipeline.decoders)]
    backbone, *decoders = (
        open_graph(folder / name, engine=engine, precision=precision, threads=threads) for name in names
    )
    return Runtime(pipeline, backbone, decoders, engine=engine, precision=precision)
