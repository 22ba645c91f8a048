from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dinoseg.config import ClassPostprocessing, PostprocessingSettings
from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.errors import RunError, UsageError
from dinoseg.evaluation import choose_postprocessing, evaluate
from dinoseg.evaluation.cleaning import CANDIDATES, try_candidates
from dinoseg.inference import predict
from dinoseg.inference.masks.postprocessing import clean_mask
from dinoseg.model.folder import store_postprocessing
from dinoseg.model.opening import load
from dinoseg.model.segmenter import Segmenter
from tests.inference.models import make_glass, make_vit

CASES = tuple(f"case{number}" for number in range(6))


def _blobs(shape: tuple[int, ...], seed: int, classes: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.2)
    edges = np.quantile(noise, np.linspace(0.5, 1, classes)[:-1])
    return np.digitize(noise, edges).astype(np.uint8)


def _dice(prediction: np.ndarray, target: np.ndarray) -> float:
    total = int(prediction.sum()) + int(target.sum())
    return 2 * int((prediction & target).sum()) / total if total else 1.0


@pytest.mark.parametrize("shape", [(8, 22, 19), (60, 50)])
def test_trials_are_what_cleaning_gives(shape: tuple[int, ...]) -> None:
    prediction, target = _blobs(shape, 1, 3), _blobs(shape, 2, 3)
    dimensions, cell = len(shape), 1.7
    for class_id in (1, 2):
        trial = try_candidates(prediction, target, class_id, cell=cell)
        assert trial.target_size == pytest.approx((target == class_id).sum() * cell)
        for step, dice in zip(CANDIDATES, trial.dice, strict=True):
            cleaned = prediction.copy()
            settings = PostprocessingSettings(dimensions=dimensions, unit="mm", classes={class_id: step})
            clean_mask(cleaned, settings, cell=cell)
            assert dice == pytest.approx(_dice(cleaned == class_id, target == class_id)), step
        assert len(set(trial.dice)) > 3


def test_trials_of_empty_masks() -> None:
    empty, full = np.zeros((3, 4, 5), np.uint8), np.ones((3, 4, 5), np.uint8)
    assert try_candidates(empty, empty, 1, cell=1).dice.tolist() == [1.0] * len(CANDIDATES)
    assert try_candidates(empty, full, 1, cell=1).dice.tolist() == [0.0] * len(CANDIDATES)
    removed = try_candidates(full, empty, 1, cell=1).dice
    assert {step.minimum_size > 60 for step, dice in zip(CANDIDATES, removed, strict=True) if dice == 1} == {
        True
    }


def test_the_first_candidate_does_nothing() -> None:
    assert CANDIDATES[0] == ClassPostprocessing()
    assert [step.steps for step in CANDIDATES] == sorted(step.steps for step in CANDIDATES)
    assert len(set(map(str, CANDIDATES))) == len(CANDIDATES)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A bright square to find, and bright specks besides."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for case in CASES:
        mask = np.zeros((32, 32), np.uint8)
        row, column = rng.integers(8, 14, 2)
        mask[row : row + 12, column : column + 12] = 255
        image = np.where(mask > 0, 200, 40).astype(np.uint8)
        image[2, 2:30:4] = 250
        image[row + 5, column + 5] = 0
        for folder, array in (("images", image), ("masks", mask)):
            Image.fromarray(array).save(tmp_path / "data" / folder / f"{case}.png")
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    model = make_vit("linear", {0: "background", 1: "foreground"}, size=32)
    model.save(tmp_path / "run" / "model")
    splits = Splits(train=CASES[:1], val=CASES[1:4], test=CASES[4:], seed=None, unit="case")
    save_splits(tmp_path / "run" / "splits.json", splits)
    return tmp_path / "run"


@pytest.fixture
def glass(run: Path) -> Segmenter:
    """As if it had been loaded from the run: its mask is what is bright."""
    model = make_glass({0: "background", 1: "foreground"})
    model.run = run
    return model


def test_what_helps_is_chosen_and_kept(run: Path, data: Path, glass: Segmenter) -> None:
    choice = choose_postprocessing(glass, data)
    assert choice.cases == 3
    (found,) = choice.classes
    assert found.after == pytest.approx(1.0)
    assert found.before < 0.99
    # A threshold of 10 px does what the largest component does; the size is the one that is tried first.
    assert found.steps.fill_holes
    assert found.steps.largest_component or found.steps.minimum_size > 0
    assert (choice.settings.dimensions, choice.settings.unit) == (2, "px")
    assert load(run).postprocessing == glass.postprocessing == choice.settings


