"""What is scored: a model, the cases of a split, and how the one is applied to the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path

from dinoseg.config import Inference
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.layouts.dataset import Dataset, open_dataset
from dinoseg.errors import UsageError
from dinoseg.evaluation.contents import Failure
from dinoseg.evaluation.selection import ALL, refuse_other_classes, refuse_other_kind, select_cases
from dinoseg.evaluation.summary import Protocol
from dinoseg.evaluation.views import View, stream_views
from dinoseg.evaluation.volume_views import VolumeView, stream_volume_views
from dinoseg.model.ensemble import Ensemble
from dinoseg.model.network import Network
from dinoseg.model.saved import Model, find_folds, find_runs, open_model
from dinoseg.progress import Progress

VALIDATION = "val"
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

    @property
    def part(self) -> str:
        """What is scored, in words."""
        return "every case, also any that the model was trained on" if self.split == ALL else self.split

    def find_model(self, case: str) -> Network:
        """What answers for a case."""
        return self.model

    def views(
        self,
        files: Iterable[CaseFiles],
        *,
        failures: list[Failure],
        progress: Progress,
        raw: bool = False,
        observe: bool = False,
    ) -> Iterator[View] | Iterator[VolumeView]:
        """Prediction and target of each case, in order.

        Args:
            files: all or some of the cases.
            failures: cases that cannot be read are appended here.
            progress: counts the slices of each volume.
            raw: masks as predicted, and targets that still say what nobody decided.
            observe: look at the probabilities of some pixels of each case.
        """
        model, mapping, how = self.model, self.dataset.labels, self.how
        if self.dataset.is_volumes:
            return stream_volume_views(
                model, files, mapping, how=how, failures=failures, progress=progress, raw=raw, observe=observe
            )
        return stream_views(
            model,
            files,
            mapping,
            protocol=self.protocol,
            how=how,
            failures=failures,
            raw=raw,
            observe=observe,
        )


@dataclass(frozen=True)
class PooledTask(Task):
    """The cases that the folds of a cross-validation left out, each answered by the member that did.

    Attributes:
        folds: case ids that each member left out, in the order of the members.
    """

    folds: tuple[frozenset[str], ...] = ()

    @property
    def part(self) -> str:
        """What is scored, in words."""
        return f"out of fold: every case by the one of {len(self.folds)} models that did not see it"

    def views(
        self,
        files: Iterable[CaseFiles],
        *,
        failures: list[Failure],
        progress: Progress,
        raw: bool = False,
        observe: bool = False,
    ) -> Iterator[View] | Iterator[VolumeView]:
        """As of a task; the files come fold by fold."""
        for fold, cases in groupby(files, key=self._find_fold):
            member = self._take_member(fold)
            alone = Task(member, self.dataset, self.files, self.split, self.protocol, self.how)
            yield from alone.views(cases, failures=failures, progress=progress, raw=raw, observe=observe)

    def find_model(self, case: str) -> Network:
        """The member that left a case out."""
        return self._take_member(next(index for index, ids in enumerate(self.folds) if case in ids))

    def _find_fold(self, case: CaseFiles) -> int:
        return next(index for index, ids in enumerate(self.folds) if case.id in ids)

    def _take_member(self, fold: int) -> Network:
        """The model of a fold, whose masks are cleaned as those of the whole."""
        members: Sequence[Network] = self.model.members if isinstance(self.model, Ensemble) else ()
        members[fold].postprocessing = self.model.postprocessing
        return members[fold]


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

    The split val of a cross-validation is every case out of its fold.

    Raises:
        UsageError: the protocol is unknown, or an option is not for it or for evaluation.
        SplitError: the split is empty or unknown, or the model was trained on its cases.
        LabelError: the classes of the data are not those of the model.
        DataError: the data are images and the model is for volumes, or the other way round.
    """
    how = _check_options(how, protocol)
    dataset = data if isinstance(data, Dataset) else open_dataset(data, progress=progress)
    given = Path(splits) if splits else None
    runs = find_folds(model) if split == VALIDATION and given is None else ()
    pools = [select_cases(dataset, split, runs=[run]) for run in runs]
    files = tuple(chain(*pools)) or select_cases(dataset, split, splits=given, runs=find_runs(model))
    network = open_model(model, progress, how=how)
    if protocol == "paper" and network.settings.preprocessing.window is not None:
        raise UsageError(
            f"protocol paper scores whole images, and the model was trained on windows of "
            f"{network.settings.preprocessing.window} px; score with native"
        )
    refuse_other_kind(network, dataset, protocol=protocol, planes=how.planes)
    refuse_other_classes(network.settings.classes, dataset)
    if not pools:
        return Task(network, dataset, files, split, protocol, how)
    folds = tuple(frozenset(case.id for case in pool) for pool in pools)
    return PooledTask(network, dataset, files, split, protocol, how, folds)


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
        how = replace(how, postprocess=False, flips=False)  # once, whatever the model does by itself
    return replace(how, probabilities=False)  # which no score needs
