"""Every method on every kind of backbone, exported here and run where there is no torch."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.data.images import write_image
from dinoseg.data.phantoms.phantoms import draw_phantom
from dinoseg.export import export
from dinoseg.inference import predict_files
from dinoseg.methods import METHODS
from tests.export.environment import ABSENT, list_modules, make_environment
from tests.export.runs import BINARY, FOUR, make_run

pytestmark = pytest.mark.slow

KINDS = ("dinov3_vit", "dinov3_convnext", "dinov2")
SCALES = {"guided": (1.0, 0.5)}
CASES = [*itertools.product(METHODS.ours, KINDS, (BINARY, FOUR))]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory.mktemp("fresh") / "venv", "runtime")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number, kind in enumerate(("endoscopy", "ultrasound", "dermoscopy")):
        write_image(folder / f"case{number}.png", draw_phantom(kind, size=(60, 80), seed=number).image)
    return folder


def test_there_is_no_torch(python: Path) -> None:
    assert list_modules(python, ABSENT) == set()
    assert list_modules(python, ("onnxruntime", "dinoseg")) == {"onnxruntime", "dinoseg"}


def _read(folder: Path) -> Iterator[np.ndarray]:
    for path in sorted((folder / "masks").glob("*.png")):
        yield np.asarray(PillowImage.open(path))


@pytest.mark.parametrize(
    ("method", "kind", "classes"),
    CASES,
    ids=[f"{method}-{kind}-{len(classes) - 1}" for method, kind, classes in CASES],
)
def test_a_bundle_runs_where_there_is_no_torch(
    python: Path, images: Path, tmp_path: Path, method: str, kind: str, classes: dict[int, str]
) -> None:
    """K = 1 and 4, and what it predicts there is what torch predicts here."""
    run = make_run(
        tmp_path / "run", method, family=kind, classes=classes, size=48, scales=SCALES.get(method, (1.0,))
    )
    found = export(run, tmp_path / "bundle", examples=[images])
    assert found.comparison.logits <= 1e-3
    assert found.comparison.dice >= 0.999
    words = ["predict", str(tmp_path / "bundle"), str(images), "--out", str(tmp_path / "there")]
    ended = subprocess.run(
        [str(python), "-m", "dinoseg", *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    predict_files(run, images, tmp_path / "here")
    pairs = list(zip(_read(tmp_path / "here"), _read(tmp_path / "there"), strict=True))
    assert len(pairs) == 3
    assert all(np.mean(here == there) > 0.999 for here, there in pairs)


def test_the_verbs_of_the_core_need_no_extra(tmp_path: Path) -> None:
    """Data, splits, scores and info go with the bare package, and the others say what they lack."""
    python = make_environment(tmp_path / "venv")
    assert list_modules(python, (*ABSENT, "onnxruntime")) == set()

    def call(*words: str) -> subprocess.CompletedProcess:
        command = [str(python), "-m", "dinoseg", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    draw = "from dinoseg.data.phantoms.phantoms import *; write_phantoms('data', kind='ultrasound', count=8)"
    subprocess.run([str(python), "-c", draw], check=True, cwd=tmp_path)
    for words in (
        ("data", "check", "data"),
        ("data", "split", "data", "--out", "new.json"),
        ("score", "data/masks", "data"),
        ("info", "methods"),
        ("info", "settings"),
        ("doctor",),
    ):
        assert call(*words).returncode == 0, (words, call(*words).stderr)
    for words, extra in (
        (("train", "data", "--out", "run"), "train"),
        (("predict", "data", "data", "--out", "out"), "train"),
        (("export", "run", "--out", "bundle"), "export"),
        (("demo", "--out", "demo"), "train"),
    ):
        ended = call(*words)
        assert ended.returncode == 1
        last = ended.stderr.strip().splitlines()[-1]
        assert last.startswith("error: ")
        assert last.endswith(f"run pip install 'dinoseg[{extra}]'")
