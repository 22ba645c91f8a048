"""plan.json: what a series of runs was started with, so that it goes on as it began or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dinoseg.config import from_yaml
from dinoseg.data.splits.splits import Splits, load_splits, save_splits
from dinoseg.errors import ConfigError, OutputError, RunError
from dinoseg.model.settings import RunSettings
from dinoseg.outputs import claim, holds_files, refuse_filled, remove_ours, write_json
from dinoseg.training.runs.run_folder import FREE_TO_CHANGE, flatten

PLAN = "plan.json"
SPLITS = "splits.json"
AGAIN = "start anew with --overwrite"


@dataclass(frozen=True)
class Plan:
    """All that the results of a series follow from.

    Attributes:
        kind: "draws" or "curve".
        methods: to train; may grow when a series goes on, like the next two.
        shots: numbers of cases or groups.
        draws: how many of each.
        split: what is scored.
        content: digest of all images and masks of the splits.
        backbones: method -> digest of the frozen backbone with the layers that it reads.
        settings: method -> all settings of the first draw.
    """

    kind: Literal["draws", "curve"]
    methods: tuple[str, ...]
    shots: tuple[int, ...]
    draws: int
    split: str
    content: str
    backbones: Mapping[str, str]
    settings: Mapping[str, RunSettings]

    def describe(self) -> dict[str, Any]:
        """What plan.json holds."""
        settings = {method: item.model_dump(mode="json") for method, item in self.settings.items()}
        lists = {"methods": list(self.methods), "shots": list(self.shots)}
        return {**vars(self), **lists, "settings": settings}


@dataclass(frozen=True)
class FoldsPlan:
    """All that the results of a cross-validation follow from, beside its splits_final.json.

    Attributes:
        folds: how many.
        content: digest of all images and masks.
        backbone: digest of the frozen backbone with the layers that it reads.
        settings: of the first fold.
    """

    folds: int
    content: str
    backbone: str
    settings: RunSettings

    def describe(self) -> dict[str, Any]:
        """What plan.json holds."""
        return {"kind": "folds", **vars(self), "settings": self.settings.model_dump(mode="json")}

    def open(self, out: Path, *, resume: bool, overwrite: bool) -> None:
        """Make `out` ready, as `open_plan` does.

        Raises:
            OutputError: as for `refuse_older`.
            RunError: `resume`, and the folds were started with something else.
        """
        refuse_older(out, resume=resume, overwrite=overwrite)
        if overwrite:
            remove_ours(out)
        if (out / PLAN).is_file():
            require_same_values(out, _flatten_folds(_load(out / PLAN)), _flatten_folds(self.describe()))
        claim(out)
        write_json(out / PLAN, self.describe(), overwrite=True)


def _flatten_folds(plan: Mapping[str, Any]) -> dict[str, Any]:
    try:
        settings = dict(comparable_settings(plan["settings"])) if plan["kind"] == "folds" else {}
        return {**{key: plan.get(key) for key in ("kind", "folds", "content", "backbone")}, **settings}
    except (KeyError, TypeError, ConfigError) as error:
        raise RunError(f"{PLAN} is damaged ({error!r}); restore it, or choose another --out") from error


def refuse_older(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise `OutputError` if `out` holds something that is neither to be resumed nor ours to be deleted."""
    planned = (out / PLAN).is_file()
    if resume and planned:
        return
    if resume and holds_files(out):
        raise OutputError(
            f"{out} is not empty and holds no series of runs to resume (no {PLAN}); choose another --out"
        )
    refuse_filled(out, overwrite=overwrite, resumable=planned)


def open_plan(out: Path, plan: Plan, splits: Splits, *, resume: bool, overwrite: bool) -> None:
    """Make `out` ready: a new series, or an older one that was started with the same settings.

    Raises:
        OutputError: as for `refuse_older`.
        RunError: `resume`, and the series was started with something else.
    """
    refuse_older(out, resume=resume, overwrite=overwrite)
    if overwrite:
        remove_ours(out)
    if (out / PLAN).is_file():
        _require_same(out, plan, splits)
    claim(out)
    write_json(out / PLAN, plan.describe(), overwrite=True)
    save_splits(out / SPLITS, splits, overwrite=True)


def _require_same(out: Path, plan: Plan, splits: Splits) -> None:
    before, now = _read(out / PLAN), plan.describe()
    for name in ("methods", "shots"):
        gone = [str(item) for item in before[name] if item not in now[name]]
        if gone:
            raise RunError(
                f"{out} was started with {name} {','.join(map(str, before[name]))}, now without "
                f"{','.join(gone)}; ask for these too, or {AGAIN}"
            )
    if before["draws"] > plan.draws:
        raise RunError(
            f"{out} was started with {before['draws']} draws, now {plan.draws}; ask for as many, or {AGAIN}"
        )
    values = _comparable(before), _comparable(now, before["methods"])
    if not (out / SPLITS).is_file() or load_splits(out / SPLITS) == splits:
        require_same_values(out, *values)
        return
    # The content is that of the cases of the splits, and differs with them.
    require_same_values(out, *({**each, "content": None} for each in values))
    most = max(before["shots"])
    if max(plan.shots) > most and any(item.shots_from == "first" for item in plan.settings.values()):
        raise RunError(
            f"{out} keeps the first {most} shots in train and draws val from the rest; {max(plan.shots)} "
            f"would take cases from val; ask for {most} at most, or {AGAIN}"
        )
    raise RunError(
        f"{out / SPLITS} has other cases than the data now; restore its splits to resume, or {AGAIN}"
    )


def require_same_values(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `RunError` unless what a series was started with is what it shall go on with."""
    different = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if not different:
        return
    key = different[0]
    if key == "content":
        raise RunError(
            f"images or masks have changed since {out} was started; restore them to resume, or {AGAIN}"
        )
    raise RunError(
        f"{out} was started with {key} {before.get(key)}, now {now.get(key)}"
        f"{f' ({len(different)} settings differ)' if len(different) > 1 else ''}; "
        f"resume with the same settings, or {AGAIN}"
    )


def _comparable(plan: Mapping[str, Any], methods: list[str] | None = None) -> dict[str, Any]:
    """One flat key -> value of what must not change; of these methods only, if given."""
    flat = {key: plan[key] for key in ("kind", "split", "content")}
    for method in methods or plan["methods"]:
        flat |= {f"{method}: {key}": value for key, value in comparable_settings(plan["settings"][method])}
        flat[f"{method}: digest of the backbone"] = plan["backbones"][method]
    return flat


def comparable_settings(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Flat settings without what no result depends on, and what a plan lists itself."""
    # Read as settings first: those that an older version did not have get their defaults.
    settings = from_yaml(RunSettings, json.dumps(values, ensure_ascii=False))
    left_out = {*FREE_TO_CHANGE, "shots", "splits"}
    flat = flatten(settings.model_dump(mode="json"))
    return ((key, value) for key, value in flat.items() if key not in left_out)


def _load(path: Path) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error!r}); restore it, or choose another --out") from error
    return plan


def _read(path: Path) -> dict[str, Any]:
    plan = _load(path)
    try:
        _comparable(plan)
        _ = len(plan["shots"]), plan["draws"] + 0
    except (KeyError, TypeError, ConfigError) as error:
        raise RunError(f"{path} is damaged ({error!r}); restore it, or choose another --out") from error
    return plan
