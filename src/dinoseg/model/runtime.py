"""`Runtime`: the network of a bundle, computed by an engine; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dinoseg.backbones.licenses import require_license
from dinoseg.config import PostprocessingSettings
from dinoseg.data.cases.likeness import Profile
from dinoseg.data.cases.prints import TrainingCases
from dinoseg.engines import DEFAULT_ENGINE, Engine, EnginePrecision, Graph, check_engine, open_graph
from dinoseg.model.bundles import Pipeline, read_pipeline
from dinoseg.model.folder import read_training_cases
from dinoseg.model.network import Array
from dinoseg.model.settings import ModelSettings
from dinoseg.progress import Progress, Silent


class Runtime:
    """The network of a bundle; see `Network`.

    The backbone is one graph and the decoder another: the maps between them are arrays, so that slices of a
    volume can be shown with those around them, and several decoders can share one backbone.

    Attributes:
        pipeline: what the bundle says.
        engine: what computes it.
        postprocessing: what predict and evaluate do to masks; None for nothing.
        seen: what the training cases show; None for models that nobody told.
        trained_on: what the training cases are known again by; None for models that nobody told.
    """

    run: Path | None = None  # which would name the cases that it was trained on

    def __init__(
        self,
        pipeline: Pipeline,
        backbone: Graph,
        decoder: Graph,
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
        self._backbone = backbone
        self._decoder = decoder

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
            "method": self.settings.decoder.method,
            "backbone": pipeline.backbone.name,
            "backbone_digest": pipeline.backbone.digest,
            "precision": self.precision,
            "decoder_digest": pipeline.decoders[0].digest,
            "size": [pipeline.size, pipeline.size],
            "engine": self.engine,
            "bundle_precision": pipeline.precision,
        }

    def logits(self, pixels: Array) -> Array:
        """Logits (B, K, S, S) of prepared images (B, 3, S, S).

        Raises:
            RunError: the engine fails, or the images have another size than the graphs.
        """
        levels = self._backbone.run({"image": pixels})
        arrays = {f"level_{index}": level for index, level in enumerate(levels)}
        if self.pipeline.needs_image:
            arrays["image"] = pixels
        if self.pipeline.reach:
            around = (find_neighbours(level, self.pipeline.reach) for level in levels)
            arrays |= {f"around_{index}": maps for index, maps in enumerate(around)}
        (logits,) = self._decoder.run(arrays)
        return logits


def find_neighbours(level: Array, reach: int) -> Array:
    """Maps (B, 2r, C, h, w) of the slices before and behind each of B; zeros where there are none.

    Args:
        level: maps (B, C, h, w) of slices that follow each other.
        reach: r, how many on either side.
    """
    padded = np.pad(level, [(reach, reach), *[(0, 0)] * (level.ndim - 1)])
    places = [*range(reach), *range(reach + 1, 2 * reach + 1)]
    return np.stack([padded[place : place + len(level)] for place in places], axis=1)


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
    backbone, decoder = (
        open_graph(folder / name, engine=engine, precision=precision, threads=threads)
        for name in (pipeline.backbone.file, pipeline.decoders[0].file)
    )
    return Runtime(pipeline, backbone, decoder, engine=engine, precision=precision)
