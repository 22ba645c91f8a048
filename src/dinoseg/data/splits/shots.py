"""Few-shot draws: seeded, nested, with every class as early as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from dinoseg.data.cases.files import CaseFiles, shorten
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.errors import LabelError, SplitError
from dinoseg.progress import Progress


def draw_shots(
    dataset: Dataset,
    case_ids: Sequence[str],
    shots: int,
    *,
    seed: int = 0,
    unit: Literal["case", "group"] = "case",
    first: bool = False,
) -> tuple[str, ...]:
    """Choose a few training cases.

    The draw of one seed is an order of all units of which the first `shots` are taken, so that
    5 shots are among the 10. The order begins with units that together show every class, those
    that add most classes first; the rest is random. Where `shots` are too few for every class,
    they show as many as this finds.

    Args:
        dataset: the data.
        case_ids: the training split.
        shots: how many cases, or groups with all their cases.
        seed: of the draw.
        unit: what counts as one shot.
        first: take the first in the order of `case_ids` instead of drawing.

    Returns:
        The chosen case ids, in the order of the draw.

    Raises:
        SplitError: `shots` is below 1 or above the number of units.
        LabelError: a mask holds a value without a class.
    """
    refuse_shots(dataset, case_ids, shots, unit=unit)
    members = _collect_units(dataset, case_ids, unit)
    order = list(members) if first else _draw_order(_find_classes(dataset, members), shots, seed)
    return tuple(case.id for name in order[:shots] for case in members[name])


def refuse_shots(
    dataset: Dataset, case_ids: Sequence[str], shots: int, *, unit: Literal["case", "group"] = "case"
) -> None:
    """Raise unless so many shots can be drawn from these cases.

    Raises:
        SplitError: `shots` is below 1 or above the number of units.
    """
    members = _collect_units(dataset, case_ids, unit)
    if not 1 <= shots <= len(members):
        raise SplitError(
            f"{shots} shots; the training split holds 1 to {len(members)} ({unit}s): {shorten(members)}"
        )


def refuse_empty_shots(dataset: Dataset, case_ids: Sequence[str]) -> None:
    """Raise unless one of these cases shows a class: the first of a list may all be background.

    Raises:
        LabelError: none does, or a mask holds a value without a class.
    """
    if not any(_classes_of(dataset, case) for case in dataset.find(case_ids)):
        raise LabelError(
            f"no mask of the first {len(case_ids)} training cases shows a class ({shorten(list(case_ids))}): "
            "nothing can be learned; take more with --shots, or draw them with --shots-from random"
        )


def find_absent_classes(dataset: Dataset, case_ids: Sequence[str]) -> tuple[str, ...]:
    """Names of the foreground classes that no mask of these cases shows.

    Raises:
        LabelError: a mask holds a value without a class.
    """
    wanted = set(dataset.classes) - {0}
    for case in dataset.find(case_ids):
        if not wanted:
            break
        wanted -= _classes_of(dataset, case)
    return tuple(dataset.classes[id_] for id_ in sorted(wanted))


def tell_absent_classes(dataset: Dataset, case_ids: Sequence[str], progress: Progress) -> None:
    """Say which classes cannot be learned from these cases."""
    absent = find_absent_classes(dataset, case_ids)
    if absent:
        progress.note(
            f"no mask of the {len(case_ids)} training cases shows {', '.join(absent)}: not to be learned"
        )


def tell_empty_validation(dataset: Dataset, case_ids: Sequence[str], progress: Progress) -> bool:
    """Say what cases without a class do to the validation Dice; return whether it can choose an epoch.

    Raises:
        LabelError: a mask holds a value without a class.
    """
    cases = dataset.find(case_ids)
    if not any(_classes_of(dataset, case) for case in cases):
        progress.note(
            f"none of the {len(cases)} validation cases shows a class: they cannot tell a good epoch from "
            "one that finds nothing, so the last epoch is kept and nothing stops early; put cases with a "
            f"class into val, for example with `dinoseg data split {dataset.root}`"
        )
        return False
    empty = sum(case.id in dataset.empty for case in cases)
    if empty:
        progress.note(
            f"{empty} of the {len(cases)} validation cases show no class: in the validation Dice each counts "
            "1 where nothing is found and 0 where anything is"
        )
    return True


def _collect_units(dataset: Dataset, case_ids: Sequence[str], unit: str) -> dict[str, list[CaseFiles]]:
    members: dict[str, list[CaseFiles]] = {}
    for case in dataset.find(case_ids):
        members.setdefault(case.group if unit == "group" else case.id, []).append(case)
    return members


def _find_classes(dataset: Dataset, members: Mapping[str, Sequence[CaseFiles]]) -> dict[str, frozenset[int]]:
    return {
        name: frozenset(id_ for case in cases for id_ in _classes_of(dataset, case))
        for name, cases in members.items()
    }


def _classes_of(dataset: Dataset, case: CaseFiles) -> frozenset[int]:
    if case.label is None or case.id in dataset.empty:
        return frozenset()
    return dataset.labels.find_classes(dataset.labels.read(case.label, case.series))


def _draw_order(classes_of: Mapping[str, frozenset[int]], count: int, seed: int) -> list[str]:
    names = sorted(classes_of)
    waiting = [names[int(index)] for index in np.random.default_rng(seed).permutation(len(names))]
    uncovered = {id_ for ids in classes_of.values() for id_ in ids}
    order: list[str] = []
    while uncovered and len(order) < count:
        # max keeps the first of equals: the shuffled order decides.
        best = max(waiting, key=lambda name: len(classes_of[name] & uncovered))
        uncovered -= classes_of[best]
        waiting.remove(best)
        order.append(best)
    return order + waiting


def require_foreground(cases: Sequence[CaseFiles], mapping: LabelMapping) -> None:
    """Raise if no mask of a training set shows anything but background.

    Raises:
        LabelError: there is no mask, or every one is all background.
    """
    masks = [(case.label, case.series) for case in cases if case.label is not None]
    if not masks:
        raise LabelError(
            "the training split holds no case with a mask; make one with `dinoseg data split DATA`"
        )
    for path, series in masks:
        if mapping.find_classes(mapping.read(path, series)):
            return
    raise LabelError(
        f"all {len(masks)} training masks are empty (only background, e.g. {masks[0][0]}); "
        "check that the right folder was given with `dinoseg data check DATA`"
    )
