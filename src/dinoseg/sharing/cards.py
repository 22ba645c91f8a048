"""The page of a shared model: what it is, how good it was on which data, and what it may be used for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoseg import __version__
from dinoseg.backbones.catalog import BACKBONES
from dinoseg.errors import RunError
from dinoseg.sharing.contents import Contents

#: Of summary.json, as the index of models on the hub calls them.
_METRICS = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "nsd": "NSD"}
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Score:
    """One number of a report, with its 95 % interval where there is one."""

    data: str
    split: str
    protocol: str
    class_name: str
    metric: str
    unit: str
    mean: float
    low: float | None
    high: float | None
    cases: int
    missed: int
    with_target: int


def write_card(contents: Contents, *, name: str, license_name: str | None, note: str) -> str:
    """The text of README.md: metadata that the hub reads, then the page for people.

    Args:
        contents: what travels.
        name: of the model on its page.
        license_name: of the decoder, as the hub names licences; left blank if not given.
        note: what whoever loads it must know about the backbone.
    """
    scores = list(read_scores(contents.folder))
    described = contents.config
    made_of = " and ".join(dict.fromkeys(map(_word_model, contents.configs.values())))
    several = f"{len(contents.configs)} models that predict as one: " if len(contents.configs) > 1 else ""
    metadata = _write_metadata(contents, scores, name=name, license_name=license_name)
    return (
        f"---\n{metadata}\n---\n\n# {name}\n\n"
        f"Segmentation model of dinoseg: {several}{made_of}. "
        "Not a medical device.\n\n"
        f"{_tell_use(name)}\n## Classes and input\n\n{_tell_input(described)}\n"
        f"## Scores\n\n{_tell_scores(scores)}\n"
        f"## Data\n\n{_tell_data(contents, scores)}\n"
        f"## Licences\n\n{_tell_licences(described, license_name, note)}"
    )


def _word_model(described: Mapping[str, Any]) -> str:
    return f"`{described['settings']['decoder']['method']}` on `{described['backbone']['name']}`"


def read_scores(run: Path) -> Iterator[Score]:
    """The Dice, IoU, HD95 and NSD of the reports in a run folder; file names of cases are not read."""
    for path in sorted({*run.glob("report/summary.json"), *run.glob("report/*/summary.json")}):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            yield from _read_report(document)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is damaged ({error}); evaluate again with --overwrite") from error


def _read_report(document: Mapping[str, Any]) -> Iterator[Score]:
    facts = document["facts"]
    for row in document["classes"]:
        for item in row["metrics"]:
            interval = item["interval"]
            if item["metric"] in _METRICS and interval["mean"] is not None:
                yield Score(
                    Path(str(facts["Data"])).name,
                    str(facts["Split"]),
                    str(document["protocol"]),
                    str(row["class_name"]),
                    item["metric"],
                    row["unit"] if item["metric"] == "hd95" else "",
                    interval["mean"],
                    interval["low"],
                    interval["high"],
                    row["cases"],
                    row["missed"],
                    row["with_target"],
                )


def _write_metadata(contents: Contents, scores: list[Score], *, name: str, license_name: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    decoder = contents.config["settings"]["decoder"]["method"]
    spec = BACKBONES.get(contents.config["settings"]["backbone"]["name"])
    base = (spec.hf_repo or spec.timm_repo) if spec else None
    results = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=_as_identifier(score.data),
            dataset_name=score.data,
            dataset_split=score.split.partition(" ")[0],
            metric_type=score.metric,
            metric_name=f"{_METRICS[score.metric]}, {score.class_name} (protocol {score.protocol})",
            metric_value=round(score.mean, 4),
        )
        for score in scores
    ]
    data = ModelCardData(
        library_name="dinoseg",
        pipeline_tag="image-segmentation",
        tags=["dinoseg", "medical-imaging", "image-segmentation", decoder],
        license=license_name,
        base_model=base,
        model_name=name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml()).strip()


def _tell_use(name: str) -> str:
    place = f"hf://{name}" if "/" in name else "FOLDER"
    return (
        "```sh\npip install 'dinoseg'\n"
        f"dinoseg predict {place} IMAGES --out masks\n```\n\n"
        f'```python\nimport dinoseg\n\nmodel = dinoseg.load("{place}")\n```\n'
    )


def _tell_input(described: Mapping[str, Any]) -> str:
    settings, seen = described["settings"], described.get("seen")
    names = ", ".join(f"{index} {name}" for index, name in settings["classes"].items())
    size, window = (settings["preprocessing"].get(name) for name in ("size", "window"))
    seen_as = (
        f"resized to {size} px" if window is None else f"seen through windows of {window} px, not resized"
    )
    lines = [
        f"- classes: {names}",
        f"- images are {seen_as}; masks come back at the image's own size",
    ]
    cut = settings["preprocessing"].get("plane", "")
    if not isinstance(cut, str):
        lines.append(f"- volumes are cut into {', '.join(cut)} slices, whose answers are averaged")
    if seen:
        (low, high) = seen["sizes"]
        lines.append(
            f"- trained on {seen['cases']} cases of {low[0]} × {low[1]} to {high[0]} × {high[1]} px; "
            "an input unlike them is named when it is predicted"
        )
    return "\n".join(lines) + "\n"


def _tell_scores(scores: list[Score]) -> str:
    if not scores:
        return "None: nobody evaluated this model before it was pushed (`dinoseg evaluate RUN DATA`).\n"
    lines = ["| data | split | class | metric | mean | 95 % interval | cases | missed |", "|---" * 8 + "|"]
    for score in scores:
        between = "" if score.low is None else f"{score.low:.3f} to {score.high:.3f}"
        unit = f" {score.unit}" if score.unit else ""
        lines.append(
            f"| {score.data} | {score.split} | {score.class_name} | {_METRICS[score.metric]} | "
            f"{score.mean:.3f}{unit} | {between} | {score.cases} | {score.missed} of {score.with_target} |"
        )
    lines.append("\nIntervals: bootstrap over patients. They describe this model on such patients.")
    return "\n".join(lines) + "\n"


def _tell_data(contents: Contents, scores: list[Score]) -> str:
    counts = _count_cases(contents.folder / "splits.json")
    lines = [f"- {count} cases in the split {split}" for split, count in counts.items()]
    lines += [f"- scored on: {name}" for name in sorted({score.data for score in scores})]
    if not counts:
        lines.append("- the splits of the training were not with the model")
    lines.append("- no image, no mask and no name of a case is in these files")
    return "\n".join(lines) + "\n"


def _count_cases(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        return {name: len(splits[name]) for name in _SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it or train again") from error


def _tell_licences(described: Mapping[str, Any], license_name: str | None, note: str) -> str:
    ours = license_name or "not stated by whoever pushed it"
    return (
        f"- decoder: {ours}\n- backbone: `{described['backbone']['license']}`. {note}\n"
        f"\nMade with dinoseg {described.get('dinoseg', __version__)}.\n"
    )


def _as_identifier(name: str) -> str:
    letters = [letter if letter.isalnum() else "-" for letter in name.lower()]
    return "".join(letters).strip("-") or "data"
