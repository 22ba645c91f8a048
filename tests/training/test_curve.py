"""`learn_curve()`: methods × shots × draws, its tables and picture, stopped and taken up again."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as PillowImage

import dinoseg.training.series.jobs as jobs_module
from dinoseg.config import from_yaml
from dinoseg.data.splits.splits import load_splits
from dinoseg.errors import ConfigError, DinosegError, RunError, SplitError, UsageError
from dinoseg.evaluation import evaluate
from dinoseg.evaluation.statistics import Interval
from dinoseg.model.saved import SavedModel
from dinoseg.model.settings import RunSettings
from dinoseg.outputs import write_json
from dinoseg.training import Curve, learn_curve
from dinoseg.training.fitting import train_run
from dinoseg.training.series.curve_picture import draw_curve
from dinoseg.training.series.outcomes import Draw, Repeats, gather
from tests.backbones.tiny import Notes
from tests.training.series import TINY, hurry, read_comments, read_json, read_table, stamps

METHODS = ("segdino-v1", "linear")
SHOTS = (4, 1)  # in any order
pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def curve_small(data: Path, out: Path, cache: Path, **arguments: Any) -> Curve:
    changes = {**TINY, "cache.folder": str(cache), **arguments.pop("changes", {})}
    wanted = {"methods": METHODS, "shots": SHOTS, "backbone": "untrained-vitt16", "draws": 2, **arguments}
    return learn_curve(data, out=out, changes=changes, **wanted)


@pytest.fixture(scope="module")
def whole(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Curve:
    """A curve that was never interrupted; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        return curve_small(data, tmp_path_factory.mktemp("curves") / "whole", cache)


def test_one_row_per_run_in_the_order_of_reading(whole: Curve) -> None:
    rows = read_table(whole.table)
    found = [(row["method"], int(row["shots"]), int(row["draw"])) for row in rows]
    assert found == [(method, shots, draw) for method in METHODS for shots in (1, 4) for draw in (0, 1)]
    assert [row["training_cases"] for row in rows] == ["1", "1", "4", "4"] * 2
    for row in rows:
        assert (whole.out / row["run"] / "model" / "decoder.safetensors").is_file()
        assert 0 <= float(row["dice"]) <= 1
    assert "test split of data; untrained-vitt16; preset default" in read_comments(whole.table)[0]


def test_methods_see_the_same_cases_and_few_are_among_many(whole: Curve) -> None:
    cases = {
        (method, shots, draw): load_splits(
            whole.out / "runs" / method / f"{shots}-shot" / f"draw-{draw}" / "splits.json"
        ).train
        for method in METHODS
        for shots in SHOTS
        for draw in (0, 1)
    }
    for draw in (0, 1):
        assert cases["linear", 4, draw] == cases["segdino-v1", 4, draw]
        assert cases["linear", 4, draw][:1] == cases["linear", 1, draw]
    assert cases["linear", 4, 0] != cases["linear", 4, 1]


def test_summary_rows_are_over_the_draws(whole: Curve) -> None:
    rows = {(row["method"], row["shots"]): row for row in read_table(whole.summary)}
    assert list(rows) == [(method, shots) for method in METHODS for shots in ("1", "4")]
    for (method, shots), row in rows.items():
        runs = [r for r in read_table(whole.table) if (r["method"], r["shots"]) == (method, shots)]
        dice = [float(run["dice"]) for run in runs]
        assert float(row["dice_mean"]) == pytest.approx(np.mean(dice), abs=1e-6)
        assert float(row["dice_sd"]) == pytest.approx(np.std(dice, ddof=1), abs=1e-6)
        assert float(row["nsd_mean"]) == pytest.approx(np.mean([float(run["nsd"]) for run in runs]), abs=1e-6)
        assert int(row["missed_max"]) == max(int(run["missed"]) for run in runs)
        assert row["trained_parameters"] == runs[0]["trained_parameters"]
    assert int(rows["linear", "1"]["trained_parameters"]) == 4 * 192 + 1
    document = read_json(whole.out / "curve.json")
    assert [item["shots"] for item in document["repeats"]] == [1, 4, 1, 4]
    assert [item.dice.mean for item in whole.repeats] == [
        item["spreads"]["dice"]["mean"] for item in document["repeats"]
    ]


