"""Files as people have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dinoseg.errors import DinosegError, RunError, WeightsError
from dinoseg.releases.checkpoints import read_checkpoint, strip_wrappers
from tests.releases.files import write

STATE = {"head.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.tensor([1.0, 2.0])}


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in STATE.items()}


def as_nnunet_saves_it() -> dict[str, Any]:
    """The keys and kinds of values of nnU-Net's trainer."""
    return {
        "network_weights": STATE,
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 1e-3}]},
        "grad_scaler_state": None,
        "logging": {"train_losses": [np.float64(0.5), np.float32(0.25)], "dice": [[np.float64(0.8)]]},
        "_best_ema": np.float64(0.9),
        "current_epoch": 200,
        "init_args": {"plans": {"patch_size": [512, 512]}, "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }


CONTENTS: dict[str, Any] = {
    "bare": STATE,
    "ordered": torch.nn.Linear(3, 2).state_dict() | STATE,
    "state_dict": {"epoch": 3, "state_dict": STATE},
    "model": {"model": prefixed("module."), "optimizer": {"state": {}}},
    "net": {"net": prefixed("_orig_mod."), "best": 0.5},
    "nested": {"model": {"state_dict": prefixed("module._orig_mod.")}},
    "nnunet": as_nnunet_saves_it(),
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("old_format", [False, True])
def test_containers(tmp_path: Path, name: str, old_format: bool) -> None:
    path = tmp_path / "a.pth"
    torch.save(CONTENTS[name], path, _use_new_zipfile_serialization=not old_format)
    state = read_checkpoint(path)
    assert {key: state[key].tolist() for key in STATE} == {
        key: tensor.tolist() for key, tensor in STATE.items()
    }
    assert len(state) == len(STATE) + 2 * (name == "ordered")


def test_safetensors(tmp_path: Path) -> None:
    save_file(prefixed("module."), tmp_path / "a.safetensors")
    assert sorted(read_checkpoint(tmp_path / "a.safetensors")) == sorted(STATE)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("module.a.b", "a.b"),
        ("_orig_mod.module.a", "a"),
        ("encoder._orig_mod.a", "encoder.a"),
        ("encoder.module.a", "encoder.module.a"),
    ],
)
def test_prefixes(name: str, short: str) -> None:
    assert strip_wrappers(name) == short


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code in a file ran",))


def bad_contents() -> dict[str, tuple[Any, type[DinosegError], str]]:
    return {
        "no table": (
            {"epoch": 3, "weights": STATE},
            WeightsError,
            "no table .epoch, weights.*network_weights",
        ),
        "two tables": ({"model": STATE, "net": STATE}, WeightsError, "several tables .model, net"),
        "a list": ([1, 2], WeightsError, "no table"),
        "twice": (STATE | prefixed("module."), RunError, "holds head.weight twice"),
        "code": ({"state_dict": STATE, "x": Evil()}, WeightsError, "refused.*it names print"),
        "objects": ({"x": np.array([Evil()], dtype=object)}, WeightsError, "refused"),
    }


@pytest.mark.parametrize("name", bad_contents())
def test_contents_that_are_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, error, message = bad_contents()[name]
    with pytest.raises(error, match=message) as caught:
        read_checkpoint(write(tmp_path / "a.pth", content))
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        write(path, STATE)
    else:
        save_file(STATE, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match=r"damaged.*fetch it again") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"a.pth does not exist; accepted is a file in .pth"):
        read_checkpoint(tmp_path / "a.pth")
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"ends in '.onnx'; accepted are .pth"):
        read_checkpoint(tmp_path / "a.onnx")
