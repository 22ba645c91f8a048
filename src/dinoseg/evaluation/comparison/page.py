"""The page of a comparison: who stands where, which pairs differ, the picture, and the cases to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from dinoseg.evaluation.comparison.contestants import Contestant
from dinoseg.evaluation.comparison.differences import draw_differences
from dinoseg.evaluation.comparison.pictures import read_pictures
from dinoseg.evaluation.comparison.results import Comparison, Duel, Standing
from dinoseg.evaluation.comparison.words import (
    describe_score,
    describe_verdict,
    policy_lines,
    show_needed,
    show_p,
)
from dinoseg.evaluation.definitions import DISTANCES, TITLES
from dinoseg.evaluation.page_parts import (
    frame_page,
    heading,
    meanings,
    scroll_table,
    section,
    show_interval,
    show_number,
    table_row,
    warning,
)
from dinoseg.evaluation.statistics import Interval

SHOWN_CASES = 10

_TOLD = ("Method", "Backbone", "Predictions", "Postprocessing")  # facts that tell models apart


def build_page(found: Comparison, contestants: Sequence[Contestant]) -> str:
    """Return the HTML of a comparison; pictures are taken from the pages of the reports."""
    title = f"{' and '.join(found.scores.names)} on the same {len(found.scores.cases)} cases"
    return frame_page(
        title,
        [
            heading(title, _list_facts(found)),
            warning([f"<p>{escape(note)}</p>" for note in found.cautions]),
            _standings(found, contestants),
            _duels(found),
            _picture(found),
            _cases(found, contestants),
            meanings(policy_lines(found)),
        ],
    )


def find_most_different(found: Comparison, *, count: int = SHOWN_CASES) -> list[int]:
    """Places of the cases in which the models differ most, the most different first; never equal ones."""
    values = found.scores.values
    spread = np.round(values.max(axis=0) - values.min(axis=0), 9)
    ranked = np.argsort(-spread, kind="stable")[:count].tolist()
    return [place for place in ranked if spread[place] > 0]


def _list_facts(found: Comparison) -> dict[str, str]:
    scores = found.scores
    return {
        "Score": describe_score(found),
        "Cases": str(len(scores.cases)),
        "Groups (patients, videos)": str(scores.group_count),
        "Protocol": found.protocol or "not told",
        "Comparisons": str(len(found.duels)),
        "Seed": str(found.seed),
    }


def _standings(found: Comparison, contestants: Sequence[Contestant]) -> str:
    head = ["Model", TITLES[found.scores.metric], "Median", "First", "Missed", "False alarms"]
    facts = {contestant.name: contestant.facts for contestant in contestants}
    distance = found.scores.metric in DISTANCES
    rows = (_standing_row(row, facts.get(row.name, {}), distance) for row in found.standings)
    caption = "Mean over the cases; below it the 95% interval of the model alone, which is no test of two."
    notes = "".join(f"<p>{escape(note)}</p>" for note in found.notes)
    return section("models", "Models", scroll_table("models", head, rows, caption=caption) + notes)


def _standing_row(row: Standing, facts: Mapping[str, str], distance: bool) -> str:
    told = "; ".join(facts[key] for key in _TOLD if facts.get(key) not in (None, "none"))
    name = escape(row.name) + (f"<small>{escape(told)}</small>" if told else "")
    cells = (show_number(row.median, distance), f"{row.first:.0%}", str(row.missed), str(row.false_alarms))
    return table_row(name, [show_interval(row.mean, distance=distance), *cells])


def _duels(found: Comparison) -> str:
    head = [
        "Pair",
        "Difference",
        "Verdict",
        "p",
        "p (Wilcoxon)",
        "Won",
        f"{found.counted} needed".capitalize(),
    ]
    rows = (_duel_row(duel, found.scores.metric in DISTANCES) for duel in found.duels)
    caption = "Mean difference within the cases; below it the 95% interval. Both p after Holm."
    return section("pairs", "Which differ", scroll_table("pairs", head, rows, caption=caption))


def _duel_row(duel: Duel, distance: bool) -> str:
    interval = Interval(duel.test.difference, duel.test.low, duel.test.high)
    verdict = escape(describe_verdict(duel))
    cells = (
        show_interval(interval, distance=distance, signed=True),
        f"<strong>{verdict}</strong>" if duel.better else verdict,
        show_p(duel.p_holm).replace("<", "&lt;"),
        show_p(duel.wilcoxon_p_holm).replace("<", "&lt;"),
        f"{duel.share_won:.0%}<small>{duel.won}, {duel.tied} equal, {duel.lost} lost</small>",
        show_needed(duel.needed),
    )
    return table_row(f"{escape(duel.first)} − {escape(duel.second)}", cells)


def _picture(found: Comparison) -> str:
    figures = "".join(draw_differences(found, duel) for duel in found.duels)
    note = "One bar per case, sorted. The line across is the mean, the band its 95% interval."
    content = f'<p>{note}</p><div class="{"gallery wide" if len(found.duels) > 1 else ""}">{figures}</div>'
    return section("differences", "Differences case by case", content)


def _cases(found: Comparison, contestants: Sequence[Contestant]) -> str:
    places = find_most_different(found)
    if not places:
        return section("cases", "Cases that differ most", "<p>No case differs.</p>")
    pictures = [read_pictures(contestant.page) for contestant in contestants]
    blocks = "".join(_case(found, place, pictures) for place in places)
    note = "Filled area: target. Line: prediction. A model's report holds pictures of some of its cases only."
    return section("cases", "Cases that differ most", f"<p>{note}</p>{blocks}")


def _case(found: Comparison, place: int, pictures: Sequence[Mapping[str, str]]) -> str:
    scores = found.scores
    case, group = scores.cases[place], scores.groups[place]
    of_group = f" <small>of {escape(group)}</small>" if group != case else ""
    figures = "".join(
        _figure(name, case, show_number(float(value), scores.metric in DISTANCES), shown.get(case))
        for name, value, shown in zip(scores.names, scores.values[:, place], pictures, strict=True)
    )
    return f'<h3>{escape(case)}{of_group}</h3><div class="gallery beside">{figures}</div>'


def _figure(name: str, case: str, value: str, picture: str | None) -> str:
    alt = escape(f"{case} by {name}: target filled, prediction as a line")
    none = '<p class="none">no picture in its report</p>'
    image = f'<img loading="lazy" src="{picture}" alt="{alt}">' if picture else none
    return f"<figure>{image}<figcaption><strong>{escape(name)}</strong> {value}</figcaption></figure>"
