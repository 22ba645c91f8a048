"""Confidence is fitted at the end of a training, on remembered features, as predicting anew would fit it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dinoseg.data import open_dataset
from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.evaluation import evaluate
from dinoseg.evaluation.calibration import fit_confidence
from dinoseg.inference import predict
from dinoseg.model.opening import load
from tests.backbones.tiny import Notes
from tests.training.folders import make_data, train_small
from tests.training.series import TINY

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("symmetries", [1, 4])
def test_it_is_kept_with_the_model_and_that_of_predicting(
    symmetries: int, cache: Path, tmp_path: Path, quick: None
) -> None:
    data = make_data(tmp_path / "data", count=34)
    names = sorted(case.id for case in open_dataset(data).cases)
    groups = {case.id: case.group for case in open_dataset(data).cases}
    train = [name for name in names if groups[name] in sorted(set(groups.values()))[:3]]
    val = [name for name in names if name not in train]
    save_splits(tmp_path / "splits.json", Splits(tuple(train), tuple(val), (), None, "group"))
    notes = Notes()
    model = train_small(
        data,
        tmp_path / "run",
        cache,
        method="linear",
        splits=tmp_path / "splits.json",
        changes={**TINY, "cache.dtype": "float32", "model.symmetries": symmetries},
        progress=notes,
    )
    kept = model.calibration
    assert kept is not None
    assert kept.cases == len(val) >= 20
    assert not [note for note in notes.notes if "not calibrated" in note]
    loaded = load(tmp_path / "run")
    assert loaded.calibration == kept
    found = evaluate(loaded, data, split="val", splits=tmp_path / "splits.json")
    anew = fit_confidence(found.observations)
    assert anew is not None
    if symmetries > 1:  # else what is kept would say nothing of them
        once = fit_confidence(
            evaluate(loaded, data, split="val", splits=tmp_path / "splits.json", flips=False).observations
        )
        assert once is not None
        assert once.soft_dice != pytest.approx(kept.soft_dice, abs=1e-4)
    assert anew.soft_dice == pytest.approx(kept.soft_dice, abs=1e-4)
    assert anew.dice == pytest.approx(kept.dice, abs=1e-4)
    assert anew.miss == pytest.approx(kept.miss, abs=1e-2)
    assert anew.temperature == pytest.approx(kept.temperature, rel=0.1)  # of other pixels
    assert found.reliability is not None
    assert found.reliability.in_sample
    prediction = predict(loaded, data / "images" / f"{val[0]}.png")
    assert prediction.confidence.calibrated_on == len(val)
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["confidence"]["cases"] == len(
        val
    )


def test_too_few_validation_cases_are_told(data: Path, cache: Path, tmp_path: Path) -> None:
    notes = Notes()
    model = train_small(data, tmp_path / "run", cache, method="linear", changes=TINY, progress=notes)
    assert model.calibration is None
    (told,) = [note for note in notes.notes if "not calibrated" in note]
    assert told.startswith("confidence is not calibrated: that takes 20 validation cases, here are")
