"""Files computed by the workers of Ray: the same bytes, whatever happens to a worker."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinoseg.backbones import create_backbone
from dinoseg.cohorts.cluster import OnRay
from dinoseg.errors import UsageError
from dinoseg.inference import predict_files
from dinoseg.model.saved import SavedModel
from dinoseg.model.segmenter import Segmenter
from tests.cli.conftest import Run
from tests.cli.conftest import run as run
from tests.test_model import make_settings

with_ray = pytest.mark.skipif(
    __import__("importlib.util", fromlist=["util"]).find_spec("ray") is None,
    reason="needs Ray: pip install 'dinoseg[ray]'",
)


@pytest.fixture
def model(tmp_path: Path) -> SavedModel:
    settings = make_settings("untrained-vitt16")
    Segmenter(settings, create_backbone("untrained-vitt16")).save(tmp_path / "run" / "model")
    return SavedModel(tmp_path / "run")


def draw(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.png")
    return folder


@pytest.mark.parametrize("cluster", ["dask", "ray://", "", "Ray", "ray:", "ray://host"])
def test_what_is_no_cluster_is_refused(model: SavedModel, cluster: str) -> None:
    with pytest.raises(UsageError, match="'ray' for workers on this machine"):
        OnRay(model, cluster=cluster)


def test_options_of_workers_need_a_cluster(run: Run, tmp_path: Path) -> None:
    ended = run("predict", tmp_path, tmp_path, "--out", tmp_path / "out", "--workers", 3)
    assert (ended.code, "name one with --cluster ray" in ended.error) == (2, True)


def test_without_ray_the_extra_is_named(
    model: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'dinoseg\[ray\]'"):
        predict_files(model, draw(tmp_path / "in", 1), tmp_path / "out", runner=OnRay(model))


@with_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_same_bytes_with_one_worker_and_two_though_one_is_killed(
    model: SavedModel, tmp_path: Path
) -> None:
    folder = draw(tmp_path / "in", 120)
    (folder / "broken.png").write_bytes(b"no image")
    predict_files(model, folder, tmp_path / "alone")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "alone" / "masks").iterdir()}
    for workers, kills in ((1, 0), (2, 2)):
        out = tmp_path / f"out-{workers}"
        stop = threading.Event()
        killer = threading.Thread(target=kill_workers, args=(out, kills, stop))
        killer.start()
        report = predict_files(model, folder, out, runner=OnRay(model, workers=workers))
        stop.set()
        killer.join()
        assert [failure.source.name for failure in report.failures] == ["broken.png"]
        assert {path.name: path.read_bytes() for path in (out / "masks").iterdir()} == expected
        rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
        assert len(rows) == 121


def kill_workers(out: Path, kills: int, stop: threading.Event) -> None:
    """Kill workers in the middle: after every twentieth mask one."""
    for number in range(1, kills + 1):
        while not stop.is_set() and len(list((out / "masks").glob("[0-9]*.png"))) < 20 * number:
            time.sleep(0.02)
        victims = find_workers()
        if victims:
            os.kill(victims[0], signal.SIGKILL)


def find_workers() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if name.startswith("ray::") and ("Worker" in name or "MapWorker" in name):
            found.append(int(path.parent.name))
    return found
