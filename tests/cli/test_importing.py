"""A released checkpoint through the command line, and weights from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from safetensors.torch import load_file, save_file

from dinoseg.backbones.architecture import read_settings
from dinoseg.backbones.catalog import find_spec
from dinoseg.backbones.published import list_shapes
from dinoseg.cli.importing import number_classes
from dinoseg.cli.weights import keep
from dinoseg.errors import UsageError
from dinoseg.model.opening import load
from dinoseg.progress import Silent
from tests.backbones.tiny import read_parity, save_folder
from tests.cli.conftest import Run
from tests.releases.files import as_ours, open_release, write

PARITY = Path(__file__).parents[1] / "parity" / "segdino_v1_c4.safetensors"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """`import` of a release with four output channels."""
    tensors = load_file(PARITY)
    state = {key.removeprefix("state."): value for key, value in tensors.items() if key.startswith("state.")}
    torch.save(state, tmp_path / "release.pth")
    folder = save_folder(tmp_path / "vit", read_parity("dinov3_vit_mlp").spec)
    return ["import", str(tmp_path / "release.pth"), "--method", "segdino-v1", "--backbone", str(folder)]


def test_imported_run_predicts(run: Run, words: list[str], tmp_path: Path) -> None:
    ended = run(
        *words, "--out", tmp_path / "run", "--classes", "liver, tumour,vessel", "--size", 48, "--json"
    )
    assert ended.code == 0, ended.err
    names = {"0": "background", "1": "liver", "2": "tumour", "3": "vessel"}
    assert (ended.json["classes"], ended.json["size"]) == (names, 48)
    PillowImage.new("RGB", (31, 20), "brown").save(tmp_path / "a.png")
    assert run("predict", tmp_path / "run", tmp_path / "a.png", "--out", tmp_path / "out").code == 0
    mask = np.asarray(PillowImage.open(tmp_path / "out" / "masks" / "a.png"))
    assert mask.shape == (20, 31)
    assert mask.max() <= 3
    assert "3 vessel" in run("info", tmp_path / "run").out


@pytest.mark.parametrize("name", ["dino_unet_c2_ds", "dino_augseg_c4"])
def test_every_released_program(run: Run, tmp_path: Path, name: str) -> None:
    release = open_release(name)
    file = write(tmp_path / "release.pth", {"network_weights": release.state, "current_epoch": 200})
    words = ["import", file, "--method", release.method, "--out", tmp_path / "run"]
    ended = run(*words, "--backbone", release.save_other_backbone(tmp_path / "other"), "--size", 64, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["trained_parameters"] > 1000
    with torch.inference_mode():
        logits = load(tmp_path / "run")(release.pixels)
    assert (logits - as_ours(release.logits)).abs().max() <= 1e-4

    PillowImage.new("RGB", (31, 20), "brown").save(tmp_path / "a.png")
    assert run("predict", tmp_path / "run", tmp_path / "a.png", "--out", tmp_path / "out").code == 0
    assert np.asarray(PillowImage.open(tmp_path / "out" / "masks" / "a.png")).shape == (20, 31)
    told = run("info", tmp_path / "run")
    assert told.code == 0
    assert f"{release.method} on" in told.out
    facts = run("info", tmp_path / "run", "--json").json
    assert facts["settings"]["backbone"]["name"] == "./backbone"

    again = run(*words, "--backbone", tmp_path / "other")
    assert (again.code, "--overwrite" in again.error) == (1, True)


def test_what_is_wrong_with_a_checkpoint(run: Run, tmp_path: Path) -> None:
    release = open_release("dino_augseg_c4")
    backbone = release.save_other_backbone(tmp_path / "other")
    file = write(tmp_path / "release.pth", release.state)
    options = ["--backbone", backbone, "--out", tmp_path / "run"]
    wrong = run("import", file, "--method", "segdino-v2", *options)
    assert (wrong.code, "--method dino-augseg" in wrong.error) == (1, True)
    unknown = run("import", file, "--method", "dino-augseg", *options, "--set", "model.decoder.head=2")
    assert (unknown.code, "model.decoder.heads" in unknown.error) == (2, True)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    damaged = run("import", file, "--method", "dino-augseg", *options)
    assert (damaged.code, "fetch it again" in damaged.error) == (4, True)
    assert not (tmp_path / "run").exists()


def test_set_reaches_the_decoder(run: Run, tmp_path: Path) -> None:
    release = open_release("dino_augseg_c4")
    file = write(tmp_path / "release.pth", release.state)
    words = ["import", file, "--method", "dino-augseg", "--out", tmp_path / "run"]
    ended = run(
        *words, "--backbone", release.save_other_backbone(tmp_path / "b"), "--set", "model.decoder.heads=2"
    )
    assert ended.code == 0, ended.err
    assert load(tmp_path / "run").settings.decoder.model_dump()["heads"] == 2


def test_wrong_number_of_classes(run: Run, words: list[str], tmp_path: Path) -> None:
    ended = run(*words, "--out", tmp_path / "run", "--classes", "liver")
    assert ended.code == 2
    assert "4 output channels" in ended.error


def test_classes_are_numbered_from_1() -> None:
    assert number_classes("a, b") == {0: "background", 1: "a", 2: "b"}


@pytest.mark.parametrize("names", ["a,,b", "a,a", "background,a", ""])
def test_class_names_that_mean_nothing(names: str) -> None:
    with pytest.raises(UsageError, match="different names with commas"):
        number_classes(names)


def test_weights_from_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    gone = tmp_path / "gone.pth"
    ended = run("weights", "get", "dinov3_vits16", "--accept-license", "--weights", gone)
    assert ended.code == 4
    assert str(gone) in ended.error


def test_weights_from_a_file_are_kept(run: Run, tmp_path: Path, home: Path) -> None:
    file = tmp_path / "small.safetensors"
    _save_random_weights("dinov2_vits14", file)
    ended = run("weights", "get", "dinov2_vits14", "--weights", file, "--json")
    assert ended.code == 0, ended.err
    kept = home / "dinoseg" / "weights" / "dinov2_vits14" / "model.safetensors"
    assert ended.json["path"] == str(kept)
    assert kept.stat().st_size == file.stat().st_size
    assert "is there already" in run("weights", "get", "dinov2_vits14", "--weights", file).error
    listed = {status["name"]: status for status in run("weights", "list", "--json").json["weights"]}
    assert listed["dinov2_vits14"]["present"]
    assert listed["dinov2_vits14"]["sha256"] == ended.json["sha256"]
    assert not listed["dinov3_vits16"]["present"]
    assert run("weights", "check").code == 0
    kept.write_bytes(kept.read_bytes()[:-8] + b"12345678")
    damaged = run("weights", "check", "dinov2_vits14")
    assert damaged.code == 4
    assert "DAMAGED" in damaged.out


def _save_random_weights(name: str, path: Path) -> None:
    shapes = list_shapes(read_settings(find_spec(name)))
    generator = torch.Generator().manual_seed(0)
    tensors = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_renamed_file_of_meta_is_kept_under_its_own_name(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked for, and its digits are checked, by the name that Meta published it with."""
    monkeypatch.setattr("dinoseg.backbones.create_backbone", lambda *names, **options: None)
    prefix = find_spec("dinov3_vits16").meta_prefix
    for name, kept in (("renamed.pth", f"{prefix}.pth"), (f"{prefix}-x.pth", f"{prefix}-x.pth")):
        file = tmp_path / name
        file.write_bytes(b"weights")
        keep(file, "dinov3_vits16", accept_license=True, progress=Silent())
        assert (home / "dinoseg" / "weights" / "dinov3_vits16" / kept).read_bytes() == b"weights"
