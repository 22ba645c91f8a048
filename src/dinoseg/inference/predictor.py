"""`predict` and `predict_cases`: a model's answer for whatever people have, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from dinoseg.backbones.extractors import Precision
from dinoseg.data.case import Case
from dinoseg.data.dicom import GivenSeries
from dinoseg.data.sources.channels import drop_companions
from dinoseg.data.sources.source import Source, expand, is_many, is_volume, open_case, open_volume
from dinoseg.data.volumes import Plane, Volume
from dinoseg.errors import UsageError
from dinoseg.inference.engine import Options, Prepared, prepare, segment
from dinoseg.inference.results.prediction import Prediction
from dinoseg.inference.results.volume_prediction import VolumePrediction
from dinoseg.inference.volumes import refuse_other_kind, refuse_probabilities, segment_volume
from dinoseg.model.loading import load
from dinoseg.model.segmenter import Segmenter
from dinoseg.progress import Progress, Silent
from dinoseg.streams import map_ahead

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
    planes: Sequence[Plane] | None = None,
    series: str | None = None,
    postprocess: bool = True,
    backbone: str | Path | None = None,
    accept_license: bool = False,
    device: str | None = None,
    precision: Precision | None = None,
    progress: Progress | None = None,
) -> Prediction | VolumePrediction | list[Prediction | VolumePrediction]:
    """Segment an image or a volume, or a folder or list of them, at the size of the input.

    Args:
        model: a Segmenter (put in eval mode), or a run folder.
        source: a path; an array (H, W) or (H, W, 3) of uint8, uint16 or floats from 0 to 1; an
            Image; a Volume; a Case; a folder (everything in it and its sub-folders); or a list of
            those. Volumes are .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .h5 and .hdf5 files, and DICOM
            series: a folder that holds such files, or a zip.
        window: None resizes whole images to the model's size. An integer slides a square window
            of that side over the image at native resolution, with Gaussian blending; smaller
            images are padded.
        overlap: share of the window's side that neighbours have in common.
        flips: average class probabilities over the image and its three mirror images; 4 x the time.
        batch_size: images, or windows of one image, that the model sees at once.
        probabilities: keep class probabilities, 4 bytes per class and pixel; not of volumes.
        planes: how volumes are cut: "axial", "coronal", "sagittal"; the probabilities of several are
            averaged. Default: as in training.
        series: UID of the DICOM series to take where a folder or zip holds several.
        postprocess: clean masks as was chosen on validation for this model, if it was.
        backbone: another place of the backbone's weights; only with a run folder.
        accept_license: accept the licence of the backbone's weights; only with a run folder.
        device: torch device to load a run folder to, default "cpu"; a Segmenter stays where it is.
        precision: what the backbone of a run folder computes in; default: what it was trained in.
        progress: told where weights come from and how many images are done.

    Returns:
        One prediction, or for a folder or list one for each image or volume, in order.

    Raises:
        UsageError: an argument or an array is not accepted.
        DataError: a file cannot be read; `predict_files` goes on with the others.
        RunError: the run folder cannot be used.
    """
    planes = None if planes is None else tuple(planes)
    options = Options(
        window, overlap, flips, batch_size, probabilities, planes=planes, postprocess=postprocess
    )
    items = expand(source)
    _check_kinds(items, options, series)
    loaded = open_model(
        model,
        backbone=backbone,
        accept_license=accept_license,
        device=device,
        precision=precision,
        progress=progress,
    )
    items = drop_companions(items, loaded.settings.preprocessing.channels)
    found = _predict_items(loaded, items, options, series=series)
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


def _check_kinds(items: Sequence[Source], options: Options, series: str | None) -> None:
    """Refuse what makes no sense for the sources that were given."""
    if any(is_volume(item) for item in items):
        refuse_probabilities(options)
        return
    for name, value in (("planes", options.planes), ("series", series)):
        if value is not None:
            raise UsageError(f"{name} is for volumes, and no volume was given; leave it out")


def _predict_items(
    model: Segmenter, items: Sequence[Source], options: Options, *, series: str | None
) -> Iterator[Prediction | VolumePrediction]:
    for volumes, indices in groupby(range(len(items)), key=lambda index: is_volume(items[index])):
        if not volumes:
            yield from _predict_images(model, items, list(indices), options)
            continue
        for index in indices:
            item = items[index]
            if isinstance(item, str | Path | Volume | GivenSeries):
                channels = model.settings.preprocessing.channels
                yield segment_volume(model, open_volume(item, channels=channels, series=series), options)


def _predict_images(
    model: Segmenter, items: Sequence[Source], indices: Sequence[int], options: Options
) -> Iterator[Prediction]:
    def read(index: int) -> Prepared:
        case = open_case(items[index], index=index)
        refuse_other_kind(model, case.id, is_volume=False)
        return prepare(model, case, options)

    with closing(map_ahead(read, indices, workers=_READERS, ahead=options.batch_size)) as prepared:
        for index, item in zip(indices, segment(model, prepared, options), strict=True):
            known = isinstance(items[index], str | Path | Case)
            yield item.prediction if known else replace(item.prediction, source=None)