class _Stop(Notes):
    """Presses Ctrl-C when so many runs are done."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def track(self, items: Any, *, total: int, label: str) -> Iterator[Any]:
        for index, item in enumerate(items):
            if label == "all runs" and index == self._after:
                raise KeyboardInterrupt
            yield item


def test_stopped_between_runs_and_taken_up_again(
    whole: Curve, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        curve_small(data, tmp_path / "out", cache, draws=1, progress=_Stop(after=3))
    early = read_table(tmp_path / "out" / "curve.csv")
    assert len(early) == 3
    assert "3 of 4 runs so far" in read_comments(tmp_path / "out" / "curve.csv")[0]
    assert (tmp_path / "out" / "curve.png").is_file()
    first = stamps(tmp_path / "out" / early[0]["run"])

    trained = []

    def count(*arguments: Any, **keywords: Any) -> Any:
        trained.append(arguments[3])
        return train_run(*arguments, **keywords)

    monkeypatch.setattr(jobs_module, "train_run", count)
    notes = Notes()
    found = curve_small(data, tmp_path / "out", cache, draws=1, resume=True, progress=notes)
    assert len(trained) == 1
    assert "3 of 4 runs are there already and stay as they are" in notes.notes
    assert stamps(tmp_path / "out" / early[0]["run"]) == first
    assert read_table(found.table) == [row for row in read_table(whole.table) if row["draw"] == "0"]
    assert read_comments(found.table) == read_comments(whole.table)


def test_stopped_within_a_run_and_taken_up_again(
    whole: Curve, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(saved: SavedModel, *arguments: Any, **keywords: Any) -> Any:
        if "1-shot" in str(run := saved.folder):
            # As if it had been stopped before the model was written, and the checkpoint was.
            shutil.rmtree(run / "model")
            raise KeyboardInterrupt
        return evaluate(saved, *arguments, **keywords)

    wanted: dict[str, Any] = {"methods": ["linear"], "draws": 1}
    with monkeypatch.context() as patch:
        patch.setattr(jobs_module, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            curve_small(data, tmp_path / "out", cache, **wanted)
    found = curve_small(data, tmp_path / "out", cache, resume=True, **wanted)
    rows = [row for row in read_table(whole.table) if (row["method"], row["draw"]) == ("linear", "0")]
    assert read_table(found.table) == rows


def test_a_curve_grows(whole: Curve, data: Path, cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    curve_small(data, out, cache, methods=["linear"], shots=[1], draws=1)
    grown = curve_small(data, out, cache, methods=["linear"], shots=[1, 4], draws=2, resume=True)
    rows = [row for row in read_table(whole.table) if row["method"] == "linear"]
    assert read_table(grown.table) == rows
    with pytest.raises(RunError, match=r"started with shots 1,4, now without 4; ask for these too"):
        curve_small(data, out, cache, methods=["linear"], shots=[1], draws=2, resume=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"changes": {"train.epochs": 2}}, r"started with segdino-v1: train\.epochs 1, now 2 \(2 settings"),
        ({"methods": ["linear"]}, "now without segdino-v1"),
        ({"preset": "paper"}, r"started with segdino-v1: preset \S*default"),
        ({"shots": SHOTS[:1], "shots_from": "first"}, "now without 1"),
    ],
)
def test_other_settings_are_no_resumption(
    arguments: dict[str, Any], words: str, whole: Curve, data: Path, cache: Path
) -> None:
    before = stamps(whole.out)
    with pytest.raises(RunError, match=words):
        curve_small(data, whole.out, cache, resume=True, **arguments)
    assert stamps(whole.out) == before


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (
            {"shots": [1, 10]},
            SplitError,
            r"10 shots; .* 1 to 9 \(cases\): ultrasound_0001; ",
        ),
        ({"shots": [1, 4], "shot_unit": "group"}, SplitError, r"4 shots; .* 1 to 3 \(groups\): subject_001"),
        ({"shots": [1, 5, 1]}, UsageError, "the list of shots names 1 twice"),
        ({"shots": []}, UsageError, "the list of shots names nothing"),
        ({"methods": ["linear", "linear"]}, UsageError, "the list of methods names linear twice"),
        ({"methods": ["linear", "unet"]}, ConfigError, "'unet' is unknown.* accepted: segdino-v1"),
        (
            {"changes": {"unet:train.lr": 1}},
            UsageError,
            "'unet:train.lr' is for 'unet', not among the methods: s",
        ),
        ({"changes": {"linear:fold": 1}}, UsageError, "'fold' is 0, 1, .* all share one split"),
        # A setting that only the first method has: told before hours are spent on it.
        (
            {"methods": ["segdino-v1", "linear"], "changes": {"model.decoder.features": 8}},
            ConfigError,
            r"'model\.decoder\.features' is unknown",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_run(
    arguments: dict[str, Any], kind: type[DinosegError], words: str, data: Path, cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words) as caught:
        curve_small(data, tmp_path / "out", cache, **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_settings_of_one_method_and_of_all(data: Path, cache: Path, tmp_path: Path) -> None:
    changes = {"segdino-v1:model.decoder.features": 8, "train.lr": 0.02, "linear:train.lr": 0.01}
    found = curve_small(data, tmp_path / "out", cache, shots=[1], draws=1, changes=changes)
    settings = {
        item.method: from_yaml(RunSettings, (item.draws[0].run / "config.yaml").read_text())
        for item in found.repeats
    }
    assert settings["segdino-v1"].model.decoder.model_dump()["features"] == 8
    assert {method: item.train.lr for method, item in settings.items()} == {
        "segdino-v1": 0.02,
        "linear": 0.01,
    }
    assert int(read_table(found.table)[0]["trained_parameters"]) < 2_000_000


def test_a_plan_of_an_older_version_gets_new_settings_defaults(
    whole: Curve, data: Path, cache: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(whole.out, tmp_path / "out")
    plan = read_json(out / "plan.json")
    for settings in plan["settings"].values():
        del settings["cache"], settings["train"]["validate_every"]
    write_json(out / "plan.json", plan, overwrite=True)
    found = curve_small(data, out, cache, resume=True)
    assert read_table(found.table) == read_table(whole.table)


# --- the picture -------------------------------------------------------------------------------------------


def make_repeats(methods: tuple[str, ...], shots: tuple[int, ...], draws: int = 3) -> tuple[Repeats, ...]:
    found = []
    for index, method in enumerate(methods):
        for count in shots:
            for draw in range(draws):
                dice = 0.3 + 0.05 * index + 0.05 * math.log(count) + 0.02 * draw
                scores = {"dice": dice, "iou": dice, "hd95": 9.0, "assd": 3.0, "nsd": dice}
                interval = Interval(dice, dice - 0.1, dice + 0.1)
                run = Path(f"/runs/{method}/{count}/{draw}")
                found.append(
                    Draw(method, count, draw, draw, run, count, scores, interval, {}, 9, 1, 0, 0, 77, 1.0)
                )
    return gather(found)


def draw(repeats: tuple[Repeats, ...], path: Path, monkeypatch: pytest.MonkeyPatch) -> Figure:
    """The figure that was saved."""
    saved: list[Figure] = []
    savefig = Figure.savefig

    def keep(self: Figure, *arguments: Any, **keywords: Any) -> None:
        saved.append(self)
        savefig(self, *arguments, **keywords)

    monkeypatch.setattr(Figure, "savefig", keep)
    draw_curve(repeats, path, title="Few labels", subtitle="a backbone", split="test", unit="case")
    return saved[0]


def renderer_of(figure: Figure) -> Any:
    canvas: Any = FigureCanvasAgg(figure)
    return canvas.get_renderer()


def test_picture_shows_means_ticks_and_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repeats = make_repeats(("segdino-v2", "linear"), (1, 5, 10, 25, 40))
    figure = draw(repeats, tmp_path / "curve.png", monkeypatch)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "10", "25", "40"]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "training cases (logarithmic scale)"
    assert axes.get_ylabel() == "test Dice, native size, mean ± sd over 3 draws"
    assert axes.get_title(loc="left") == "Few labels"
    containers: list[Any] = list(axes.containers)
    lines = [container.lines[0] for container in containers]
    for line, method in zip(lines, ("segdino-v2", "linear"), strict=True):
        means = [item.dice.mean for item in repeats if item.method == method]
        assert list(line.get_ydata()) == pytest.approx(means)
        assert list(line.get_xdata()) == pytest.approx([1, 5, 10, 25, 40], rel=0.05)
    low, high = axes.get_ylim()
    assert 0 <= low < 0.3
    assert 0.57 < high <= 1
    with PillowImage.open(tmp_path / "curve.png") as picture:
        assert picture.size == (1080, 735)


@pytest.mark.parametrize("count", [1, 5])
def test_legend_lies_below_everything(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = ("segdino-v1", "segdino-v2", "dino-unet", "dino-augseg", "linear")[:count]
    figure = draw(make_repeats(methods, (1, 40)), tmp_path / "curve.png", monkeypatch)
    renderer = renderer_of(figure)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(methods)
    drawn = figure.axes[0].get_tightbbox(renderer)
    assert drawn is not None
    assert not legend.get_window_extent(renderer).overlaps(drawn)
    assert legend.get_window_extent(renderer).y0 >= 0


def test_crowded_ticks_do_not_touch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw(make_repeats(("linear",), (1, 35, 40, 41, 42, 800)), tmp_path / "c.png", monkeypatch)
    (axes,) = figure.axes
    assert list(axes.get_xticks()) == [1, 35, 40, 41, 42, 800]
    renderer = renderer_of(figure)
    boxes = [label.get_window_extent(renderer) for label in axes.get_xticklabels() if label.get_text()]
    assert len(boxes) >= 4
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))


def test_one_draw_and_one_number_of_shots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw(make_repeats(("linear",), (5,), draws=1), tmp_path / "curve.png", monkeypatch)
    (axes,) = figure.axes
    assert axes.get_ylabel() == "test Dice, native size, one draw"
    assert axes.get_xlim()[0] < 5 < axes.get_xlim()[1]
