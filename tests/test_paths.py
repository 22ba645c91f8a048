"""Wherever the public functions take a path, a string will do."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinoseg.data.volumes import LabelVolume, read_label, read_volume, read_volume_info, write_label
from dinoseg.errors import LayoutError
from dinoseg.inference import predict, predict_files
from tests.inference.models import BINARY, make_glass

PACKAGES = (
    "dinoseg",
    "dinoseg.backbones",
    "dinoseg.config",
    "dinoseg.data",
    "dinoseg.data.checks.dataset",
    "dinoseg.data.dicom",
    "dinoseg.data.phantoms.phantoms",
    "dinoseg.data.splits.splits",
    "dinoseg.data.volumes",
    "dinoseg.evaluation",
    "dinoseg.inference",
    "dinoseg.methods",
    "dinoseg.model.opening",
    "dinoseg.releases",
    "dinoseg.training",
)
ALIASES = {"Source", "Model"}  # which hold str


def list_public() -> Iterator[tuple[str, Any]]:
    for package in PACKAGES:
        module = importlib.import_module(package)
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == package]
        for name in getattr(module, "__all__", [name for name in own if not name.startswith("_")]):
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield f"{package}.{name}", value
            elif inspect.isclass(value):
                methods = [(key, method) for key, method in vars(value).items() if inspect.isfunction(method)]
                yield from ((f"{package}.{name}.{key}", each) for key, each in methods if key[0] != "_")


def test_a_path_may_be_a_string_everywhere() -> None:
    found = dict(list_public())
    assert len(found) > 60
    narrow = [
        f"{name}({parameter.name}: {parameter.annotation})"
        for name, function in found.items()
        for parameter in inspect.signature(function).parameters.values()
        if "Path" in str(parameter.annotation)
        and "str" not in str(parameter.annotation)
        and str(parameter.annotation) not in ALIASES
    ]
    assert narrow == []


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.fromarray(np.tile(np.arange(0, 240, 6, dtype=np.uint8), (30, 1))).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


@pytest.mark.parametrize("several", [True, False])
def test_predict_files_takes_strings(picture: str, tmp_path: Path, several: bool) -> None:
    report = predict_files(make_glass(BINARY), [picture] if several else picture, str(tmp_path / "out"))
    assert [file.source for file in report.files] == [Path(picture)]
    assert (tmp_path / "out" / "masks" / "a.png").is_file()


def test_no_image_at_all_is_still_an_error(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no image and no folder was given"):
        predict_files(make_glass(BINARY), [], str(tmp_path))


def test_what_predict_gives_is_saved_under_strings(picture: str, tmp_path: Path) -> None:
    found = predict(make_glass(BINARY), picture)
    found.save(str(tmp_path / "mask.png"))  # type: ignore[union-attr]
    found.save_overlay(str(tmp_path / "overlay.jpg"), np.zeros((30, 40), np.uint8))  # type: ignore[union-attr]
    assert (tmp_path / "mask.png").is_file()


def test_volumes_are_read_and_written_by_strings(tmp_path: Path) -> None:
    from tests.data.volume_folders import write_nifti

    path = str(tmp_path / "ct.nii.gz")
    write_nifti(Path(path), np.zeros((3, 4, 5), np.int16))
    volume = read_volume(path)
    assert read_volume_info(path).geometry.shape == volume.geometry.shape
    label = LabelVolume(np.zeros((3, 4, 5), np.uint8), volume.geometry, Path(path), "ct")
    write_label(str(tmp_path / "label.nii.gz"), label)
    assert read_label(str(tmp_path / "label.nii.gz")).array.shape == (3, 4, 5)
