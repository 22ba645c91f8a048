"""HDF5 says nothing of the order of its axes: it can be declared, and is asked for where it is doubtful."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from dinoseg.data import open_dataset
from dinoseg.data.cases.volumes import read_volume_case
from dinoseg.data.labels.declarations import read_declaration
from dinoseg.data.volumes import read_label, read_volume, read_volume_info
from dinoseg.errors import FileFormatError, LabelError
from tests.data.volumes.samples import counting, save_h5

TURNS = {"zyx": (0, 1, 2), "xyz": (2, 1, 0), "yxz": (1, 2, 0), "xzy": (2, 0, 1)}
LABEL = counting(dtype=np.uint8) % 3


@pytest.mark.parametrize("order", TURNS)
@pytest.mark.parametrize("where", ["file", "dataset", "yaml beside", "yaml above"])
def test_declared_axes_are_turned_into_slices_rows_columns(tmp_path: Path, order: str, where: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    turn = TURNS[order]
    path = save_h5(
        folder / "a.h5",
        attributes={"axes": order} if where == "file" else {},
        image=counting().transpose(turn),
        label=LABEL.transpose(turn),
    )
    with h5py.File(path, "a") as file:
        file.attrs["spacing"] = np.array([3.0, 2.0, 1.0])[list(turn)]  # in the order of the stored axes
        if where == "dataset":
            file["image"].attrs["axes"] = file["label"].attrs["axes"] = order
    if where.startswith("yaml"):
        (folder if where.endswith("beside") else tmp_path).joinpath("dataset.yaml").write_text(
            f"axes: {order}"
        )
    np.testing.assert_array_equal(read_volume(path).array[0], counting())
    np.testing.assert_array_equal(read_label(path).array, LABEL)
    assert read_volume(path).spacing == (3.0, 2.0, 1.0)
    assert read_volume_info(path).geometry.shape == counting().shape


def test_channels_may_be_last(tmp_path: Path) -> None:
    array = np.stack([counting(), counting() + 500])
    path = save_h5(tmp_path / "a.h5", attributes={"axes": "xyzc"}, image=array.transpose(3, 2, 1, 0))
    np.testing.assert_array_equal(read_volume(path, channel=(0, 1)).array, array)


def test_the_whole_data_set_follows_its_declaration(tmp_path: Path) -> None:
    label = np.zeros((4, 40, 40), np.uint8)
    label[1:3, 5:20, 10:30] = 1
    image = counting((4, 40, 40))
    for name in ("a", "b"):
        save_h5(tmp_path / f"{name}.h5", image=image.T, label=label.T)
    with pytest.raises(FileFormatError, match=r"40×40×4, as if its last axis counted the slices"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.yaml").write_text("axes: xyz")
    dataset = open_dataset(tmp_path)
    case = read_volume_case(dataset.cases[0], dataset.labels)
    np.testing.assert_array_equal(case.image.array[0], image)
    assert case.label is not None
    np.testing.assert_array_equal(case.label.array, label)


@pytest.mark.parametrize(
    ("shape", "asked"),
    [
        ((5, 60, 60), ""),
        ((150, 60, 60), ""),  # more slices than rows, but the first axis is the odd one
        ((60, 60, 60), ""),
        ((60, 58, 50), ""),  # isotropic MR: nothing suggests an order
        ((60, 60, 50), "xyz"),
        ((60, 52, 12), "xyz"),
        ((60, 5, 60), "yzx"),
    ],
)
def test_doubtful_shapes_are_asked_about(tmp_path: Path, shape: tuple[int, ...], asked: str) -> None:
    path = save_h5(tmp_path / "a.h5", image=np.zeros(shape, np.uint8))
    if not asked:
        assert read_volume(path).array.shape[1:] == shape
        return
    with pytest.raises(FileFormatError, match=f"`axes: {asked}`") as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)
    (tmp_path / "dataset.yaml").write_text("axes: zyx")  # it is right as it is
    assert read_volume(path).array.shape[1:] == shape


@pytest.mark.parametrize("order", ["xyy", "abc", "xy", "zyxw", ""])
def test_wrong_axes_are_refused(tmp_path: Path, order: str) -> None:
    path = save_h5(tmp_path / "a.h5", attributes={"axes": order}, image=counting())
    with pytest.raises(FileFormatError, match="accepted are x, y and z once each"):
        read_volume(path)
    (tmp_path / "dataset.yaml").write_text(f"axes: {order or 7}")
    with pytest.raises(LabelError, match="x, y and z once each"):
        read_declaration(tmp_path)
