"""Whether a decoder takes images of a size, found out before the features of all images are computed."""

from __future__ import annotations

import copy

import torch

from dinoseg.errors import ConfigError
from dinoseg.methods import METHODS
from dinoseg.model.segmenter import Segmenter

LARGEST = 1024  # tried, in px


def refuse_size(model: Segmenter) -> None:
    """Raise unless the decoder trains and predicts on a single image of the model's size.

    An epoch may end in a batch of one, and its maps may have one cell. Methods of ours take that, which
    the contract of the tests holds them to; others are tried with an empty image.

    Raises:
        ConfigError: it cannot; the smallest size of those that were tried and accepted is named.
    """
    method, size = model.settings.decoder.method, model.size[0]
    if method in METHODS.ours:
        return
    reason = _find_reason(model, size)
    if not reason:
        return
    larger = (size * 2**step for step in range(1, 10))
    accepted = next((each for each in larger if each <= LARGEST and not _find_reason(model, each)), None)
    key = "model.preprocessing.size" if model.settings.preprocessing.window is None else "train.window"
    advice = f"--set {key}={accepted} is accepted" if accepted else "nor of larger ones"
    raise ConfigError(f"method {method!r} takes no batch of one image of {size} px ({reason}); {advice}")


@torch.no_grad()
def _find_reason(model: Segmenter, size: int) -> str:
    """What the decoder says against an image of that size, or ""."""
    decoder = copy.deepcopy(model.decoder)  # statistics of its layers are not to change
    pixels = torch.zeros(1, 3, size, size, device=model.device)
    features = model.backbone(pixels)
    try:
        with torch.random.fork_rng(devices=[]):
            decoder.train().decode_all(features, pixels if decoder.needs_image else None)
            decoder.eval()(features, pixels if decoder.needs_image else None)
    except (ValueError, RuntimeError, IndexError) as error:
        return " ".join(str(error).split())[:160] or type(error).__name__
    return ""
