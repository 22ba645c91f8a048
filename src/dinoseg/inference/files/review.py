"""review.html: which masks a person should look at first, with their pictures, in one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from PIL import Image as PillowImage

from dinoseg.errors import UsageError
from dinoseg.inference.results.report import PredictedFile, PredictionReport
from dinoseg.outputs import refuse_taken, write_text

PAGE = "review.html"
_SHOWN = 200  # some 2 MB
_SIDE = 240  # of a picture, in pixels
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; padding: 0; }
li { list-style: none; border: 1px solid #8888; border-radius: 8px; padding: .5rem; overflow-wrap: anywhere; }
img { width: 100%; height: auto; border-radius: 4px; }
.odd { border-color: #c53030; }
.odd em { color: #c53030; font-style: normal; }
@media (prefers-color-scheme: dark) { .odd em { color: #f26d6d; } }
@media print { li { break-inside: avoid; } }
"""


def refuse_review(out: Path, *, wanted: bool, whole: bool, overlays: bool) -> None:
    """Raise where the page is wanted and cannot be written; one of ours lies beside masks that are refused.

    Raises:
        UsageError: there will be no pictures to show, or only those of a share of all files.
        OutputError: there is a page that is not ours.
    """
    if wanted and not overlays:
        raise UsageError("the page of what to look at first shows the overlays; leave --no-overlays out")
    if wanted and not whole:
        raise UsageError("the page of what to look at first is of all files; leave it out of a share of them")
    refuse_taken([out / PAGE] if wanted else [], overwrite=True)


def write_review(report: PredictionReport) -> Path:
    """Write the page of a finished prediction, the lowest expected Dice first, and return its path."""
    files = sort_files(report.files)
    path = report.out / PAGE
    write_text(path, _build(files, report), overwrite=True)
    return path


def sort_files(files: Sequence[PredictedFile]) -> list[PredictedFile]:
    """Lowest expected Dice first, then what is not like training; those without confidence last."""
    return sorted(files, key=_rank)


def _rank(file: PredictedFile) -> tuple[float, int, str]:
    dice = 2.0 if file.confidence is None else file.confidence.expected_dice
    return dice, -len(file.warnings), str(file.source)


def _build(files: Sequence[PredictedFile], report: PredictionReport) -> str:
    cards = "\n".join(_draw_card(file) for file in files[:_SHOWN])
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Look at this first</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Look at this first</h1>\n{''.join(_state(files, report))}\n<ol>\n{cards}\n</ol>\n</main>\n"
        "</body>\n</html>\n"
    )


def _state(files: Sequence[PredictedFile], report: PredictionReport) -> Iterator[str]:
    shown = f"the first {_SHOWN} of them" if len(files) > _SHOWN else "all of them"
    method = escape(str(report.model["method"]))
    yield f"<p>{len(files)} masks of {method}, {shown}, sorted by expected Dice, lowest first.</p>"
    known = [file.confidence for file in files if file.confidence is not None]
    if not any(found.calibrated_on for found in known):
        yield (
            "<p><strong>Not calibrated:</strong> the order holds, the numbers do not; the model had fewer "
            "than 20 validation cases, or is older.</p>"
        )


def _draw_card(file: PredictedFile) -> str:
    found = file.confidence
    words = []
    if found is not None:
        words.append(f"expected Dice {found.expected_dice:.2f}")
        if found.miss is not None:
            words.append(f"chance of a miss {found.miss:.0%}")
    odd = f"<br><em>{escape('; '.join(file.warnings))}</em>" if file.warnings else ""
    kind = ' class="odd"' if file.warnings else ""
    name = escape(file.source.name)
    return f"<li{kind}>{_show_picture(file, name)}<br><strong>{name}</strong><br>{', '.join(words)}{odd}</li>"


def _show_picture(file: PredictedFile, name: str) -> str:
    if file.overlay is None:
        return ""
    with PillowImage.open(file.overlay) as picture:
        small = picture.convert("RGB")
        small.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=80)
    content = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img loading="lazy" src="data:image/jpeg;base64,{content}" alt="{name} with its mask">'
