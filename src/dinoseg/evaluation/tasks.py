"""What is scored: a model, the cases of a split, and how the one is applied to the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dinoseg.config import Inference
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.layouts.dataset import Dataset, open_dataset
from dinoseg.errors import UsageError
from dinoseg.evaluation.contents import Failure
from dinoseg.evaluation.selection import refuse_other_classes, refuse_other_kind, select_cases
from dinoseg.evaluation.summary import Protocol
from dinoseg.evaluation.views import View, stream_views
from dinoseg.evaluation.volume_views import VolumeView, stream_volume_views
from dinoseg.model.network import Network
from dinoseg.model.saved import Model, as_model, open_model
from dinoseg.progress import Progress

PROTOCOLS: tuple[Protocol, ...] = ("native", "paper")


@dataclass(frozen=True)
class Task:
    """A model and labelled cases.

    Attributes:
        model: that is scored.
        dataset: where the cases are.
        files: the cases of the split.
        split: its name.
        protocol: "native", or "paper".
        how: the model is applied.
    """

    model: Network
    dataset: Dataset
    files: tuple[CaseFiles, ...]
    split: str
    protocol: Protocol
    how: Inference

    def views(
        self, files: Iterable[CaseFiles], *, failures: list[Failure], progress: Progress, raw: bool = False
    ) -> Iterator[View] | Iterator[VolumeView]:
        """Prediction and target of each case, in order.

        Args:
            files: all or some of the cases.
            failures: cases that cannot be read are appended here.
            progress: counts the slices of each volume.
            raw: masks as predicted, and targets that still say what nobody decided.
        """
        model, mapping, how = self.model, self.dataset.labels, self.how
        if self.dataset.is_volumes:
            return stream_volume_views(
                model, files, mapping, how=how, failures=failures, progress=progress, raw=raw
            )
        return stream_views(
            model, files, mapping, protocol=self.protocol, how=how, failures=failures, raw=raw
        )


def open_task(
    model: Model,
    data: Dataset | Path | str,
    *,
    split: str,
    protocol: Protocol,
    splits: Path | str | None,
    how: Inference,
    progress: Progress,
) -> Task:
    """Find the cases, refuse those that the model was trained on, and only then load it.

    Raises:
        UsageError: the protocol is unknown, or an option is not for it or for evaluation.
        SplitError: the split is empty or unknown, or the model was trained on its cases.
        LabelError: the classes of the data are not those of the model.
        DataError: the data are images and the model is for volumes, or the other way round.
    """
    how = _check_options(how, protocol)
    dataset = data if isinstance(data, Dataset) else open_dataset(data, progress=progress)
    files = select_cases(dataset, split, splits=Path(splits) if splits else None, run=find_run(model))
    network = open_model(model, progress, how=how)
    if protocol == "paper" and network.settings.preprocessing.window is not None:
        raise UsageError(
            f"protocol paper scores whole images, and the model was trained on windows of "
            f"{network.settings.preprocessing.window} px; score with native"
        )
    refuse_other_kind(network, dataset, protocol=protocol, planes=how.planes)
    refuse_other_classes(network.settings.classes, dataset)
    return Task(network, dataset, files, split, protocol, how)


def find_run(model: Model) -> Path | None:
    """The run folder of a model, where it is known."""
    return as_model(model).run


def _check_options(how: Inference, protocol: Protocol) -> Inference:
    if protocol not in PROTOCOLS:
        raise UsageError(f"protocol {protocol!r} is not accepted; choose {' or '.join(PROTOCOLS)}")
    if how.series is not None:
        raise UsageError("series is for predict: the cases of a data set are one series each; leave it out")
    if protocol == "paper":
        if how.window is not None or how.flips:
            raise UsageError(
                "protocol paper scores whole images once, as the published programs do; leave window and "
                "flips out, or score with native"
            )
        how = replace(how, postprocess=False)
    return replace(how, probabilities=False)  # which no score needs
