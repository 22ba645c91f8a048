"""`predict` and `predict_cases`: a model's answer for whatever people have, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from dinoseg.config import Inference
from dinoseg.data.case import Case
from dinoseg.data.dicom import GivenSeries
from dinoseg.data.sources.channels import drop_companions
from dinoseg.data.sources.source import Source, expand, is_many, is_volume, open_case, open_volume
from dinoseg.data.volumes import Volume
from dinoseg.inference.engine import Prepared, prepare, segment
from dinoseg.inference.likeness import Likeness
from dinoseg.inference.results.prediction import Prediction
from dinoseg.inference.results.volume_prediction import VolumePrediction
from dinoseg.inference.volumes import (
    refuse_other_kind,
    refuse_probabilities,
    refuse_volume_options,
    segment_volume,
)
from dinoseg.model.network import Network
from dinoseg.model.saved import Model, open_model
from dinoseg.progress import Progress, Silent
from dinoseg.streams import keeping_filters, map_ahead

_READERS = 2


@keeping_filters()
def predict(
    model: Model,
    source: Source | Sequence[Source],
    *,
    how: Inference | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Prediction | VolumePrediction | list[Prediction | VolumePrediction]:
    """Segment an image or a volume, or a folder or list of them, at the size of the input.

    Args:
        model: a loaded model (a Segmenter is put in eval mode), or a run folder, loaded to the
            processor; `load` has the choice of device and precision.
        source: a path; an array (H, W) or (H, W, 3) of uint8, uint16 or floats from 0 to 1; an
            Image; a Pillow image, as it is shown; a Volume; a Case; a folder (everything in it and its
            sub-folders); or a list of those. Volumes are .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .h5 and
            .hdf5 files, and DICOM series: a folder that holds such files, or a zip.
        how: how the model is applied.
        progress: told where weights come from and how many images are done.
        options: fields of `Inference` by name, such as window=512, in place of those of `how`.

    Returns:
        One prediction, or for a folder or list one for each image or volume, in order.

    Raises:
        UsageError: an argument or an array is not accepted.
        DataError: a file cannot be read; `predict_files` goes on with the others.
        RunError: the run folder cannot be used.
    """
    how = Inference.choose(how, options)
    items = expand(source, progress)
    _check_kinds(items, how)
    loaded = open_model(model, progress, how=how)
    items = drop_companions(items, loaded.settings.preprocessing.channels)
    progress, likeness = progress or Silent(), Likeness(loaded)
    found = _predict_items(likeness, items, how)
    predictions = list(progress.track(found, total=len(items), label="predict"))
    for line in likeness.summarise(len(items)):
        progress.note(line)
    return predictions if is_many(source) else predictions[0]


def predict_cases(
    model: Network, cases: Iterable[Case], *, how: Inference | None = None, **options: Any
) -> Iterator[Prediction]:
    """Yield a prediction for each case, in order; cases are drawn a batch at a time.

    Args:
        model: a loaded model; a Segmenter is put in eval mode and stays in it.
        cases: images, with or without labels.
        how: how the model is applied.
        options: fields of `Inference` by name.

    Raises:
        UsageError: an argument is not accepted.
    """
    chosen = Inference.choose(how, options)
    refuse_volume_options(chosen)
    prepared = (prepare(model, case, chosen) for case in cases)
    return (item.prediction for item in segment(model, prepared, chosen))


def _check_kinds(items: Sequence[Source], how: Inference) -> None:
    """Refuse what makes no sense for the sources that were given."""
    if any(is_volume(item) for item in items):
        refuse_probabilities(how)
    else:
        refuse_volume_options(how)


def _predict_items(
    likeness: Likeness, items: Sequence[Source], how: Inference
) -> Iterator[Prediction | VolumePrediction]:
    model = likeness.model
    for volumes, indices in groupby(range(len(items)), key=lambda index: is_volume(items[index])):
        if not volumes:
            yield from _predict_images(likeness, items, list(indices), how)
            continue
        for index in indices:
            item = items[index]
            if isinstance(item, str | Path | Volume | GivenSeries):
                channels = model.settings.preprocessing.channels
                volume = open_volume(item, channels=channels, series=how.series)
                found = segment_volume(model, volume, how=how)
                likeness.look(volume.id, volume, found.confidence)
                yield found


def _predict_images(
    likeness: Likeness, items: Sequence[Source], indices: Sequence[int], how: Inference
) -> Iterator[Prediction]:
    model = likeness.model

    def read(index: int) -> Prepared:
        case = open_case(items[index], index=index)
        refuse_other_kind(model, case.id, is_volume=False)
        return prepare(model, case, how)

    with closing(map_ahead(read, indices, workers=_READERS, ahead=how.batch_size)) as prepared:
        for index, item in zip(indices, segment(model, prepared, how), strict=True):
            likeness.look(item.case.id, item.case.image, item.prediction.confidence)
            known = isinstance(items[index], str | Path | Case)
            yield item.prediction if known else replace(item.prediction, source=None)
