"""`predict` and `predict_cases`: a model's answer for whatever people have, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from dinoseg.backbones.extractors import Precision
from dinoseg.data.case import Case
from dinoseg.errors import UsageError
from dinoseg.inference.engine import Options, Prepared, prepare, segment
from dinoseg.inference.prediction import Prediction
from dinoseg.inference.sources import Source, expand, is_many, open_case
from dinoseg.inference.streams import map_ahead
from dinoseg.model import Segmenter, load
from dinoseg.progress import Progress, Silent

_READERS = 2


def predict(
    model: Segmenter | Path | str,
    source: Source | Sequence[Source],
    *,
    window: int | None = None,
    overlap: float = 0.25,
    flips: bool = False,
    batch_size: int = 8,
    probabilities: bool = False,
    backbone: str | Path | None = None,
    accept_license: bool = False,
    device: str | None = None,
    precision: Precision | None = None,
    progress: Progress | None = None,
) -> Prediction | list[Prediction]:
    """Segment an image, or a folder or list of them, at the size of the input.

    Args:
        model: a Segmenter (put in eval mode), or a run folder.
        source: a path; an array (H, W) or (H, W, 3) of uint8, uint16 or floats from 0 to 1; an
            Image; a Case; a folder (all images in it and its sub-folders); or a list of those.
        window: None resizes whole images to the model's size. An integer slides a square window
            of that side over the image at native resolution, with Gaussian blending; smaller
            images are padded.
        overlap: share of the window's side that neighbours have in common.
        flips: average class probabilities over the image and its three mirror images; 4 x the time.
        batch_size: images, or windows of one image, that the model sees at once.
        probabilities: keep class probabilities, 4 bytes per class and pixel.
        backbone: another place of the backbone's weights; only with a run folder.
        accept_license: accept the licence of the backbone's weights; only with a run folder.
        device: torch device to load a run folder to, default "cpu"; a Segmenter stays where it is.
        precision: what the backbone of a run folder computes in; default: what it was trained in.
        progress: told where weights come from and how many images are done.

    Returns:
        One prediction, or for a folder or list one for each image, in order.

    Raises:
        UsageError: an argument or an array is not accepted.
        DataError: a file cannot be read; `predict_files` goes on with the others.
        RunError: the run folder cannot be used.
    """
    options = Options(window, overlap, flips, batch_size, probabilities)
    items = expand(source)
    loaded = open_model(
        model,
        backbone=backbone,
        accept_license=accept_license,
        device=device,
        precision=precision,
        progress=progress,
    )
    found = _predict_items(loaded, items, options)
    predictions = list((progress or Silent()).track(found, total=len(items), label="predict"))
    return predictions if is_many(source) else predictions[0]


def predict_cases(
    model: Segmenter,
    cases: Iterable[Case],
    *,
    window: int | None = None,
    overlap: float = 0.25,
    flips: bool = False,
    batch_size: int = 8,
    probabilities: bool = False,
) -> Iterator[Prediction]:
    """Yield a prediction for each case, in order; cases are drawn a batch at a time.

    The model is put in eval mode and stays in it. Arguments as in `predict`.

    Raises:
        UsageError: an argument is not accepted.
    """
    options = Options(window, overlap, flips, batch_size, probabilities)
    prepared = (prepare(model, case, options) for case in cases)
    return (item.prediction for item in segment(model, prepared, options))


def open_model(
    model: Segmenter | Path | str,
    *,
    backbone: str | Path | None = None,
    accept_license: bool = False,
    device: str | None = None,
    precision: Precision | None = None,
    progress: Progress | None = None,
) -> Segmenter:
    """Load a run folder, or return the Segmenter that was given.

    Raises:
        UsageError: `backbone`, `device` or `precision` is given with a Segmenter, which has them.
    """
    if not isinstance(model, Segmenter):
        return load(
            model,
            backbone=backbone,
            accept_license=accept_license,
            device=device or "cpu",
            precision=precision,
            progress=progress,
        )
    if not (backbone is None and device is None and precision is None):
        raise UsageError(
            "backbone, device and precision belong to a run folder; a Segmenter has them, move it with .to()"
        )
    return model


def _predict_items(model: Segmenter, items: Sequence[Source], options: Options) -> Iterator[Prediction]:
    def read(index: int) -> Prepared:
        return prepare(model, open_case(items[index], index=index), options)

    indices = range(len(items))
    with closing(map_ahead(read, indices, workers=_READERS, ahead=options.batch_size)) as prepared:
        for index, item in zip(indices, segment(model, prepared, options), strict=True):
            known = isinstance(items[index], str | Path | Case)
            yield item.prediction if known else replace(item.prediction, source=None)
