"""Which cases are scored: none that the model was trained on, none whose classes mean something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dinoseg.data.cases.files import CaseFiles, shorten
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.sources.arrays import LAYOUT
from dinoseg.data.splits.splits import (
    FILE_NAME,
    NAMES,
    PARTS,
    Splits,
    find_split_file,
    load_splits,
    resolve_splits,
)
from dinoseg.data.volumes import Plane
from dinoseg.errors import DataError, LabelError, SplitError, UsageError
from dinoseg.model.network import Network

ALL = "all"


def select_cases(
    dataset: Dataset, split: str, *, splits: Path | None = None, runs: Sequence[Path] = ()
) -> tuple[CaseFiles, ...]:
    """Return the cases of a split, in its order.

    The splits are those of `splits`, else those that the run was trained with where its cases are
    in the data set, else those of the data set. Nothing is drawn: a new draw could hold cases
    that the model was trained on.

    Args:
        dataset: where the cases are.
        split: "train", "val", "test", or "all" for every case of the data set.
        splits: a splits.json.
        runs: run folders of the model, where they are known: the first that was trained on these data
            says what is in the split, and none may have been trained on it.

    Raises:
        UsageError: an unknown split.
        SplitError: no splits are known, the split is empty, or the run was trained on some of its
            cases (which only the split "train" may hold).
    """
    if split not in (*NAMES, ALL):
        raise UsageError(f"split {split!r} is not accepted; choose {', '.join(NAMES)} or {ALL}")
    known = (_trained_with(dataset, run, splits) for run in runs)
    trained = [each for each in known if each is not None]
    if split == ALL:
        chosen = tuple(case.id for case in dataset.cases)
    else:
        found = trained[0] if splits is None and trained else _known_splits(dataset, split, splits)
        chosen = dict(found.items())[split]
    if not chosen:
        advice = f"make one with `dinoseg data split {dataset.root}`"
        raise SplitError(f"the {split} split of {dataset.root} holds no case; {advice}")
    for each in trained if split != "train" else ():
        _refuse_trained(chosen, each, split)
    return dataset.find(chosen)


def refuse_other_classes(model: Mapping[int, str], dataset: Dataset) -> None:
    """Raise unless the class ids of a data set mean what they mean to the model.

    Raises:
        LabelError: the data set has classes that the model has not, lacks some although its ids
            were inferred from the values that occur, or gives a class another id.
    """
    fixed = dataset.labels.kind in ("declared", "ids")
    same = set(dataset.classes) == set(model)
    known = set(dataset.classes) <= set(model)
    ids = {name: class_id for class_id, name in model.items()}
    moved = [name for class_id, name in dataset.classes.items() if ids.get(name, class_id) != class_id]
    if moved or not (same or (known and fixed)):
        raise LabelError(
            f"{dataset.root} has the classes {dict(dataset.classes)}, the model {dict(model)}; "
            "declare the classes of the model in dataset.yaml"
        )


def refuse_other_kind(
    model: Network, dataset: Dataset, *, protocol: str, planes: Sequence[Plane] | None
) -> None:
    """Raise unless model, options and data set are all for volumes, or all for images.

    Raises:
        DataError: the model was trained on the other.
        UsageError: the protocol is for images, or the planes are for volumes.
    """
    given = "volumes" if dataset.is_volumes else "images"
    trained = "volumes" if model.settings.preprocessing.for_volumes else "images"
    if given != trained:
        raise DataError(
            f"{dataset.root} holds {given}, and the model was trained on {trained}; name another of the two"
        )
    if dataset.is_volumes and protocol == "paper":
        raise UsageError("protocol paper is that of programs for images; volumes are scored with native")
    if planes is not None and not dataset.is_volumes:
        raise UsageError(f"planes are for volumes, and {dataset.root} holds images; leave them out")


def _find_record(dataset: Dataset, run: Path, given: Path | None) -> Path:
    """The file of a run's splits; of several data folders that of the one that was given."""
    several = sorted((run / PARTS).glob("*.json"))
    known = {case.id for case in dataset.cases}
    fitting = [path for path in several if known.issuperset(load_splits(path).find_split())]
    chosen = [path for path in fitting if given is not None and given.absolute() == path.absolute()]
    place = "-".join(dataset.root.resolve().parts)
    named = chosen or [path for path in fitting if place.endswith(f"-{path.stem}")]
    if len(fitting) > 1 and len(named) != 1:
        raise SplitError(
            f"{dataset.root} may be any of the {len(fitting)} folders that {run} was trained on; name the "
            f"splits of this one: --splits {fitting[0]}"
        )
    return (named or fitting or [run / FILE_NAME])[0]


def _trained_with(dataset: Dataset, run: Path, given: Path | None) -> Splits | None:
    """Return the splits of the run if this is the data set that it was trained on."""
    path = _find_record(dataset, run, given)
    if not path.is_file():
        return None
    splits = load_splits(path)
    known = {case.id for case in dataset.cases}
    named = splits.find_split()
    gone = [case_id for case_id in named if case_id not in known]
    if len(gone) == len(named):
        return None
    if gone and dataset.layout == LAYOUT:  # of arrays, some may be given
        train, val, test = (tuple(id_ for id_ in ids if id_ in known) for _, ids in splits.items())
        return replace(splits, train=train, val=val, test=test)
    if gone:
        raise SplitError(
            f"{path} names {len(gone)} cases that {dataset.root} does not hold ({shorten(gone)}); "
            "evaluate on the data of the run, or name other splits with --splits"
        )
    return splits


def _known_splits(dataset: Dataset, split: str, path: Path | None) -> Splits:
    written = path is not None or find_split_file(dataset.root) is not None
    laid_out = any(case.split == split for case in dataset.cases)
    if not (written or laid_out):
        raise SplitError(
            f"{dataset.root} has no {split} split, and one drawn now could hold cases that the model was "
            "trained on; name the splits.json of the run with --splits, or score every case with --split all"
        )
    return resolve_splits(dataset, path=path)


def _refuse_trained(chosen: tuple[str, ...], trained: Splits, split: str) -> None:
    seen = set(trained.train)
    both = [case_id for case_id in chosen if case_id in seen]
    if both:
        raise SplitError(
            f"the model was trained on {len(both)} of the {len(chosen)} cases of the {split} split "
            f"({shorten(both)}); name the splits of the run, or other cases"
        )
