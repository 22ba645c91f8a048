"""`Ensemble`: several trained models as one; what its folder says. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dinoseg import __version__
from dinoseg.config import ConfidenceSettings, PostprocessingSettings, from_yaml, validate
from dinoseg.data.cases.likeness import Profile
from dinoseg.data.cases.prints import TrainingCases
from dinoseg.errors import ConfigError, RunError, UsageError
from dinoseg.model.network import Array, Network, input_size
from dinoseg.model.settings import ModelSettings

DOCUMENT = "ensemble.json"
FORMAT = 1  # of the document

Kind = Literal["folds", "runs"]


@dataclass(frozen=True)
class Member:
    """One model of an ensemble, as its document names it.

    Attributes:
        folder: its run folder, relative to that of the ensemble.
        digest: sha256 of its decoder.safetensors.
    """

    folder: str
    digest: str


@dataclass(frozen=True)
class EnsembleDescription:
    """What ensemble.json says.

    Attributes:
        kind: "folds" of one data set, of which every case was left out by one, or any "runs".
        members: in order; of folds the first is fold 0.
        postprocessing: of the masks of the ensemble; None for nothing.
        calibration: what its probabilities are worth; None where that was not fitted.
    """

    kind: Kind
    members: tuple[Member, ...]
    postprocessing: PostprocessingSettings | None = None
    calibration: ConfidenceSettings | None = None

    def describe(self) -> dict[str, Any]:
        """What the document holds."""
        cleaning = self.postprocessing
        return {
            "format": FORMAT,
            "dinoseg": __version__,
            "kind": self.kind,
            "members": [vars(member) for member in self.members],
            "postprocessing": None if cleaning is None else cleaning.model_dump(),
            "confidence": None if self.calibration is None else self.calibration.model_dump(),
        }


def is_ensemble(folder: Path) -> bool:
    """Whether a folder holds an ensemble."""
    return (folder / DOCUMENT).is_file()


def read_ensemble(folder: Path) -> EnsembleDescription:
    """What the document of an ensemble's folder says.

    Raises:
        RunError: it is damaged, of a newer dinoseg, or names a folder outside.
    """
    path = folder / DOCUMENT
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        if described["format"] != FORMAT:
            raise RunError(
                f"{path} has format {described['format']}, this dinoseg reads {FORMAT}; "
                "upgrade with pip install -U dinoseg"
            )
        if described["kind"] not in ("folds", "runs") or len(described["members"]) < 2:
            raise ValueError("it names no kind, or fewer than two members")
        cleaning = described["postprocessing"]
        return EnsembleDescription(
            kind=described["kind"],
            members=tuple(_read_member(folder, item) for item in described["members"]),
            postprocessing=None
            if cleaning is None
            else from_yaml(PostprocessingSettings, json.dumps(cleaning)),
            calibration=read_confidence(described),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it, or make the ensemble again") from error


def read_confidence(described: Mapping[str, Any]) -> ConfidenceSettings | None:
    """The calibration in the document of a model or an ensemble; older ones have none.

    Raises:
        ConfigError: it is damaged.
    """
    found = described.get("confidence")
    return None if found is None else validate(ConfidenceSettings, found)


def _read_member(folder: Path, item: Any) -> Member:
    member = Member(str(item["folder"]), str(item["digest"]))
    if not (folder / member.folder).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"member {member.folder!r} lies outside")
    return member


def list_members(folder: Path) -> tuple[Path, ...]:
    """The run folders of an ensemble's members, in order."""
    return tuple(folder / member.folder for member in read_ensemble(folder).members)


