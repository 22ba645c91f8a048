"""CVAT: a function that annotates images with the masks of a model.

Used by CVAT's own command, which finds `create` here:

    cvat-cli task auto-annotate 7 --function-module dinoseg.integrations.cvat -p model=str:runs/kvasir
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dinoseg.config import Inference
from dinoseg.data.sources.source import open_case
from dinoseg.errors import DinosegError, UsageError
from dinoseg.inference.pictures.overlays import palette
from dinoseg.inference.predictor import predict_cases
from dinoseg.integrations.outlines import trace_outline
from dinoseg.model.network import Network
from dinoseg.model.opening import load

if TYPE_CHECKING:
    from PIL import Image as PillowImage


def create(
    model: str,
    *,
    device: str = "cpu",
    separate: bool = False,
    window: int = 0,
    flips: bool | None = None,
    accept_license: bool = False,
) -> Annotator:
    """Load a model for CVAT; the parameters are those that `-p NAME=TYPE:VALUE` gives.

    Args:
        model: a run folder of `dinoseg train`, a bundle of `dinoseg export`, or hf://OWNER/NAME.
        device: "cpu", "cuda" or another of torch.
        separate: a mask for each connected part of a class, in place of one for each class.
        window: side in px of sliding windows; 0 for none.
        flips: average over mirrored copies, or look once; None for what the model does by itself.
        accept_license: accept the licence of the backbone's weights.

    Raises:
        RunError: there is no model.
        UsageError: it was trained on volumes.
        DinosegError: cvat-sdk is not installed.
    """
    found = load(model, device=device, accept_license=accept_license)
    return Annotator(found, how=Inference(window=window or None, flips=flips), separate=separate)


class Annotator:
    """What CVAT calls for each image.

    Args:
        model: trained on images.
        how: it is applied.
        separate: as of `create`.

    Raises:
        UsageError: the model was trained on volumes.
        DinosegError: cvat-sdk is not installed.
    """

    def __init__(self, model: Network, *, how: Inference, separate: bool = False) -> None:
        require_sdk()
        if model.settings.preprocessing.for_volumes:
            raise UsageError("the model was trained on volumes, and CVAT shows images; give one for images")
        self._model = model
        self._how = how
        self._separate = separate
        self.spec = _make_spec(model.settings.classes)

    def detect(self, context: Any, image: PillowImage.Image) -> Sequence[Any]:
        """The masks of an image, or polygons where CVAT asks for those, which have no holes."""
        import cvat_sdk.auto_annotation as cvat
        from cvat_sdk.masks import encode_mask

        (found,) = predict_cases(self._model, [open_case(image)], how=self._how)
        shapes = []
        for index, part in list_parts(found.mask, separate=self._separate or context.conv_mask_to_poly):
            if context.conv_mask_to_poly:
                shapes.append(cvat.polygon(index, trace_outline(part).ravel().tolist()))
            else:
                shapes.append(cvat.mask(index, encode_mask(part)))
        return shapes


def require_sdk() -> None:
    """Raise unless cvat-sdk is there; cvat-cli brings it.

    Raises:
        DinosegError: it is missing; the command that installs it is named.
    """
    if find_spec("cvat_sdk") is None:
        raise DinosegError(
            "annotating in CVAT needs cvat-sdk, which is not installed; run pip install cvat-cli"
        )


def list_parts(mask: NDArray[np.uint8], *, separate: bool) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Class id and pixels (H, W) of each class that occurs, or of each connected part of one.

    Args:
        mask: (H, W) class ids.
        separate: parts that touch by a corner only are two.
    """
    for index in np.unique(mask[mask > 0]).tolist():
        found = mask == index
        if not separate:
            yield index, found
            continue
        parts, count = ndimage.label(found)
        for part in range(1, count + 1):
            yield index, parts == part


def _make_spec(classes: dict[int, str]) -> Any:
    import cvat_sdk.auto_annotation as cvat

    colours = palette(max(classes) + 1)
    labels = [
        cvat.label_spec(
            name, index, type="mask", color="#{:02x}{:02x}{:02x}".format(*colours[index].tolist())
        )
        for index, name in classes.items()
        if index
    ]
    return cvat.DetectionFunctionSpec(labels=labels)
