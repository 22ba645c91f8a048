"""The page of a report: one HTML file that needs nothing else, readable on a phone, light and dark."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from dinoseg.evaluation.charts import DARK, LIGHT, draw_distribution
from dinoseg.evaluation.contents import Report, list_policy
from dinoseg.evaluation.definitions import DISTANCES, METRICS, TITLES
from dinoseg.evaluation.examples import Picture, Role, class_colours
from dinoseg.evaluation.metrics import ClassScore
from dinoseg.evaluation.page_confidence import confidence_section
from dinoseg.evaluation.page_lesions import lesion_section
from dinoseg.evaluation.page_parts import (
    data_url,
    frame_page,
    heading,
    meanings,
    scroll_table,
    section,
    show_interval,
    show_number,
    show_tile,
    warning,
)
from dinoseg.evaluation.page_strata import strata_section
from dinoseg.evaluation.paper.page import paper_sections
from dinoseg.evaluation.summary import ClassSummary, MetricSummary, headline

_ROLES: dict[Role, str] = {"worst": "Worst", "median": "Middle", "best": "Best"}


def build_page(report: Report) -> str:
    """Return the HTML of a report."""
    return frame_page(
        report.title,
        [
            heading(report.title, report.facts),
            _warnings(report),
            _tiles(headline(report.summaries)),
            _table(report.summaries),
            lesion_section(report.summaries),
            strata_section(report.strata),
            confidence_section(report.reliability),
            _chart(report.scores, report.summaries),
            _gallery(report.pictures, report.classes),
            meanings(list_policy(report)),
            paper_sections(report.study and replace(report.study, leaks=report.leaks)),
        ],
    )


def _warnings(report: Report) -> str:
    parts = []
    if report.leaks:
        parts.append(f"<p><strong>Leak:</strong> {escape(report.leaks)}.</p>")
    if report.protocol == "paper":
        parts.append(
            "<p><strong>Protocol “paper”: not comparable with other reports.</strong> Scored at the model's "
            "training size, and a missed target does not count in the distances.</p>"
        )
    if failed := report.failed:
        items = "".join(f"<li>{escape(line)}</li>" for line in failed)
        parts.append(f"<p><strong>{len(failed)} failed and not in any mean:</strong></p><ul>{items}</ul>")
    parts += [
        f"<p><strong>Much worse:</strong> {escape(line)}</p>"
        for row in report.strata
        for line in row.warnings()
    ]
    return warning(parts)


def _tiles(row: ClassSummary) -> str:
    names = ("dice", "iou", "nsd", "hd95", "assd")
    tiles = [_metric_tile(row.metric(name), row.unit, present_first=row.empty > 0) for name in names]
    alarms = f"{row.false_alarms} false alarm" + ("" if row.false_alarms == 1 else "s")
    undecided = f", {row.undecided} undecided" if row.undecided else ""
    tiles.append(
        show_tile(
            "Missed",
            f"{row.missed}<small> of {row.with_target}</small>",
            f"{row.empty} empty: {alarms}, {row.both_empty} left empty{undecided}",
            alarming=row.missed > 0,
        )
    )
    people = f" of {row.groups} groups" if row.groups != row.cases else ""
    what = row.class_name.capitalize() if row.kind == "mean" else row.title
    note = f"{what}: mean of {row.cases} cases{people}, with the 95% interval below it."
    if row.empty:
        note = f"{what}: mean where the target shows it; below it that of all {row.cases} cases{people}."
    content = f'<p>{escape(note)}</p><div class="tiles">{"".join(tiles)}</div>'
    return section("head", "At a glance", content)


def _metric_tile(metric: MetricSummary, unit: str, *, present_first: bool) -> str:
    """One score; with empty targets the mean over the others comes first, which empty ones cannot raise."""
    distance = metric.metric in DISTANCES
    interval = metric.interval
    shown = metric.mean_with_target if present_first else interval.mean
    value = show_number(shown, distance) + (f"<small> {unit}</small>" if distance else "")
    if math.isnan(interval.low):
        between = "no interval: a single group" if metric.cases else "no case left"
    else:
        between = f"{show_number(interval.low, distance)} to {show_number(interval.high, distance)}"
    if present_first:
        between = f"all cases {show_number(interval.mean, distance)}: {between}"
    return show_tile(TITLES[metric.metric], value, between)


def _table(summaries: Sequence[ClassSummary]) -> str:
    unit = summaries[0].unit
    names = [TITLES[name] + (f" ({unit})" if name in DISTANCES else "") for name in METRICS]
    head = ["Dice, target present", *names, "Dice, median", "Missed", "False alarms", "Both empty"]
    if any(row.undecided for row in summaries):
        head.append("Undecided")
    classes = {row.class_id: row.class_name for row in summaries if row.class_id is not None}
    rows = (_table_row(row, classes, undecided="Undecided" in head) for row in summaries)
    title = "By class and region" if any(row.region for row in summaries) else "By class"
    caption = "Mean over the cases; below it the 95% interval."
    return section("classes", title, scroll_table("classes", ["Class", *head], rows, caption=caption))


def _table_row(row: ClassSummary, classes: Mapping[int, str], *, undecided: bool) -> str:
    dice = row.metric("dice")
    cells = [show_number(dice.mean_with_target, False)]
    for metric in row.metrics:
        distance = metric.metric in DISTANCES
        cells.append(show_interval(metric.interval, distance=distance))
    cells += [show_number(dice.median, False), f"{row.missed}<small>of {row.with_target}</small>"]
    cells += [str(row.false_alarms), str(row.both_empty), *([str(row.undecided)] if undecided else [])]
    kind = ' class="total"' if row.kind == "mean" else ""
    inside = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr{kind}><th scope="row">{escape(row.class_name)}{_parts(row, classes)}</th>{inside}</tr>'


def _parts(row: ClassSummary, classes: Mapping[int, str]) -> str:
    """What a region is made of, below its name."""
    if not row.region:
        return ""
    parts = ": " + " + ".join(classes[class_id] for class_id in row.region) if row.class_id is None else ""
    return f"<small>{escape(row.kind + parts)}</small>"


def _chart(scores: Sequence[ClassScore], summaries: Sequence[ClassSummary]) -> str:
    light, dark = (data_url(draw_distribution(scores, summaries, theme), "png") for theme in (LIGHT, DARK))
    words = "; ".join(_spread(row) for row in summaries if row.kind != "mean")
    return (
        '<section aria-labelledby="spread"><h2 id="spread">How Dice spreads over the cases</h2>'
        f'<picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img class="chart" src="{light}" alt="Distribution of Dice. {escape(words)}"></picture></section>'
    )


def _spread(row: ClassSummary) -> str:
    dice = row.metric("dice")
    return f"{row.title}: mean {dice.interval.mean:.2f}, median {dice.median:.2f}, {row.missed} missed"


def _gallery(pictures: Sequence[Picture], classes: Mapping[int, str]) -> str:
    if not pictures:
        return ""
    groups = []
    for role, name in _ROLES.items():
        figures = "".join(_figure(picture) for picture in pictures if picture.role == role)
        if figures:
            groups.append(f'<h3>{name}</h3><div class="gallery">{figures}</div>')
    return (
        '<section aria-labelledby="cases"><h2 id="cases">Cases to look at</h2>'
        f"<p>Filled area: target. Line: prediction.{_key(classes)}</p>{''.join(groups)}</section>"
    )


def _figure(picture: Picture) -> str:
    id_ = f"{picture.role}-{zlib.crc32(picture.case.encode()):08x}"
    alt = f"{picture.case}: target filled, prediction as a line. {picture.caption}"
    return (
        f'<figure id="{id_}"><a href="#{id_}" title="show at full size"><img loading="lazy" '
        f'src="{data_url(picture.jpeg, "jpeg")}" alt="{escape(alt)}"></a>'
        f'<a class="close" href="#cases">close</a>'
        f"<figcaption><strong>{escape(picture.case)}</strong> {escape(picture.caption)}</figcaption></figure>"
    )


def _key(classes: Mapping[int, str]) -> str:
    colours = class_colours(classes)
    if len(colours) < 2:
        return ""
    items = (
        f'<span class="key"><i style="background:{colour}"></i>{escape(classes[class_id])}</span>'
        for class_id, colour in colours.items()
    )
    return " " + " ".join(items)
