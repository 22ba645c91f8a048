"""What happens before and after the graphs, said so that another program can do the same."""

from __future__ import annotations

from typing import Any

from dinoseg.backbones.neighbours import MOST
from dinoseg.config import Inference
from dinoseg.inference.windows import DEVIATION, SMALLEST
from dinoseg.model.decision import HIGHEST, LOWEST, STEPS
from dinoseg.model.network import decision_of, symmetries_of, window_of
from dinoseg.model.settings import ModelSettings
from dinoseg.model.symmetries import describe_symmetries


def describe_steps(settings: ModelSettings) -> dict[str, Any]:
    """The steps in their order; what a person may choose has the default of `predict`."""
    usual = Inference()
    preprocessing = settings.preprocessing
    return {
        "intensities": "images: 0 to 1"
        if preprocessing.intensity is None
        else preprocessing.intensity.model_dump(mode="json"),
        "channels": "grey is repeated three times; context 3: the slice before, the slice, the slice behind",
        "plane": preprocessing.plane if preprocessing.for_volumes else None,
        "resize": "bilinear, half-pixel centres, over the covered area where it shrinks",
        "normalise": "(pixels - mean) / std",
        "around": "each step is slice_spacing mm, in tenths of the distance between the slices and at most "
        f"{MOST:g} of them; between two slices their mean, weighted by how near they are; without "
        "slice_spacing, or where the distance is not known, the next slices; zeros where the volume ends",
        "window": {
            "size": window_of(settings, usual),
            "overlap": usual.overlap,
            "blending": {"kind": "gaussian", "deviation": DEVIATION, "smallest": SMALLEST},
            "padding": "zeros after normalising, evenly",
        },
        "symmetries": describe_symmetries(symmetries_of(settings, usual)),
        "logits": "bilinear to the size of the image, half-pixel centres, the four nearest cells",
        "mask": _describe_mask(settings),
    }


def _describe_mask(settings: ModelSettings) -> str:
    if decision_of(settings) == "dice":
        return (
            "of every class that is somewhere the most probable one: where its probability reaches its "
            f"level, of {LOWEST / STEPS:g} to {HIGHEST / STEPS:g} in steps of {1 / STEPS:g} the one at which "
            "2 * (sum of its probabilities in the mask) / (pixels of the mask + sum of its probabilities in "
            "the image) is greatest; where several do, the one that exceeds its level by the greater factor"
        )
    return "sigmoid above 0.5" if settings.outputs == 1 else "the largest logit, of equal ones the first"
