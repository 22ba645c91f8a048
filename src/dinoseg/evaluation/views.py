"""From files to prediction and target on one grid, case by case; a broken case does not stop the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dinoseg.config import Inference
from dinoseg.data.case import Case
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.cases.images import read_case
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.data.tensors.transforms import resize_image, resize_label
from dinoseg.errors import DataError, LabelError, UsageError
from dinoseg.evaluation.calibration import Pixels
from dinoseg.evaluation.contents import Failure
from dinoseg.evaluation.examples import draw_example
from dinoseg.evaluation.metrics import leave_out
from dinoseg.evaluation.summary import Protocol
from dinoseg.inference.engine import Prepared, answer_whole, prepare, segment
from dinoseg.inference.results.prediction import Prediction
from dinoseg.model.network import Network, input_size
from dinoseg.streams import batched, map_ahead

_READERS = 2


@dataclass(frozen=True)
class View:
    """One case as it is scored.

    Attributes:
        case: at its native size.
        prediction: (H, W) class ids; at the model's size under the paper protocol.
        target: class ids on the same grid.
        spacing: of that grid in mm; None where it is not known, or under the paper protocol.
        decided: whether the target decides any pixel.
        found: the prediction with its confidence; None under the paper protocol.
        pixels: some of them with their probabilities; None where nobody asked.
    """

    case: Case
    prediction: NDArray[np.uint8]
    target: NDArray[np.uint8]
    spacing: tuple[float, ...] | None
    decided: bool = True
    found: Prediction | None = None
    pixels: Pixels | None = None

    def leave_out(self) -> View:
        """The view with background in both masks where nobody decided, which changes them in place."""
        return replace(self, decided=leave_out(self.prediction, self.target))

    def image(self) -> NDArray[np.float32]:
        """Return the intensities (C, H, W) on the grid of the masks."""
        if self.prediction.shape == self.case.image.size:
            return self.case.image.array
        size = (int(self.prediction.shape[0]), int(self.prediction.shape[1]))
        return resize_image(self.case.image, size).array

    @property
    def cell(self) -> float | None:
        """Area of a pixel in mm²; None where it is not known."""
        return None if self.spacing is None else math.prod(self.spacing)

    def draw(self, classes: Mapping[int, str]) -> bytes:
        """JPEG of the case: target filled, prediction as a line."""
        return draw_example(self.image(), self.target, self.prediction, classes=classes, spacing=self.spacing)


def stream_views(
    model: Network,
    files: Iterable[CaseFiles],
    mapping: LabelMapping,
    *,
    protocol: Protocol,
    how: Inference,
    failures: list[Failure],
    raw: bool = False,
    observe: bool = False,
) -> Iterator[View]:
    """Yield a view of each case in order, reading ahead while the model computes.

    Args:
        model: a Segmenter is put in eval mode.
        files: of cases with labels.
        mapping: mask values -> class ids.
        protocol: "native", or "paper" for the grid of the model.
        how: the model is applied.
        failures: cases that cannot be read are appended here.
        raw: masks as predicted and `IGNORE_ID` in the targets, which are not to be scored as they are.
        observe: look at the probabilities of some pixels; not under the paper protocol.
    """

    def read(item: CaseFiles) -> Prepared | Failure:
        try:
            return prepare(model, _read_labelled(item, mapping), how)
        except (DataError, UsageError) as error:
            return Failure(item.id, str(error))

    with closing(map_ahead(read, files, workers=_READERS, ahead=how.batch_size)) as found:
        prepared = _set_aside(found, failures)
        if protocol == "paper":
            views = _views_of_paper(model, prepared, how)
        else:
            views = _views_at_native_size(model, prepared, replace(how, probabilities=observe))
        for view in views:
            yield view if raw or mapping.ignore is None else view.leave_out()


def _read_labelled(files: CaseFiles, mapping: LabelMapping) -> Case:
    case = read_case(files, mapping)
    if case.label is None:
        raise LabelError(f"{files.image} has no mask to score against; add one or leave the case out")
    return case


def _set_aside(found: Iterable[Prepared | Failure], failures: list[Failure]) -> Iterator[Prepared]:
    for item in found:
        if isinstance(item, Failure):
            failures.append(item)
        else:
            yield item


def _views_at_native_size(model: Network, prepared: Iterable[Prepared], how: Inference) -> Iterator[View]:
    for item in segment(model, prepared, how):
        label, prediction = item.case.label, item.prediction
        if label is None:
            continue
        scores = prediction.probabilities
        pixels = None if scores is None else Pixels.draw(item.case.id, scores, label.array)
        found = replace(prediction, probabilities=None)
        yield View(item.case, prediction.mask, label.array, item.case.spacing, found=found, pixels=pixels)


def _views_of_paper(model: Network, prepared: Iterable[Prepared], how: Inference) -> Iterator[View]:
    size = input_size(model.settings)
    for batch in batched(prepared, how.batch_size):
        for item, answer in zip(batch, answer_whole(model, batch, how, size=size), strict=True):
            if item.case.label is not None:
                yield View(item.case, answer.mask, resize_label(item.case.label, size).array, None)
