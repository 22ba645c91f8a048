"""Files in an object store: fetched, segmented, sent, and known again."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from dinoseg.cohorts import remote
from dinoseg.cohorts.places import is_remote
from dinoseg.cohorts.remote import predict_remote
from dinoseg.config import Inference
from dinoseg.errors import LayoutError, OutputError, UsageError
from dinoseg.inference import predict_files
from dinoseg.inference.files.shard import Shard
from dinoseg.model.segmenter import Segmenter
from tests.cli.conftest import run as run
from tests.inference.conftest import glass as glass

HOW = Inference()


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    found = fsspec.filesystem("memory")
    found.store.clear()
    found.pseudo_dirs[:] = [""]
    yield found
    found.store.clear()


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (9 + seed, 12, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def scans(store: fsspec.AbstractFileSystem) -> str:
    for number in range(5):
        store.pipe_file(f"/scans/{'sub/' if number % 2 else ''}{number}.png", picture(number))
    store.pipe_file("/scans/readme.txt", b"not an image")
    store.pipe_file("/scans/broken.png", b"no image")
    return "memory://scans"


def test_what_is_a_store() -> None:
    assert is_remote("s3://bucket/a")
    assert is_remote(Path("s3://bucket/a"))  # a path folds two slashes
    for place in ("runs/a", "/x/y", "hf://a/b", "file:///x", "C:\\x", "./s3"):
        assert not is_remote(place)


def test_masks_are_those_of_a_folder(
    glass: Segmenter, store: fsspec.AbstractFileSystem, scans: str, tmp_path: Path
) -> None:
    report = predict_remote(glass, [scans], "memory://out", how=HOW)
    assert (report.done, report.skipped, report.exit_code) == (5, 0, 3)
    assert list(report.failures) == ["memory:///scans/broken.png"]
    store.get("/scans", str(tmp_path / "in"), recursive=True)
    predict_files(glass, tmp_path / "in", tmp_path / "out")
    for path in (tmp_path / "out" / "masks").rglob("*.png"):
        name = path.relative_to(tmp_path / "out").as_posix()
        assert store.cat_file(f"/out/{name}") == path.read_bytes()
    rows = [json.loads(line) for line in store.cat_file("/out/predictions.jsonl").splitlines()]
    assert len(rows) == 6
    assert {"source", "sha256", "version", "mask", "made_with"} <= set(rows[0])


def test_it_goes_on_and_a_changed_file_is_done_again(
    glass: Segmenter, store: fsspec.AbstractFileSystem, scans: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "AT_ONCE", 2)
    predict_remote(glass, [scans], "memory://out", how=HOW)
    with pytest.raises(OutputError, match="add --resume to go on, or --overwrite"):
        predict_remote(glass, [scans], "memory://out", how=HOW)
    store.pipe_file("/scans/0.png", picture(7))
    report = predict_remote(glass, [scans], "memory://out", how=HOW, resume=True)
    assert (report.done, report.skipped) == (1, 4)  # and the broken one is tried again
    report = predict_remote(glass, [scans], "memory://out", how=Inference(flips=True), resume=True)
    assert report.done == 5


def test_what_is_not_ours_stays(glass: Segmenter, store: fsspec.AbstractFileSystem, scans: str) -> None:
    store.pipe_file("/out/masks/0.png", b"drawn by hand")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(OutputError, match=r"masks/0.png was not written by dinoseg"):
            predict_remote(glass, [scans], "memory://out", how=HOW, **options)
    assert store.cat_file("/out/masks/0.png") == b"drawn by hand"


def test_shares(glass: Segmenter, store: fsspec.AbstractFileSystem, scans: str) -> None:
    reports = [
        predict_remote(glass, [scans], "memory://out", how=HOW, shard=Shard(index, 2), resume=index > 1)
        for index in (1, 2)
    ]
    assert sum(report.done for report in reports) == 5
    assert len(store.find("/out/masks")) == 5


def test_from_a_store_into_a_folder(glass: Segmenter, scans: str, tmp_path: Path) -> None:
    report = predict_remote(glass, [scans], tmp_path / "out", how=HOW)
    assert report.done == 5
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 5
    assert not list((tmp_path / "out").rglob("*.part"))


def test_bad_places_are_one_line(glass: Segmenter, store: fsspec.AbstractFileSystem) -> None:
    with pytest.raises(UsageError, match="is no place that fsspec knows"):
        predict_remote(glass, ["nowhere://x"], "memory://out", how=HOW)
    store.pipe_file("/empty/readme.txt", b"x")
    with pytest.raises(LayoutError, match="no image and no volume"):
        predict_remote(glass, ["memory://empty"], "memory://out", how=HOW)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server on this machine."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install s3fs 'moto[server]'")
    pytest.importorskip("moto", reason="needs moto: pip install s3fs 'moto[server]'")
    names = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    port = 5000 + os.getpid() % 1000
    for name, value in {**names, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)
    words = [sys.executable, "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield "s3://scans"
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_s3(glass: Segmenter, bucket: str) -> None:
    store = fsspec.filesystem("s3")
    store.mkdir("scans")
    for number in range(3):
        store.pipe_file(f"scans/in/{number}.png", picture(number))
    report = predict_remote(glass, ["s3://scans/in"], "s3://scans/out", how=HOW)
    assert (report.done, report.exit_code) == (3, 0)
    report = predict_remote(glass, ["s3://scans/in"], "s3://scans/out", how=HOW, resume=True)
    assert (report.done, report.skipped) == (0, 3)
    assert len(store.find("scans/out/masks")) == 3
