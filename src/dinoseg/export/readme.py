"""The card of a bundle: what it is, what it was compared with, how it is used, and its licence."""

from __future__ import annotations

from collections.abc import Sequence

from dinoseg.config import to_yaml
from dinoseg.methods import find_method
from dinoseg.model.bundles import LICENSE, Comparison
from dinoseg.model.segmenter import Segmenter


def write_card(members: Sequence[Segmenter], found: Comparison, *, precision: str, size: int) -> str:
    """The text of README.md."""
    model, many = members[0], f"{len(members)} models averaged: " if len(members) > 1 else ""
    settings, backbone = model.settings, model.backbone
    method = find_method(settings.decoder.method)
    names = ", ".join(f"{index} {name}" for index, name in model.classes.items())
    return (
        f"# {many}{settings.decoder.method} on {backbone.name}, ready to use\n\n"
        f"{method.title} ({method.source}). Classes: {names}. Input: {size}×{size} px, weights in "
        f"{precision}. Not a medical device.\n\n"
        "Backbone and decoder as graphs of standard ONNX operators, and `pipeline.json` with all that is "
        "between a file and its mask. No torch and no network is needed:\n\n"
        "```bash\n"
        "pip install 'dinoseg[runtime]'\n"
        "dinoseg predict THIS_FOLDER IMAGES --out masks/\n"
        "```\n\n"
        f"On {found.cases} ({found.images} images) its logits differ from those of PyTorch by "
        f"{found.logits:.2g} at most, and the Dice of the masks is {found.dice:.4f} or more.\n\n"
        f"The backbone's weights come under `{backbone.license}`: its text is in [{LICENSE}]({LICENSE}), and "
        "goes with every copy of this folder.\n\n"
        "```yaml\n" + to_yaml(settings) + "```\n"
    )
