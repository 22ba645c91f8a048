"""Whether an input is like what a model was trained on, or even is it; models that do not know are silent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from dinoseg.data.case import Image
from dinoseg.data.cases.likeness import Profile, describe_image, describe_volume
from dinoseg.data.cases.prints import Likeness as Sameness
from dinoseg.data.cases.prints import TrainingCases
from dinoseg.data.volumes import Volume, to_canonical
from dinoseg.inference.results.report import PredictedFile
from dinoseg.model.confidence import Confidence
from dinoseg.model.network import Network

_SHOWN = 3  # names in a line; predictions.json has all

TRAINED_ON: dict[Sameness, str] = {
    "same": "the model was trained on this case (the same pixels, as they are, mirrored or turned)",
    "alike": "the model was trained on a case that looks the same (mirrored, turned, resized, encoded anew)",
}
"""What is said of an input that was among the training cases."""


@dataclass(frozen=True)
class Likeness:
    """Compares the inputs of one call with what a model was trained on; threads may share it.

    Attributes:
        model: that was trained.
        found: name -> how it differs, of those that do.
        known: name -> whether it is a training case or looks so, of those that are.
    """

    model: Network
    found: dict[str, str] = field(default_factory=dict)
    known: dict[str, Sameness] = field(default_factory=dict)

    def look(self, name: str, image: Image | Volume, confidence: Confidence | None = None) -> tuple[str, ...]:
        """What is to be said of an input, as read: it is not like the training cases, or one of them."""
        if difference := find_differences(self.model, image, confidence):
            self.found[name] = difference
        same = find_trained(self.model, image)
        if same:
            self.known[name] = same
        return (*([difference] if difference else []), *([TRAINED_ON[same]] if same else []))

    def add_to(self, file: PredictedFile, image: Image | Volume) -> PredictedFile:
        """The file with these lines among its warnings."""
        name = str(file.source)
        if not (lines := self.look(name, image, file.confidence)):
            return file
        difference, known = self.found.get(name, ""), self.known.get(name)
        return replace(file, warnings=(*file.warnings, *lines), difference=difference, known=known)

    def keep(self, file: PredictedFile) -> None:
        """Take over what was found of a file elsewhere, in another process perhaps."""
        if file.difference:
            self.found[str(file.source)] = file.difference
        if file.known:
            self.known[str(file.source)] = file.known

    def summarise(self, total: int, names: Sequence[str] | None = None) -> Iterator[str]:
        """Lines about those of `total` inputs, in the order of `names`, or as they were looked at."""
        found, known = (
            [*each] if names is None else [name for name in names if name in each]
            for each in (self.found, self.known)
        )
        yield from summarise_differences([(name, self.found[name]) for name in found], total)
        yield from summarise_trained(known, total)


def find_differences(model: Network, image: Image | Volume, confidence: Confidence | None = None) -> str:
    """How an input is far from all training cases, in one line, or "".

    Args:
        model: what it keeps of its training is asked, where it keeps it.
        image: as read, a volume in the orientation of its file.
        confidence: of its mask, which knows how far the backbone's features are.
    """
    found = [_compare_facts(model, image)]
    if confidence is not None and confidence.is_unlike:
        found.append(
            f"its features are {confidence.distance:.2f} times as far from those of training as those of "
            "99 of 100 validation cases"
        )
    return "; ".join(each for each in found if each)


def _compare_facts(model: Network, image: Image | Volume) -> str:
    seen = getattr(model, "seen", None)  # not every network has a training to remember
    if not isinstance(seen, Profile):
        return ""
    if isinstance(image, Volume):
        upright = to_canonical(image).volume
        spacing = upright.spacing if upright.geometry.spacing_known else None
        return seen.find_differences(describe_volume(upright.array, spacing=spacing))
    return seen.find_differences(describe_image(image))


def find_trained(model: Network, image: Image | Volume) -> Sameness | None:
    """Whether an input is one of the training cases, or looks the same; arguments as `find_differences`."""
    cases = getattr(model, "trained_on", None)
    return cases.find(to_upright(image)) if isinstance(cases, TrainingCases) else None


def to_upright(image: Image | Volume) -> NDArray[Any]:
    """The pixels of an image, or the voxels of a volume in canonical orientation."""
    return to_canonical(image).volume.array if isinstance(image, Volume) else image.array


def summarise_differences(found: Sequence[tuple[str, str]], total: int) -> Iterator[str]:
    """Lines for a person about inputs that are not like the training cases: at most three and a count.

    Args:
        found: name of an input, and how it differs.
        total: number of inputs.
    """
    for name, difference in found[:_SHOWN]:
        yield f"{name} is not like what the model was trained on: {difference}"
    if len(found) > _SHOWN:
        yield f"{len(found)} of {total} inputs are not like what the model was trained on"


def summarise_trained(names: Sequence[str], total: int) -> Iterator[str]:
    """One line for a person about inputs that the model was trained on, or none."""
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield (
            f"{len(names)} of {total} inputs are cases that the model was trained on, or look the same: "
            f"{', '.join(names[:_SHOWN])}{more}; how well it does on them says nothing of new cases"
        )