def digest_file(path: Path) -> str:
    """sha256 of a file.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error}; restore it, or make the ensemble again") from error


class Ensemble:
    """Several models with the same classes: their class probabilities are averaged.

    Members that share backbone and preprocessing are one group, which looks at an image once.

    Attributes:
        members: each a model of its own, in the order of the document.
        groups: what computes, each for some of the members; it averages over those.
        kind: "folds" or "runs".
        run: the folder that it was loaded from; None for none.
        postprocessing: what predict and evaluate do to masks; None for nothing.
        seen: what the training cases of all members show; None where one does not know.
        calibration: what the averaged probabilities are worth; None where that was not fitted.
        trained_on: what the training cases of all members are known again by; None where none knows.
    """

    def __init__(self, members: Sequence[Network], groups: Sequence[Network], *, kind: Kind = "runs") -> None:
        """Members and groups as of the attributes.

        Raises:
            UsageError: the members differ in what an average needs.
        """
        refuse_unlike([member.settings for member in members])
        self.members = tuple(members)
        self.groups = tuple(groups)
        self.kind: Kind = kind
        self.run: Path | None = None
        self.postprocessing: PostprocessingSettings | None = None
        self.seen = _join_profiles(members)
        self.calibration: ConfidenceSettings | None = None
        self.trained_on = _join_training_cases(members)

    @property
    def settings(self) -> ModelSettings:
        """Those of the first member; classes, and how volumes are cut and read, are those of all."""
        return self.members[0].settings

    @property
    def classes(self) -> dict[int, str]:
        """Class id -> name; 0 is background."""
        return self.settings.classes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels that the first member sees images in."""
        return input_size(self.settings)

    @property
    def mean(self) -> Sequence[float]:
        """What the first group subtracts of R, G and B in 0..1."""
        return self.groups[0].mean

    @property
    def std(self) -> Sequence[float]:
        """What R, G and B are then divided by."""
        return self.groups[0].std

    @property
    def weights(self) -> tuple[int, ...]:
        """How many members each group answers for."""
        return tuple(len(getattr(group, "members", (group,))) for group in self.groups)

    def describe(self) -> dict[str, Any]:
        """What identifies it: as of one model, with all members, and digests over theirs."""
        described = [dict(member.describe()) for member in self.members]
        first = described[0]
        names = {key: _join([str(item[key]) for item in described]) for key in ("method", "backbone")}
        return {
            **names,
            "method": f"ensemble of {len(described)}: {names['method']}",
            "backbone_digest": _digest([str(item["backbone_digest"]) for item in described]),
            "precision": _join([str(item["precision"]) for item in described]),
            "decoder_digest": _digest([str(item["decoder_digest"]) for item in described]),
            "size": first["size"],
            "members": described,
        }

    def logits(self, pixels: Array, *, spacing: float | None = None) -> Array:
        """Log-odds of the averaged probabilities; for members that see images alike.

        Raises:
            UsageError: the members see images in several sizes, or through several backbones.
        """
        if len(self.groups) > 1:
            raise UsageError(
                "the members of this ensemble see images differently, so no one array is the input of all; "
                "give it to predict, which prepares each"
            )
        return self.groups[0].logits(pixels, spacing=spacing)


def refuse_unlike(settings: Sequence[ModelSettings]) -> None:
    """Raise unless models can be averaged: equal classes, and volumes cut and read alike.

    Raises:
        UsageError: they differ; what differs is named.
    """
    first, own = settings[0], {"size", "slice_spacing"}
    for other in settings[1:]:
        pairs = [("classes", dict(first.classes), dict(other.classes))]
        one, two = (each.preprocessing.model_dump(exclude=own) for each in (first, other))
        pairs += [(f"model.preprocessing.{key}", one[key], two[key]) for key in one]
        for name, mine, theirs in pairs:
            if mine != theirs:
                raise UsageError(
                    f"an ensemble averages models with equal {name}, given {mine} and {theirs}; "
                    "leave one of the two out"
                )


def _join_profiles(members: Sequence[Network]) -> Profile | None:
    known = [getattr(member, "seen", None) for member in members]
    profiles = [seen for seen in known if isinstance(seen, Profile)]
    return Profile.join(profiles) if len(profiles) == len(members) else None


def _join_training_cases(members: Sequence[Network]) -> TrainingCases | None:
    known = [getattr(member, "trained_on", None) for member in members]
    cases = [each for each in known if isinstance(each, TrainingCases)]
    return TrainingCases.of(found for each in cases for found in each.prints) if cases else None


def _join(words: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def _digest(digests: Sequence[str]) -> str:
    several = list(dict.fromkeys(digests))
    return several[0] if len(several) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
