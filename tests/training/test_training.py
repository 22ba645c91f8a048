"""`Training`: said once, checked when made, given whole or by name."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dinoseg.config.training import Training
from dinoseg.errors import ConfigError, UsageError
from dinoseg.training import learn_curve, train, train_draws
from tests.training.conftest import Finished
from tests.training.folders import SMALL, read_decoder


@pytest.mark.parametrize(
    ("option", "kind", "words"),
    [
        ({"preset": "fast"}, ConfigError, "^'preset' takes paper or default, given 'fast'$"),
        ({"shots_from": "middle"}, ConfigError, "^'shots_from' takes random or first, given 'middle'$"),
        ({"shot_unit": "video"}, ConfigError, "^'shot_unit' takes case or group, given 'video'$"),
        ({"device": "mps"}, UsageError, "training runs on cpu or cuda, given 'mps'"),
    ],
)
def test_wrong_words_are_refused_when_it_is_made(option: dict[str, Any], kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        Training(**option)
    with pytest.raises(kind, match=words):
        dataclasses.replace(Training(), **option)


@pytest.mark.usefixtures("quick")
def test_whole_or_by_name_is_the_same_run(
    finished: Finished, data: Path, cache: Path, tmp_path: Path
) -> None:
    changes = {**SMALL, "train.epochs": 2, "cache.folder": str(cache), "model.decoder.width": 16}
    how = Training(method="linear", backbone="untrained-vitt16", changes=changes)
    train(data, tmp_path / "run", how=how, method="segdino-v2")
    trained, expected = read_decoder(tmp_path / "run"), read_decoder(finished.root)
    assert trained.keys() == expected.keys()
    assert all(trained[name].equal(expected[name]) for name in expected)


def test_unknown_options_are_told_with_a_guess(data: Path, tmp_path: Path) -> None:
    for call in (train, train_draws):
        with pytest.raises(UsageError, match="shot is no option, did you mean shots"):
            call(data, tmp_path / "run", shot=3)
    with pytest.raises(UsageError, match="method is one of `methods`"):
        learn_curve(data, tmp_path / "run", ["linear"], [1], method="linear")
    with pytest.raises(UsageError, match=r"how takes Training\(...\), given dict"):
        train(data, tmp_path / "run", how={"method": "linear"})  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_draws_need_their_number_of_shots(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="say of how many with shots=K"):
        train_draws(data, tmp_path / "run", 2, method="linear")


def test_a_run_that_cannot_start_is_refused_before_lightning_is_there(tmp_path: Path) -> None:
    """Its import takes seconds."""
    code = (
        "import sys\nfrom dinoseg.training import train\n"
        f"try: train({str(tmp_path / 'none')!r}, {str(tmp_path / 'run')!r}, method='linear')\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print({'lightning', 'matplotlib', 'monai', 'tensorboard'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["LayoutError", "set()"]
