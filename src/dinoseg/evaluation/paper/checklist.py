"""The CLAIM checklist of 2024, filled in as far as an evaluation knows; what it cannot know stays blank.

The numbers are those of the Checklist for Artificial Intelligence in Medical Imaging, update of 2024
(Radiology: Artificial Intelligence 2024); the wording of the items is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dinoseg.evaluation.paper.study import Study, Training

ITEMS: Mapping[int, str] = {
    1: "Title or abstract: a study of AI, and of which kind",
    2: "Structured summary",
    3: "Background: intended use and clinical role",
    4: "Aims, objectives, hypotheses",
    5: "Prospective or retrospective",
    6: "Goal of the study",
    7: "Sources of the data",
    8: "Inclusion and exclusion",
    9: "Preprocessing",
    10: "Selection of subsets",
    11: "De-identification",
    12: "Missing data",
    13: "Acquisition protocol",
    14: "Reference standard: how it was obtained",
    15: "Reference standard: why this one",
    16: "Who annotated, and their qualification",
    17: "Annotation of the test set",
    18: "Variability between and within annotators",
    19: "How data were assigned to the splits",
    20: "Level at which the splits are disjoint",
    21: "Sample size, and how it was chosen",
    22: "Model",
    23: "Software and packages",
    24: "Initialisation of the weights",
    25: "Training",
    26: "Selection of the final model",
    27: "Ensembles",
    28: "Performance metrics",
    29: "Significance and uncertainty",
    30: "Robustness and sensitivity",
    31: "Explainability",
    32: "Evaluation on internal data",
    33: "Testing on external data",
    34: "Trial registration",
    35: "Numbers of patients, included and excluded",
    36: "Demographic and clinical characteristics of each split",
    37: "Performance on all splits",
    38: "Estimates with their precision",
    39: "Failure analysis",
    40: "Limitations",
    41: "Implications for practice",
    42: "Study protocol",
    43: "Availability of software, model and data",
    44: "Funding",
}


@dataclass(frozen=True)
class Item:
    """One item: its number, what it asks for, and the answer; "" where a person has to give it."""

    number: int
    topic: str
    answer: str


def fill_checklist(study: Study) -> tuple[Item, ...]:
    """All 44 items, in order."""
    answers = {**_of_every(study), **(_of_training(study.training) if study.training else {})}
    return tuple(Item(number, topic, answers.get(number, "")) for number, topic in ITEMS.items())


def _of_every(study: Study) -> dict[int, str]:
    missing = f"{study.unscored} cases could not be read; they are named and in no mean"
    known = {
        12: missing if study.unscored else "no case was left out",
        23: f"dinoseg {study.version}; see the method statement",
        28: "Dice, IoU, HD95, ASSD, NSD and lesion scores; definitions at the end of the page",
        29: f"95 % bootstrap intervals over groups, seed {study.seed}",
        35: f"{study.cases} cases of {study.groups} groups were scored; exclusions before that: not known",
        38: "table “By class”: every mean with its interval",
        39: "“Cases to look at”: the worst, middle and best; missed and false alarms are counted",
    }
    if study.model is not None:
        known[9] = f"resized to {study.model.preprocessing.size} px; see the method statement"
        known[22] = f"{study.model.decoder.method} on {study.model.backbone.name.rpartition('/')[2]}, frozen"
    if study.split in ("val", "test") and study.training is not None:
        known[32] = f"the {study.split} split of the training's own data"
    if study.leaks:
        known[33] = f"not external: {study.leaks}"
    return known


def _of_training(training: Training) -> dict[int, str]:
    settings, splits = training.settings, training.splits
    counts = f"{len(splits.train)} training, {len(splits.val)} validation, {len(splits.test)} test"
    shots = settings.shots is not None
    how = "given with the data" if splits.seed is None or shots else f"drawn with seed {splits.seed}"
    level = "groups (patients or videos, where named)" if splits.unit == "group" else "cases"
    begun = "of another run" if settings.init else f"random, seed {settings.train.seed}"
    return {
        19: f"{how}: {counts}",
        20: f"{level}; images that are equal across splits are refused",
        **({10: f"{settings.shots} labelled {settings.shot_unit}s for training"} if shots else {}),
        24: f"backbone pretrained; decoder {begun}",
        25: "see the method statement; every setting is in config.yaml of the run",
        26: "highest mean Dice on validation" if settings.train.keep == "best" else "the last epoch",
        27: "none",
    }
