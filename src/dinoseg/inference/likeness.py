"""Whether an input is like what a model was trained on; models that do not know say nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dinoseg.data.case import Image
from dinoseg.data.cases.likeness import Profile, describe_image, describe_volume
from dinoseg.data.volumes import Volume, to_canonical
from dinoseg.inference.results.report import PredictedFile
from dinoseg.model.confidence import Confidence
from dinoseg.model.network import Network

_SHOWN = 3  # names in a line; predictions.json has all


@dataclass(frozen=True)
class Likeness:
    """Compares the files of one call with what a model was trained on; threads may share it.

    Attributes:
        model: that was trained.
    """

    model: Network

    def add_to(self, file: PredictedFile, image: Image | Volume) -> PredictedFile:
        """The file with one more warning where its image, as read, is not like the training cases."""
        difference = find_differences(self.model, image, file.confidence)
        if not difference:
            return file
        return replace(file, warnings=(*file.warnings, difference), difference=difference)


def summarise_files(files: Sequence[PredictedFile]) -> Iterator[str]:
    """Lines about those that are not like the training cases, as `summarise_differences`."""
    odd = [(str(file.source), file.difference) for file in files if file.difference]
    return summarise_differences(odd, len(files))


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
