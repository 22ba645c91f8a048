"""What every score means, in words: quoted by the docs, every CSV and every report."""

from __future__ import annotations

METRICS: tuple[str, ...] = ("dice", "iou", "hd95", "assd", "nsd")
"""The five scores, in the order of every table."""

DISTANCES: frozenset[str] = frozenset({"hd95", "assd"})
"""The scores that are distances: lower is better, in mm or pixels."""

TITLES: dict[str, str] = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "assd": "ASSD", "nsd": "NSD"}

SCORES_TEXT: dict[str, str] = {
    "dice": "twice the pixels in both masks over the sum of the pixels of each; 0 to 1, higher is better.",
    "iou": "the pixels in both masks over the pixels in either; 0 to 1, higher is better.",
    "hd95": "the larger of the two directed 95th percentiles (linear interpolation) of the distances from "
    "each surface pixel of one mask to the nearest surface pixel of the other; lower is better.",
    "assd": "the mean of all those distances, both directions pooled; lower is better.",
    "nsd": "the share of the surface pixels of both masks, pooled, that lie within the tolerance of the "
    "other surface; 0 to 1, higher is better.",
}

SURFACE_TEXT = (
    "Surface: the pixels of a mask that have a background neighbour across an edge (2D) or a face (3D); what "
    "lies outside the image counts as background. Distances are Euclidean between pixel centres, in mm where "
    "the spacing is known, else in pixels (px)."
)

LESIONS_TEXT = (
    "Lesions: the connected components of a mask (joined across an edge in 2D, a face in 3D), those of the "
    "prediction matched one to one with those of the target where their IoU is above {match_iou:g}, the "
    "highest first; a second piece of a lesion, or a second lesion under one piece, has no partner. Over "
    "many cases: precision = matched / predicted, recall = matched / lesions of the target, F1 = 2 matched "
    "/ both, false positives per case = predicted without a partner, lesion Dice = mean over the target's "
    "lesions, 0 for a missed one; all lesions of all cases pooled, with intervals over groups."
)

EMPTY_TEXT = (
    "Empty masks: if prediction and target are both empty, Dice, IoU and NSD are 1 and the distances 0. If "
    "only one is empty, Dice, IoU and NSD are 0 and the distances are the diagonal of the image; an empty "
    "prediction of a present target counts as missed, a prediction where the target is empty as false_alarm. "
    "No case is dropped."
)

CONFIDENCE_TEXT = (
    "Confidence: expected Dice is the mean over the foreground classes of what masks with as high a soft "
    "Dice (2 sum of p over the mask / (its pixels + sum of p)) reached on validation; a miss is a class "
    "that the target holds and of which nothing is found. ECE: mean distance between the probability of "
    "the most probable class and how often it is right, over ten bins and at most 2,000 pixels of each "
    "case. Risk: 1 - Dice; AURC: its mean over all coverages when the most confident cases are kept "
    "first; random order: the mean risk; oracle: in the order of the true Dice. Failure detection: AUROC "
    "of the expected Dice for a Dice below 0.6. All of it is of masks as predicted and, where "
    "postprocessing cleans them, compared with the Dice of the cleaned ones."
)

UNDECIDED_TEXT = (
    "Ignored pixels count in no score. A case of which nobody decided a pixel has none: it is counted as "
    "undecided and is in no mean, interval or other count."
)

PAPER_EMPTY_TEXT = (
    "Empty masks: Dice, IoU and NSD as in the native protocol (1 if both are empty, 0 if one is); HD95 and "
    "ASSD of a case with an empty side are dropped from the means, so that a miss improves them."
)

NATIVE_TEXT = "Protocol native: scored at the size of the original image; every decided case counts."

PAPER_TEXT = (
    "Protocol paper: NOT COMPARABLE with the native protocol. Scored at the model's training size, in pixels "
    "of that size, the target resized by nearest neighbour, as the published programs do."
)

REGIONS_TEXT = (
    "Regions: each is scored as the union of its classes, which is not the mean of their scores. Regions "
    "overlap, so a pixel can count in several; one that is a single class has one row for both. The headline "
    "is the mean over the regions (or the only one), as in nnU-Net; the mean over classes stands beside it."
)

INTERVAL_TEXT = (
    "Intervals: 95% percentile bootstrap over groups (patients or videos; a case is its own group where none "
    "is known), widened for few groups: whole groups are drawn with replacement. They describe this trained "
    "model on such patients, not the spread of repeated trainings."
)


def protocol_lines(
    protocol: str, *, tolerance: float, unit: str, regions: bool = False, match_iou: float = 0.0
) -> tuple[str, ...]:
    """Return the lines that a table of scores must carry to be understood on its own.

    Args:
        protocol: "native" or "paper".
        tolerance: of the NSD, in `unit`.
        unit: "mm" or "px".
        regions: whether there are regions among the scores.
        match_iou: what the IoU of two lesions must exceed to match.
    """
    scores = (f"{TITLES[name]}: {SCORES_TEXT[name]}" for name in METRICS)
    return (
        PAPER_TEXT if protocol == "paper" else NATIVE_TEXT,
        *scores,
        f"NSD tolerance: {tolerance:g} {unit}.",
        SURFACE_TEXT,
        *((REGIONS_TEXT,) if regions else ()),
        LESIONS_TEXT.format(match_iou=match_iou),
        UNDECIDED_TEXT,
        PAPER_EMPTY_TEXT if protocol == "paper" else EMPTY_TEXT,
        INTERVAL_TEXT,
    )
