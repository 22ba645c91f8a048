"""`evaluate`: a model's scores on a split, with intervals, misses and, where asked for, a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dinoseg.backbones.extractors import Precision
from dinoseg.data.cases.files import CaseFiles, shorten
from dinoseg.data.layouts.dataset import Dataset, open_dataset
from dinoseg.data.volumes import Plane
from dinoseg.errors import DataError, UsageError
from dinoseg.evaluation.examples import Picture, choose_examples, describe
from dinoseg.evaluation.metrics import DEFAULT_TOLERANCE, ClassScore, Unit, score_case
from dinoseg.evaluation.report import Failure, refuse_report, write_report
from dinoseg.evaluation.results import Evaluation
from dinoseg.evaluation.selection import ALL, refuse_other_classes, refuse_other_kind, select_cases
from dinoseg.evaluation.strata import find_metadata, find_strata
from dinoseg.evaluation.summary import Protocol, refuse_mixed_units, summarise
from dinoseg.evaluation.views import View, stream_views
from dinoseg.evaluation.volume_views import VolumeView, stream_volume_views
from dinoseg.inference.engine import Options
from dinoseg.inference.predictor import open_model
from dinoseg.model.segmenter import Segmenter
from dinoseg.progress import Progress, Silent

PROTOCOLS: tuple[Protocol, ...] = ("native", "paper")


def evaluate(
    model: Segmenter | Path | str,
    data: Dataset | Path | str,
    *,
    split: str = "test",
    protocol: Protocol = "native",
    splits: Path | str | None = None,
    planes: Sequence[Plane] | None = None,
    postprocess: bool = True,
    tolerance: float | None = None,
    out: Path | str | None = None,
    batch_size: int = 8,
    seed: int = 0,
    overwrite: bool = False,
    backbone: str | Path | None = None,
    accept_license: bool = False,
    device: str | None = None,
    precision: Precision | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a model on the cases of a split: Dice, IoU, HD95, ASSD and NSD per class.

    A volume is one case, scored in 3D on the grid of its file. Where the data set declares regions,
    each is scored as the union of its classes as well.

    Args:
        model: a run folder, or a Segmenter. With a run folder its own splits are used, and cases
            that it was trained on are refused.
        data: folder or CSV of images and masks, or one that was opened already.
        split: "test", "val", "train", or "all" for every case of the data set.
        protocol: "native" scores at the size of the images and counts every case; "paper" scores
            as the published programs do and is not comparable with it.
        splits: a splits.json to use instead.
        planes: how volumes are cut, as in `predict`; default: as in training.
        postprocess: clean masks as was chosen on validation for this model, if it was; the paper
            protocol never does.
        tolerance: of the NSD; default 1 mm where the spacing is known, else 2 px.
        out: folder for a report (four files); nothing is written without.
        batch_size: images that the model sees at once.
        seed: of the bootstrap.
        overwrite: replace an older report.
        backbone: another place of the backbone's weights; only with a run folder.
        accept_license: accept the licence of the backbone's weights; only with a run folder.
        device: torch device to load a run folder to, default "cpu".
        precision: what the backbone of a run folder computes in; default: what it was trained in.
        progress: told how many cases are done, and which failed.

    Raises:
        UsageError: an argument is not accepted.
        SplitError: the split is empty or unknown, or the model was trained on its cases.
        LabelError: the classes of the data are not those of the model.
        DataError: no case could be scored, or only some have a spacing.
        OutputError: the report exists already or cannot be written.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"protocol {protocol!r} is not accepted; choose {' or '.join(PROTOCOLS)}")
    planes = None if planes is None else tuple(planes)
    options = Options(batch_size=batch_size, planes=planes, postprocess=postprocess)
    out = None if out is None else Path(out)
    if out is not None:
        refuse_report(out, overwrite=overwrite)
    progress = progress or Silent()
    dataset = data if isinstance(data, Dataset) else open_dataset(data, progress=progress)
    run = None if isinstance(model, Segmenter) else Path(model)
    files = select_cases(dataset, split, splits=Path(splits) if splits else None, run=run)
    segmenter = open_model(
        model,
        backbone=backbone,
        accept_license=accept_license,
        device=device,
        precision=precision,
        progress=progress,
    )
    refuse_other_kind(segmenter, dataset, protocol=protocol, planes=planes)
    refuse_other_classes(segmenter.classes, dataset)
    work = _Work(segmenter, dataset, protocol, tolerance, options)
    evaluation = _score(work, files, seed, progress)
    metadata = find_metadata(dataset.root, evaluation.scores, progress=progress)
    evaluation = replace(evaluation, strata=find_strata(evaluation.scores, metadata, seed=seed))
    if out is None:
        return evaluation
    page = _write(work, evaluation, files, out, split=split, seed=seed, overwrite=overwrite)
    return replace(evaluation, report=page)


@dataclass(frozen=True)
class _Work:
    """What is evaluated, and how."""

    model: Segmenter
    dataset: Dataset
    protocol: Protocol
    tolerance: float | None
    options: Options

    def tolerance_in(self, unit: Unit) -> float:
        return DEFAULT_TOLERANCE[unit] if self.tolerance is None else self.tolerance

    def views(
        self, files: Iterable[CaseFiles], failures: list[Failure], progress: Progress
    ) -> Iterator[View] | Iterator[VolumeView]:
        model, mapping, options = self.model, self.dataset.labels, self.options
        if self.dataset.is_volumes:
            return stream_volume_views(
                model, files, mapping, options=options, failures=failures, progress=progress
            )
        return stream_views(model, files, mapping, protocol=self.protocol, options=options, failures=failures)

    @property
    def cleaning(self) -> str:
        """What is done to the masks, in words."""
        if self.protocol == "paper" or not self.options.postprocess or self.model.postprocessing is None:
            return "none"
        return self.model.postprocessing.describe(self.model.classes)


def _score(work: _Work, files: Sequence[CaseFiles], seed: int, progress: Progress) -> Evaluation:
    failures: list[Failure] = []
    scores: list[ClassScore] = []
    shown = progress.track(files, total=len(files), label="evaluate")
    for view in work.views(shown, failures, progress):
        scores += _score_view(work, view)
        refuse_mixed_units([scores[0], scores[-1]])
        del view  # of volumes, before the next one is read
    for failure in failures:
        progress.note(f"{failure.case} failed and is in no mean: {failure.message}")
    if not scores:
        raise DataError(f"no case could be scored: {shorten(failure.message for failure in failures)}")
    if work.dataset.is_volumes and scores[0].unit == "px":
        progress.note("the files say nothing of the size of a voxel: distances are in voxels (px), not mm")
    return Evaluation(
        scores=tuple(scores),
        summaries=tuple(summarise(scores, seed=seed, protocol=work.protocol)),
        protocol=work.protocol,
        failures=tuple(failures),
        tolerance=work.tolerance_in(scores[0].unit),
        unit=scores[0].unit,
    )


def _score_view(work: _Work, view: View | VolumeView) -> list[ClassScore]:
    return score_case(
        view.prediction,
        view.target,
        classes=work.model.classes,
        spacing=view.spacing,
        tolerance=work.tolerance_in("px" if view.spacing is None else "mm"),
        case=view.case.id,
        group=view.case.group,
        regions=work.dataset.regions,
    )


def _write(
    work: _Work,
    evaluation: Evaluation,
    files: Sequence[CaseFiles],
    out: Path,
    *,
    split: str,
    seed: int,
    overwrite: bool,
) -> Path:
    method, backbone = work.model.settings.decoder.method, work.model.backbone
    name = work.dataset.root.resolve().name
    part = "every case, also any that the model was trained on" if split == ALL else split
    return write_report(
        evaluation.scores,
        evaluation.summaries,
        out,
        title=f"{method} on {name}: {'all cases' if split == ALL else split + ' split'}",
        policy=evaluation.policy,
        protocol=work.protocol,
        facts={
            "Method": method,
            "Backbone": f"{backbone.name} ({backbone.digest[:12]}, {backbone.precision})",
            "Data": str(work.dataset.root),
            "Split": f"{part} ({len(files)} cases)",
            "Protocol": work.protocol,
            "Postprocessing": work.cleaning,
            "Seed of the intervals": str(seed),
        },
        classes=work.model.classes,
        pictures=_draw_pictures(work, evaluation.scores, files),
        failures=evaluation.failures,
        strata=evaluation.strata,
        overwrite=overwrite,
    )


def _draw_pictures(work: _Work, scores: Sequence[ClassScore], files: Sequence[CaseFiles]) -> list[Picture]:
    """Predict the few chosen cases once more, so that no mask had to be kept."""
    examples = {example.case: example for example in choose_examples(scores)}
    again = [item for item in files if item.id in examples]
    views = work.views(again, [], Silent())
    pictures = {view.case.id: view.draw(work.model.classes) for view in views}
    return [
        Picture(
            role=example.role,
            case=example.case,
            caption=describe([score for score in scores if score.case == example.case]),
            jpeg=pictures[example.case],
        )
        for example in examples.values()
        if example.case in pictures
    ]