def test_predict_and_evaluate_apply_it(run: Path, data: Path, glass: Segmenter, tmp_path: Path) -> None:
    choose_postprocessing(glass, data)
    splits = run / "splits.json"
    found = evaluate(glass, data, splits=splits, out=tmp_path / "report")
    assert found.headline.metric("dice").interval.mean == pytest.approx(1.0)
    plain = evaluate(glass, data, splits=splits, postprocess=False)
    assert plain.headline.metric("dice").interval.mean < 0.99
    facts = json.loads((tmp_path / "report" / "summary.json").read_text())["facts"]
    assert facts["Postprocessing"].startswith("foreground: ")
    paper = evaluate(glass, data, splits=splits, protocol="paper", out=tmp_path / "paper")
    assert paper.headline.metric("dice").interval.mean < 0.99
    facts = json.loads((tmp_path / "paper" / "summary.json").read_text())["facts"]
    assert facts["Postprocessing"] == "none"


def test_before_and_after_are_the_scores_of_evaluate(run: Path, data: Path) -> None:
    choice = choose_postprocessing(run, data)
    for postprocess, dice in ((False, choice.classes[0].before), (True, choice.classes[0].after)):
        found = evaluate(run, data, split="val", postprocess=postprocess)
        assert found.headline.metric("dice").interval.mean == pytest.approx(dice)


def test_an_earlier_choice_is_replaced_by_nothing(
    run: Path, data: Path, glass: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_postprocessing(glass, data)
    assert load(run).postprocessing is not None
    monkeypatch.setattr("dinoseg.evaluation.postprocessing._GAIN", 2.0)
    assert choose_postprocessing(glass, data).classes[0].steps.steps == 0
    assert glass.postprocessing is None
    assert load(run).postprocessing is None


def test_saving_keeps_it_and_training_again_forgets_it(run: Path, data: Path, glass: Segmenter) -> None:
    choice = choose_postprocessing(glass, data)
    load(run).save(run / "model", overwrite=True)
    assert load(run).postprocessing == choice.settings
    fresh = load(run)
    fresh.postprocessing = None
    fresh.save(run / "model", overwrite=True)
    assert load(run).postprocessing is None


def test_a_model_of_no_run_and_a_split_are_refused(run: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="stored in a run folder, and the model given is of none"):
        choose_postprocessing(make_glass(), data)
    with pytest.raises(UsageError, match="split is no option"):
        choose_postprocessing(run, data, split="test")


def test_steps_of_a_class_that_the_model_does_not_have_are_damage(run: Path) -> None:
    settings = PostprocessingSettings(
        dimensions=2, unit="px", classes={7: ClassPostprocessing(fill_holes=True)}
    )
    store_postprocessing(run, settings)
    with pytest.raises(RunError, match=r"config.json is damaged \(postprocessing of the classes \[7\]"):
        load(run)


def _write_interacting(folder: Path, cases: tuple[str, ...]) -> None:
    """A ring of class 2 around specks of class 1 that are false: removing those makes holes of the ring."""
    for number, case in enumerate(cases):
        target, image = np.zeros((40, 40), np.uint8), np.full((40, 40), 40, np.uint8)
        target[4:12, 4:14] = 1
        row = 16 + number % 3
        target[row : row + 18, 16:34] = 2
        image[target == 1], image[target == 2] = 128, 215
        image[row + 6 : row + 9, 20:24] = 128  # taken for class 1, and wanted as class 2
        image[row + 11 : row + 14, 26:30] = 40
        for name, array in (("images", image), ("masks", target)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / name / f"{case}.png")
    (folder / "dataset.yaml").write_text(
        "classes: {0: background, 1: first, 2: second}\nvalues: {0: 0, 1: 1, 2: 2}\n"
    )


def test_what_is_promised_of_classes_that_touch_is_what_evaluate_finds(run: Path, tmp_path: Path) -> None:
    """Once the specks of the first class are gone, the second one fills their places: measured one by one,
    nothing would say so."""
    folder, names = tmp_path / "two", {0: "background", 1: "first", 2: "second"}
    _write_interacting(folder, CASES)
    model = make_glass(names, size=40)
    model.run = run
    choice = choose_postprocessing(model, folder)
    promised = {item.class_name: item.after for item in choice.classes}
    assert choice.classes[0].steps.steps > 0
    assert choice.classes[1].steps.fill_holes
    found = evaluate(model, folder, split="val")
    assert {row.class_name: row.metric("dice").interval.mean for row in found.summaries[:2]} == pytest.approx(
        promised
    )
    assert promised == pytest.approx({"first": 1.0, "second": 1.0})
    alone = try_candidates(
        np.where(_answer(folder, model) == 2, 2, 0).astype(np.uint8), _target(folder), 2, cell=1.0
    )
    assert alone.dice.max() == pytest.approx(1.0)
    assert try_candidates(_answer(folder, model), _target(folder), 2, cell=1.0).dice.max() < 1.0


def _answer(folder: Path, model: Segmenter) -> np.ndarray:
    return predict(model, folder / "images" / f"{CASES[1]}.png", postprocess=False).mask


def _target(folder: Path) -> np.ndarray:
    return np.asarray(Image.open(folder / "masks" / f"{CASES[1]}.png"))
