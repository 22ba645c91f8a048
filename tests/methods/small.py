"""Every method of ours at widths where the size of a decoder is no question."""

from __future__ import annotations

from typing import Any

# Small widths, every branch switched on.
SMALL: dict[str, dict[str, Any]] = {
    "segdino-v1": {"features": 8, "widths": (4, 6, 8, 10)},
    "segdino-v2": {"width": 64},  # groups of two channels: those of one value give no gradient on a 1x1 map
    "dino-unet": {
        "features_per_stage": (4, 6, 8, 10),
        "fapm_rank": 8,
        "spm_width": 8,
        "heads": 4,
        "deep_supervision": True,
    },
    "dino-augseg": {"final_width": 8},
    "linear": {},
    "guided": {"width": 8, "image_widths": (4, 6, 8)},
}
# A bias whose output is normalised per image and channel has no effect, hence no gradient.
# Images have no slices around them.
INERT = {
    "guided": r"depth\..+",
    "dino-unet": r"unet\.stages\..+\.conv\.bias|fapm\.scales\.\d\.project\.bias"
    r"|fapm\.scales\.\d\.separable\.(depthwise|pointwise)\.bias",
}
