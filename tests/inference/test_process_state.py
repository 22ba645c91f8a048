"""Applying a model leaves the filters of warnings as they were, whatever is imported and in which thread."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.streams import ignoring_warnings, keeping_filters
from tests.inference.models import BINARY, make_vit

# In a process of its own, where nothing is imported yet: imports bring filters with them.
SCRIPT = """
import json, sys, warnings

def state():
    return [str(each) for each in warnings.filters]

before, found = state(), {}
import dinoseg
found["import"] = state()
run, images, out = sys.argv[1:]
model = dinoseg.load(run)
found["load"] = state()
for _ in range(3):  # read in two threads each time
    dinoseg.predict(model, images + "/images")
found["predict"] = state()
from dinoseg.inference import predict_files
predict_files(run, [images + "/images"], out + "/masks")
found["predict_files"] = state()
dinoseg.evaluate(run, images, out=out + "/report")
found["evaluate"] = state()
from dinoseg.evaluation import choose_postprocessing
choose_postprocessing(run, images)
found["choose"] = state()
print("STATES", json.dumps({"before": before, **found}))
"""


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    root = tmp_path_factory.mktemp("state")
    rng = np.random.default_rng(0)
    cases = tuple(f"case{number}" for number in range(8))
    for folder in ("images", "masks"):
        (root / "data" / folder).mkdir(parents=True)
        for case in cases:
            array = rng.integers(0, 255, (40, 40)) if folder == "images" else 255 * (np.eye(40) > 0)
            Image.fromarray(array.astype(np.uint8)).save(root / "data" / folder / f"{case}.png")
    make_vit("linear", BINARY, size=32).save(root / "run" / "model")
    splits = Splits(train=cases[:2], val=cases[2:5], test=cases[5:], seed=None, unit="case")
    save_splits(root / "run" / "splits.json", splits)
    words = [str(root / "run"), str(root / "data"), str(root / "out")]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.rpartition("STATES")[2])
    return found


@pytest.mark.parametrize("when", ["import", "load", "predict", "predict_files", "evaluate", "choose"])
def test_the_filters_are_as_before(states: dict[str, list[str]], when: str) -> None:
    assert states[when] == states["before"]


def test_threads_that_overlap_leave_the_filters_as_they_were() -> None:
    before = list(warnings.filters)

    def work(seed: int) -> None:
        waits = random.Random(seed)
        for _ in range(20):
            with ignoring_warnings():
                time.sleep(waits.random() / 1000)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(work, seed) for seed in range(4)]
        while not all(each.done() for each in running):
            with warnings.catch_warnings():  # as libraries do meanwhile in the thread that calls
                time.sleep(0.0007)
        for each in running:
            each.result()
    assert list(warnings.filters) == before


def test_no_thread_hears_what_another_one_still_hides() -> None:
    def work(number: int) -> None:
        for _ in range(20):
            with ignoring_warnings():
                time.sleep(number / 2000)
                warnings.warn("hidden", UserWarning, stacklevel=1)  # an error, were it heard

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_warnings_are_heard_again_afterwards() -> None:
    with ignoring_warnings(), ignoring_warnings():
        warnings.warn("hidden", UserWarning, stacklevel=1)
    with pytest.warns(UserWarning, match="shown"):
        warnings.warn("shown", UserWarning, stacklevel=1)


def test_filters_of_the_caller_stay() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        before = list(warnings.filters)
        with keeping_filters():
            warnings.simplefilter("always", BytesWarning)
        assert list(warnings.filters) == before
