"""guided against each other method of runs/few_labels, paired case by case: is it better, and how sure is it.

    python benchmarks/few_labels_pairs.py [--runs DIR]

Scores of a case are averaged over the draws, as `dinoseg compare` does with folders of draws; methods with
fewer than three scored draws are left out. Rows go to benchmarks/results/few_labels_pairs.csv. On TG3K the
test split is one video, and no test over groups is possible.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dinoseg.errors import DinosegError
from dinoseg.evaluation.comparison.comparing import compare
from dinoseg.outputs import write_csv

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs/few_labels"
RESULTS = ROOT / "benchmarks/results/few_labels_pairs.csv"
DRAWS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder that few_labels.py wrote")
    runs = parser.parse_args().runs
    rows = [row for setting in sorted(runs.glob("*/")) for row in compare_setting(setting)]
    if not rows:
        print("skipped: no runs to compare; benchmarks/few_labels.py makes them")
        return
    write_csv(RESULTS, rows, overwrite=True)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


def compare_setting(setting: Path) -> list[dict[str, Any]]:
    """A row for each method that guided can be compared with."""
    found = {folder.name: draws for folder in sorted(setting.glob("*/")) if (draws := list_draws(folder))}
    ours = found.pop("guided", None)
    if ours is None:
        return []
    return [
        row for method, theirs in found.items() if (row := compare_with(setting.name, method, ours, theirs))
    ]


def list_draws(folder: Path) -> Path | None:
    """The folder of the draws, if all are scored."""
    scored = sorted(folder.glob("runs/*/*/draw-*/report/test/cases.csv"))
    return scored[0].parents[3] if len(scored) == DRAWS else None


def compare_with(setting: str, method: str, ours: Path, theirs: Path) -> dict[str, Any] | None:
    """The difference guided - other, with its interval over groups and p by sign flips."""
    try:
        (duel,) = compare([ours, theirs]).duels
    except DinosegError as error:
        print(f"{setting}: {error}")
        return None
    sign = 1 if duel.first == str(ours) else -1  # folders of the same name are called by their paths
    ends = sorted((sign * duel.test.low, sign * duel.test.high))
    return {
        "setting": setting,
        "other": method,
        "difference": round(sign * duel.test.difference, 4),
        "low": round(ends[0], 4),
        "high": round(ends[1], 4),
        "p": round(duel.p_holm, 4),
    }


if __name__ == "__main__":
    main()
