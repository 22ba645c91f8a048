"""The steps of the demo: draw, train, evaluate, predict, and one picture that shows what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dinoseg.backbones.catalog import UNTRAINED
from dinoseg.cli.contact_sheet import Row, draw_sheet
from dinoseg.data import Dataset, open_dataset, read_case
from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.evaluation import Evaluation, evaluate
from dinoseg.evaluation.examples import Example, choose_examples, describe
from dinoseg.inference import predict_cases, predict_files
from dinoseg.model.segmenter import Segmenter
from dinoseg.outputs import claim as claim_folder
from dinoseg.outputs import refuse_filled, remove_ours
from dinoseg.progress import Progress
from dinoseg.training import train

METHOD = "segdino-v1"
SEED = 0


@dataclass(frozen=True)
class Plan:
    """How large a demo is.

    Attributes:
        kind: of phantom.
        pictures: how many are drawn.
        size: height and width of each.
        changes: settings of the training.
        each: rows of the picture for each of worst, median and best.
    """

    kind: Literal["ultrasound", "dermoscopy", "endoscopy"]
    pictures: int
    size: tuple[int, int]
    changes: Mapping[str, Any]
    each: int


FULL = Plan(
    kind="dermoscopy",
    pictures=80,
    size=(256, 320),
    changes={"train.epochs": 20, "train.views": 4, "train.min_bank": 1},
    each=2,
)
QUICK = Plan(
    kind="dermoscopy",
    pictures=20,
    size=(128, 160),
    changes={
        "train.epochs": 8,
        "train.views": 2,
        "train.min_bank": 1,
        "train.min_epoch_samples": 48,
        "model.preprocessing.size": 128,
    },
    each=1,
)


@dataclass(frozen=True)
class DemoResult:
    """What the demo left behind.

    Attributes:
        sheet: the picture to look at first.
        overlays: masks drawn on the test pictures.
        run: the run folder.
        data: the drawn pictures, their masks and splits.
        evaluation: scores on the test split.
    """

    sheet: Path
    overlays: Path
    run: Path
    data: Path
    evaluation: Evaluation


def walk_through(out: Path, plan: Plan, *, claim: str, overwrite: bool, progress: Progress) -> DemoResult:
    """Do all steps below `out`.

    Args:
        out: a folder for everything.
        plan: how large.
        claim: what the pictures are no proof of; written on the picture as well.
        overwrite: replace an older demo, where nobody added or changed a file.
        progress: shows the steps.

    Raises:
        OutputError: `out` holds something already (and not `overwrite`), or a file that no demo wrote, or
            cannot be written.
    """
    _make_room(out, overwrite=overwrite)
    progress.note(f"1 of 4: drawing {plan.pictures} {plan.kind} phantoms")
    data, run = out / "data", out / "run"
    write_phantoms(data, kind=plan.kind, count=plan.pictures, size=plan.size, seed=SEED, progress=progress)
    progress.note(f"2 of 4: training {METHOD} on the backbone {UNTRAINED}")
    model = _train(data, run, plan, progress)
    progress.note("3 of 4: evaluating on the test split, which training has not seen")
    evaluation = evaluate(run, data, split="test", out=run / "report", progress=progress)
    progress.note("4 of 4: predicting the test pictures")
    dataset = open_dataset(data)
    images = [case.image for case in dataset.cases if case.split == "test"]
    predict_files(run, images, out / "predictions", progress=progress)
    sheet = out / "contact_sheet.png"
    _draw(model, dataset, evaluation, sheet, each=plan.each, claim=claim)
    overlays = out / "predictions" / "overlays"
    return DemoResult(sheet, overlays, run, data, evaluation)


def _train(data: Path, run: Path, plan: Plan, progress: Progress) -> Segmenter:
    # The features of pictures that nobody needs again are not worth a place among those of real ones.
    features = run.with_name("features")
    changes = {**plan.changes, "cache.folder": str(features)}
    model = train(
        data, method=METHOD, backbone=UNTRAINED, out=run, changes=changes, seed=SEED, progress=progress
    )
    remove_ours(features)
    features.rmdir()
    return model


def _make_room(out: Path, *, overwrite: bool) -> None:
    refuse_filled(out, overwrite=overwrite)
    remove_ours(out)
    claim_folder(out)


def _draw(
    model: Segmenter, dataset: Dataset, evaluation: Evaluation, path: Path, *, each: int, claim: str
) -> None:
    examples = choose_examples(evaluation.scores, each=each)
    rows = [_row(model, dataset, example, evaluation) for example in examples]
    row = evaluation.headline
    title = f"{METHOD} on {UNTRAINED}: mean Dice {row.metric('dice').interval.mean:.2f}"
    counts = (
        f"{row.cases} test pictures: {row.missed} of {row.with_target} with a lesion missed, "
        f"{row.false_alarms} false alarms. The worst, the median and the best:"
    )
    draw_sheet(rows, path, title=title, notes=[claim, counts])


def _row(model: Segmenter, dataset: Dataset, example: Example, evaluation: Evaluation) -> Row:
    case = read_case(dataset.find([example.case])[0], dataset.labels)
    (prediction,) = predict_cases(model, [case])
    target = case.label.array if case.label is not None else np.zeros_like(prediction.mask)
    scores = [score for score in evaluation.scores if score.case == example.case]
    return Row(case.image, target, prediction.mask, (example.role, describe(scores)))
