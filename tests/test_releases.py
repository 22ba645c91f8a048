"""Released checkpoints become run folders that predict exactly what the released program predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

import dinoseg
from dinoseg.backbones import create_backbone
from dinoseg.errors import DinosegError, OutputError, RunError, UsageError, WeightsError
from dinoseg.releases import import_checkpoint
from tests.backbones.tiny import read_parity, save_folder

PARITY = Path(__file__).parent / "parity"
CASES = {"segdino_v1_c1": "segdino-v1", "segdino_v1_c4": "segdino-v1", "segdino_v2_c1_gn": "segdino-v2",
         "segdino_v2_c4_bn": "segdino-v2"}  # fmt: skip


def read_case(name: str) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """State under the released names, pixels, logits."""
    with safe_open(PARITY / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    state = {key.removeprefix("state."): value for key, value in tensors.items() if key.startswith("state.")}
    return state, tensors["input.pixels"], tensors["output.logits"]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A backbone folder of the architecture of the fixtures, with other weights."""
    return str(save_folder(tmp_path / "vit", read_parity("dinov3_vit_mlp").spec))


def write(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_an_imported_run_predicts_what_the_release_did(
    tmp_path: Path, folder: str, name: str, wrapper: str | None
) -> None:
    state, pixels, logits = read_case(name)
    content = {wrapper: {f"module.{key}": value for key, value in state.items()}} if wrapper else state
    checkpoint = write(tmp_path / "release.pth", content)
    import_checkpoint(checkpoint, method=CASES[name], backbone=folder, out=tmp_path / "run", size=64)
    model = dinoseg.load(tmp_path / "run")
    with torch.inference_mode():
        assert (model(pixels) - logits).abs().max() <= 1e-4
    assert len(model.classes) == (2 if logits.shape[1] == 1 else logits.shape[1])


def test_the_run_folder_may_move(tmp_path: Path, folder: str) -> None:
    state, pixels, logits = read_case("segdino_v1_c1")
    import_checkpoint(
        write(tmp_path / "r.pth", state), method="segdino-v1", backbone=folder, out=tmp_path / "a"
    )
    (tmp_path / "a").rename(tmp_path / "b")
    assert (dinoseg.load(tmp_path / "b")(pixels) - logits).abs().max() <= 1e-4


def test_a_checkpoint_without_backbone_uses_the_published_one(tmp_path: Path, folder: str) -> None:
    state, pixels, _ = read_case("segdino_v1_c1")
    head = {key: value for key, value in state.items() if not key.startswith("backbone.")}
    model = import_checkpoint(
        write(tmp_path / "r.pth", head), method="segdino-v1", backbone=folder, out=tmp_path / "run"
    )
    assert model.backbone.digest == create_backbone(folder).digest
    assert not (tmp_path / "run" / "backbone").exists()
    assert torch.equal(dinoseg.load(tmp_path / "run")(pixels), model(pixels))


def drop(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != name}


def bad_states() -> dict[str, tuple[dict[str, Tensor], type[DinosegError], str]]:
    state, _, _ = read_case("segdino_v1_c1")
    wrong = {**state, "head.scratch.layer2_rn.weight": torch.zeros(3, 3, 3, 3)}
    return {
        "missing in decoder": (
            drop(state, "head.scratch.layer3_rn.weight"),
            RunError,
            "1 missing .*mix.2.weight",
        ),
        "missing in backbone": (drop(state, "backbone.norm.weight"), WeightsError, "norm.weight"),
        "left over": ({**state, "extra.weight": torch.zeros(1)}, RunError, "extra.weight.*--method"),
        "another shape": (wrong, RunError, "of another shape .*mix.1.weight"),
        "no decoder": ({"backbone.cls_token": torch.zeros(1)}, RunError, "no tensor of the decoder"),
    }


@pytest.mark.parametrize("name", bad_states())
def test_nothing_is_loaded_by_half(tmp_path: Path, folder: str, name: str) -> None:
    state, error, message = bad_states()[name]
    checkpoint = write(tmp_path / "r.pth", state)
    with pytest.raises(error, match=message) as caught:
        import_checkpoint(checkpoint, method="segdino-v1", backbone=folder, out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_wrong_method_classes_and_existing_output(tmp_path: Path, folder: str) -> None:
    state, _, _ = read_case("segdino_v1_c4")
    checkpoint = write(tmp_path / "r.pth", state)
    run = tmp_path / "run"
    with pytest.raises(RunError, match="--method"):
        import_checkpoint(checkpoint, method="segdino-v2", backbone=folder, out=run)
    with pytest.raises(UsageError, match=r"no released program.*segdino-v1"):
        import_checkpoint(checkpoint, method="linear", backbone=folder, out=run)
    with pytest.raises(UsageError, match="4 output channels, given 2 classes"):
        import_checkpoint(
            checkpoint, method="segdino-v1", backbone=folder, out=run, classes={0: "background", 1: "a"}
        )
    import_checkpoint(checkpoint, method="segdino-v1", backbone=folder, out=run)
    with pytest.raises(OutputError, match="--overwrite"):
        import_checkpoint(checkpoint, method="segdino-v1", backbone=folder, out=run)
    (run / "config.yaml").write_text("of a training run")
    with pytest.raises(OutputError, match="holds a training run; choose another --out"):
        import_checkpoint(checkpoint, method="segdino-v1", backbone=folder, out=run, overwrite=True)
