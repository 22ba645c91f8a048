"""Splits of several folders: each keeps its own, and a run records them folder by folder."""

from __future__ import annotations

from typing import Literal

from dinoseg.data.layouts.joined import JoinedDataset, Part
from dinoseg.data.splits.splits import Splits, resolve_splits


def resolve_joined(
    dataset: JoinedDataset, *, seed: int = 0, unit: Literal["case", "group"] = "case", fold: int = 0
) -> Splits:
    """The splits of each folder as `resolve_splits` finds or draws them, one after the other.

    Raises:
        SplitError: what `resolve_splits` raises for one of the folders.
    """
    found = [resolve_splits(part.dataset, seed=seed, unit=unit, fold=fold) for part in dataset.parts]
    lists = [
        tuple(
            part.ids[id_]
            for part, splits in zip(dataset.parts, found, strict=True)
            for id_ in dict(splits.items())[name]
        )
        for name in ("train", "val", "test")
    ]
    drawn = [splits.seed for splits in found if splits.seed is not None]
    unit_of_all = "group" if any(splits.unit == "group" for splits in found) else "case"
    return Splits(lists[0], lists[1], lists[2], drawn[0] if drawn else None, unit_of_all)


def take_part(splits: Splits, part: Part) -> Splits:
    """What the splits of the whole say of one folder, with the names that its cases have there."""
    own = {whole: id_ for id_, whole in part.ids.items()}
    lists = [tuple(own[id_] for id_ in ids if id_ in own) for _, ids in splits.items()]
    return Splits(lists[0], lists[1], lists[2], splits.seed, splits.unit)
