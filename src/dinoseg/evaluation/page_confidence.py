"""The part of a page about confidence: can it be believed, and does it find the cases that failed."""

from __future__ import annotations

import math
from html import escape

from dinoseg.evaluation.charts import DARK, LIGHT
from dinoseg.evaluation.confidence_charts import draw_confidence
from dinoseg.evaluation.page_parts import data_url, scroll_table, section, show_number, show_tile, table_row
from dinoseg.evaluation.reliability import FAILED, Reliability

_HEAD = ("Case", "Expected Dice", "Dice", "Chance of a miss")
_SHOWN = 10


def confidence_section(found: Reliability | None) -> str:
    """Return the HTML of the section, or "" where nothing is known of the model's confidence."""
    if found is None:
        return ""
    light, dark = (data_url(draw_confidence(found, theme), "png") for theme in (LIGHT, DARK))
    chart = (
        f'<picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img class="chart" src="{light}" alt="{escape(_describe(found))}"></picture>'
    )
    tiles = f'<div class="tiles">{"".join(_tiles(found))}</div>'
    return section(
        "confidence", "How far to trust it", f"<p>{escape(_state(found))}</p>{tiles}{chart}{_table(found)}"
    )


def _state(found: Reliability) -> str:
    if found.calibrated_on:
        same = " Those are the cases of this page: on others it is less good." if found.in_sample else ""
        cases, temperature = found.calibrated_on, found.temperature
        return f"Calibrated on {cases} validation cases (temperature {temperature:g}).{same}"
    return (
        "Not calibrated: the model had fewer than 20 validation cases, or is older. Expected Dice is that of "
        "its bare probabilities."
    )


def _tiles(found: Reliability) -> list[str]:
    after = found.ece_after
    shown = found.ece_before if math.isnan(after) else after
    below = (
        "bare probabilities" if math.isnan(after) else f"before calibration {show_number(found.ece_before)}"
    )
    failed = f"{found.failures} of {len(found.cases)} with a Dice below {FAILED:g}"
    return [
        show_tile("ECE of pixels", show_number(shown), below),
        show_tile("Error of expected Dice", show_number(found.expected_error), "mean absolute"),
        show_tile(
            "AURC",
            show_number(found.aurc),
            f"random {show_number(found.aurc_random)}, oracle {show_number(found.aurc_oracle)}",
        ),
        show_tile("Failure detection", show_number(found.auroc), f"AUROC; {failed}"),
    ]


def _table(found: Reliability) -> str:
    ranked = sorted(found.cases, key=lambda case: case.confidence.expected_dice)[:_SHOWN]
    rows = [
        table_row(
            escape(case.case),
            (
                show_number(case.confidence.expected_dice),
                show_number(case.dice),
                "–" if case.confidence.miss is None else show_number(case.confidence.miss),
            ),
        )
        for case in ranked
    ]
    return scroll_table(
        "confidence", _HEAD, rows, caption="The cases with the lowest expected Dice, lowest first."
    )


def _describe(found: Reliability) -> str:
    return (
        f"Reliability diagram and risk-coverage curve. ECE {found.ece_before:.3f} before calibration; AURC "
        f"{found.aurc:.3f}, random {found.aurc_random:.3f}, oracle {found.aurc_oracle:.3f}"
    )
