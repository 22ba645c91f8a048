"""The page of a report: one HTML file that needs nothing else, readable on a phone, light and dark."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources

from dinoseg.evaluation.charts import DARK, LIGHT, draw_distribution
from dinoseg.evaluation.contents import Report
from dinoseg.evaluation.definitions import DISTANCES, METRICS, TITLES
from dinoseg.evaluation.examples import Picture, Role, class_colours
from dinoseg.evaluation.metrics import ClassScore
from dinoseg.evaluation.summary import ClassSummary, MetricSummary, Protocol, headline

_ROLES: dict[Role, str] = {"worst": "Worst", "median": "Middle", "best": "Best"}


def build_page(report: Report) -> str:
    """Return the HTML of a report."""
    style = resources.files("dinoseg.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    body = "\n".join(
        [
            _heading(report.title, report.facts),
            _warnings(report.protocol, report.failed),
            _tiles(headline(report.summaries)),
            _table(report.summaries),
            _chart(report.scores, report.summaries),
            _gallery(report.pictures, report.classes),
            _meanings(report.policy),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n"
        "</main>\n</body>\n</html>\n"
    )


def _heading(title: str, facts: Mapping[str, str]) -> str:
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    return f"<header><h1>{escape(title)}</h1>" + (f"<dl>{items}</dl>" if items else "") + "</header>"


def _warnings(protocol: Protocol, failed: Sequence[str]) -> str:
    parts = []
    if protocol == "paper":
        parts.append(
            "<p><strong>Protocol “paper”: not comparable with other reports.</strong> Scored at the model's "
            "training size, and a missed target does not count in the distances.</p>"
        )
    if failed:
        items = "".join(f"<li>{escape(line)}</li>" for line in failed)
        parts.append(f"<p><strong>{len(failed)} failed and not in any mean:</strong></p><ul>{items}</ul>")
    return f'<section class="warning" aria-label="Warnings">{"".join(parts)}</section>' if parts else ""


def _tiles(row: ClassSummary) -> str:
    names = ("dice", "iou", "nsd", "hd95", "assd")
    tiles = [_metric_tile(row.metric(name), row.unit, present_first=row.empty > 0) for name in names]
    alarms = f"{row.false_alarms} false alarm" + ("" if row.false_alarms == 1 else "s")
    undecided = f", {row.undecided} undecided" if row.undecided else ""
    tiles.append(
        _tile(
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
    return (
        f'<section aria-labelledby="head"><h2 id="head">At a glance</h2><p>{escape(note)}</p>'
        f'<div class="tiles">{"".join(tiles)}</div></section>'
    )


def _metric_tile(metric: MetricSummary, unit: str, *, present_first: bool) -> str:
    """One score; with empty targets the mean over the others comes first, which empty ones cannot raise."""
    distance = metric.metric in DISTANCES
    interval = metric.interval
    shown = metric.mean_with_target if present_first else interval.mean
    value = _number(shown, distance) + (f"<small> {unit}</small>" if distance else "")
    if math.isnan(interval.low):
        between = "no interval: a single group" if metric.cases else "no case left"
    else:
        between = f"{_number(interval.low, distance)} to {_number(interval.high, distance)}"
    if present_first:
        between = f"all cases {_number(interval.mean, distance)}: {between}"
    return _tile(TITLES[metric.metric], value, between)


def _tile(name: str, value: str, below: str, *, alarming: bool = False) -> str:
    kind = "tile alarming" if alarming else "tile"
    return (
        f'<div class="{kind}"><h3>{name}</h3><p class="value">{value}</p><p class="below">{below}</p></div>'
    )


def _table(summaries: Sequence[ClassSummary]) -> str:
    unit = summaries[0].unit
    names = [TITLES[name] + (f" ({unit})" if name in DISTANCES else "") for name in METRICS]
    head = ["Dice, target present", *names, "Dice, median", "Missed", "False alarms", "Both empty"]
    if any(row.undecided for row in summaries):
        head.append("Undecided")
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in ["Class", *head])
    classes = {row.class_id: row.class_name for row in summaries if row.class_id is not None}
    rows = "".join(_table_row(row, classes, undecided="Undecided" in head) for row in summaries)
    heading = "By class and region" if any(row.region for row in summaries) else "By class"
    return (
        f'<section aria-labelledby="classes"><h2 id="classes">{heading}</h2>'
        '<div class="scroll" role="region" aria-labelledby="classes" tabindex="0"><table>'
        "<caption>Mean over the cases; below it the 95% interval.</caption>"
        f"<thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _table_row(row: ClassSummary, classes: Mapping[int, str], *, undecided: bool) -> str:
    dice = row.metric("dice")
    cells = [_number(dice.mean_with_target, False)]
    for metric in row.metrics:
        distance = metric.metric in DISTANCES
        low, high = _number(metric.interval.low, distance), _number(metric.interval.high, distance)
        between = "" if math.isnan(metric.interval.low) else f"<small>{low}–{high}</small>"
        cells.append(f"{_number(metric.interval.mean, distance)}{between}")
    cells += [_number(dice.median, False), f"{row.missed}<small>of {row.with_target}</small>"]
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
    light, dark = (_data_url(draw_distribution(scores, summaries, theme), "png") for theme in (LIGHT, DARK))
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
    alt = f"{picture.case}: target filled, prediction as a line. {picture.caption}"
    return (
        f'<figure><img loading="lazy" src="{_data_url(picture.jpeg, "jpeg")}" alt="{escape(alt)}">'
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


def _meanings(policy: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in policy)
    heading = '<h2 id="means">What the numbers mean</h2>'
    return f'<section aria-labelledby="means">{heading}<ul>{items}</ul></section>'


def _number(value: float, distance: bool) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.1f}" if distance else f"{value:.3f}"


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
