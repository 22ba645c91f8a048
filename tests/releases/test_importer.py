"""Released checkpoints become run folders that predict exactly what the released program predicted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import dinoseg
from dinoseg.backbones import create_backbone
from dinoseg.errors import ConfigError, DinosegError, OutputError, RunError, UsageError, WeightsError
from dinoseg.methods import METHODS
from dinoseg.releases import import_checkpoint
from tests.backbones.tiny import Notes
from tests.releases.files import METHOD_OF, Release, as_ours, open_release, write
from tests.releases.test_checkpoints import as_nnunet_saves_it

TOLERANCE = 1e-4
SIZES = {"dino-unet": 512, "dino-augseg": 768}  # px, as published; the others 256
ONE_EACH = ("segdino_v1_c1", "segdino_v2_c4_bn", "dino_unet_c3", "dino_augseg_c4")


def bring_in(folder: Path, release: Release, content: Any = None, **options: Any) -> dinoseg.Segmenter:
    """Import `content`, else the release itself, into folder/run; the backbone named has other weights."""
    path = folder / "release.pth"
    if not path.exists():
        write(path, release.state if content is None else content)
    if not (folder / "other").exists():
        release.save_other_backbone(folder / "other")
    given: dict[str, Any] = {
        "method": release.method,
        "backbone": str(folder / "other"),
        "out": folder / "run",
    } | options
    return import_checkpoint(path, **given)


@torch.inference_mode()
def difference(release: Release, run: Path) -> float:
    logits = dinoseg.load(run)(release.pixels)
    expected = as_ours(release.logits)
    assert logits.shape == expected.shape
    assert expected.std() > 100 * TOLERANCE
    return float((logits - expected).abs().max())


@pytest.mark.parametrize("name", METHOD_OF)
def test_an_imported_run_predicts_what_the_release_did(tmp_path: Path, name: str) -> None:
    release = open_release(name)
    model = bring_in(tmp_path, release)
    assert difference(release, tmp_path / "run") <= TOLERANCE
    assert len(model.classes) == max(2, release.logits.shape[1])
    assert model.run == tmp_path / "run"
    assert model.size == (SIZES.get(release.method, 256),) * 2
    saved = load_file(tmp_path / "run" / "model" / "decoder.safetensors")
    loaded = dinoseg.load(tmp_path / "run").decoder.state_dict()
    assert saved.keys() == loaded.keys() == model.decoder.state_dict().keys()
    assert all(torch.equal(loaded[key], value) for key, value in model.decoder.state_dict().items())


def test_the_checkpoint_of_nnunets_trainer(tmp_path: Path) -> None:
    release = open_release("dino_unet_c3")
    bring_in(tmp_path, release, {**as_nnunet_saves_it(), "network_weights": release.state})
    assert difference(release, tmp_path / "run") <= TOLERANCE


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    release = open_release("dino_augseg_c4")
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in release.state.items()
    }
    model = bring_in(tmp_path, release, half)
    assert {weight.dtype for weight in model.decoder.parameters()} == {torch.float32}
    assert 1e-6 < difference(release, tmp_path / "run") < 1e-2


def test_settings_are_read_from_the_shapes(tmp_path: Path) -> None:
    for name, expected in {
        "dino_unet_c2_ds": {
            "features_per_stage": (4, 8, 12, 16),
            "fapm_rank": 16,
            "spm_width": 8,
            "heads": 4,
            "deep_supervision": True,
        },
        "dino_augseg_c4": {"final_width": 8, "heads": 4},
        "segdino_v1_c4": {"features": 8, "widths": (4, 6, 8, 10), "upsample": True},
        "segdino_v2_c4_bn": {"norm": "batch"},
    }.items():
        (tmp_path / name).mkdir()
        settings = bring_in(tmp_path / name, open_release(name)).settings.decoder.model_dump()
        assert {key: settings[key] for key in expected} == expected


def test_a_network_without_coarser_classifiers(tmp_path: Path) -> None:
    release = open_release("dino_unet_c3")
    state = {
        name: tensor
        for name, tensor in release.state.items()
        if not name.startswith(("decoder.seg_layers.0", "decoder.seg_layers.1"))
    }
    model = bring_in(tmp_path, release, state)
    assert not model.settings.decoder.model_dump()["deep_supervision"]
    assert difference(release, tmp_path / "run") <= TOLERANCE


def test_two_channels_become_one_with_the_same_probabilities(tmp_path: Path) -> None:
    release = open_release("dino_unet_c2_ds")
    model = bring_in(tmp_path, release)
    with torch.inference_mode():
        logits = model(release.pixels)
        probabilities = model.probabilities(logits, (40, 50))
        resized = torch.nn.functional.interpolate(release.logits, size=(40, 50), mode="bilinear")
        torch.testing.assert_close(probabilities, resized.softmax(dim=1), rtol=0, atol=1e-5)
        assert torch.equal(model.mask(logits, (64, 96)).long(), release.logits.argmax(dim=1))
        coarser = model.decoder.decode_all(model.backbone(release.pixels), release.pixels)
    assert [each.shape[1] for each in coarser] == [1, 1, 1]


def second_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What Dino U-Net's program saves a second time, because its decoder holds the encoder."""
    return {f"decoder.{name}": tensor for name, tensor in state.items() if name.startswith("encoder.")}


def test_tensors_that_are_saved_under_two_names(tmp_path: Path) -> None:
    release = open_release("dino_unet_c3")
    twins = second_names(release.state)
    only_second = {
        name: tensor
        for name, tensor in release.state.items()
        if not name.startswith("encoder.") and ".conv." not in name and ".norm." not in name
    }
    for index, state in enumerate([release.state | twins, only_second | twins]):
        folder = tmp_path / str(index)
        folder.mkdir()
        bring_in(folder, release, state)
        assert difference(release, folder / "run") <= TOLERANCE
    name = "decoder.encoder.fapm.shared_basis.bias"
    with pytest.raises(RunError, match=rf"{name} differs from encoder.fapm.shared_basis.bias"):
        bring_in(tmp_path, release, release.state | {name: twins[name] + 1})


def test_the_run_folder_may_move(tmp_path: Path) -> None:
    release = open_release("segdino_v1_c1")
    bring_in(tmp_path, release)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert difference(release, tmp_path / "moved") <= TOLERANCE


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_checkpoint_without_backbone_uses_the_published_one(tmp_path: Path, name: str) -> None:
    release = open_release(name)
    model = bring_in(tmp_path, release, release.decoder)
    assert model.backbone.digest == create_backbone(str(tmp_path / "other")).digest
    assert not (tmp_path / "run" / "backbone").exists()
    loaded = dinoseg.load(tmp_path / "run")
    assert torch.equal(loaded(release.pixels), model(release.pixels))


@pytest.mark.parametrize("name", ["dino_unet_c3", "dino_augseg_c4"])
def test_a_backbone_that_was_not_changed_is_not_copied(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, notes = open_release(name), Notes()
    release.save_same_backbone(tmp_path / "same")
    monkeypatch.chdir(tmp_path)
    bring_in(tmp_path, release, backbone="same", progress=notes)
    monkeypatch.chdir("/")  # the run knows the folder from the root
    assert not (tmp_path / "run" / "backbone").exists()
    assert any("same unchanged, and not copied" in note for note in notes.notes)
    assert difference(release, tmp_path / "run") <= TOLERANCE


def test_a_backbone_that_cannot_be_compared_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The named one is not on this machine, and nothing is fetched to find out."""
    release, notes = open_release("dino_unet_c3"), Notes()
    monkeypatch.setattr("dinoseg.releases.importer.describe_backbone", lambda name: release.spec)
    bring_in(tmp_path, release, backbone="tiny-vit", progress=notes)
    assert any("tiny-vit is not on this machine" in note for note in notes.notes)
    assert difference(release, tmp_path / "run") <= TOLERANCE


def test_heads_that_no_tensor_shows(tmp_path: Path) -> None:
    release, notes = open_release("dino_augseg_c4"), Notes()
    bring_in(tmp_path, release, progress=notes)
    assert any("4 heads, as published" in note for note in notes.notes)
    notes.notes.clear()
    model = bring_in(
        tmp_path, release, changes={"model.decoder.heads": 2}, out=tmp_path / "two", progress=notes
    )
    assert model.settings.decoder.model_dump()["heads"] == 2
    assert not any("as published" in note for note in notes.notes)
    assert difference(release, tmp_path / "run") < TOLERANCE < difference(release, tmp_path / "two")


def test_the_papers_own_head(tmp_path: Path) -> None:
    """SegDINO's has no enlargement, its program's has one: a file without it is read as the paper's."""
    release, notes = open_release("segdino_v1_c1"), Notes()
    model = bring_in(tmp_path, release, drop(release.state, "head.proj.weight"), progress=notes)
    assert not model.settings.decoder.model_dump()["upsample"]
    assert any("the paper's own head" in note for note in notes.notes)
    assert difference(release, tmp_path / "run") > 100 * TOLERANCE


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model.decoder.final_width": 16}, RunError, "have another shape .*decoder.conv1.0.net"),
        ({"model.decoder.head": 2}, ConfigError, "did you mean 'model.decoder.heads'"),
        ({"model.backbone.name": "x"}, UsageError, "'model.backbone.name' is not for an import"),
        ({"model.decoder.method": "linear"}, UsageError, "not for an import"),
    ],
)
def test_settings_that_cannot_be_changed(
    tmp_path: Path, changes: dict[str, Any], error: type[DinosegError], message: str
) -> None:
    with pytest.raises(error, match=message):
        bring_in(tmp_path, open_release("dino_augseg_c4"), changes=changes)
    assert not (tmp_path / "run").exists()


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    release = open_release("dino_unet_c3")
    before = torch.random.get_rng_state()
    bring_in(tmp_path, release)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ONE_EACH)
def test_every_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    """Whichever is missing: those that settings are read from, those that are shared, those at the end."""
    release = open_release(name)
    decoder = METHODS[release.method].load_decoder()
    # the last is an option of ours: without it the file is one of the paper's own head
    others = "|".join([*decoder.released_unused, *decoder.released_twins, r"head\.proj\.weight"])
    names = [name for name in release.decoder if not re.fullmatch(others, name)]
    for dropped in names[:: max(1, len(names) // 12)]:
        second = dropped.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
        state = {key: value for key, value in release.decoder.items() if key not in (dropped, second)}
        (tmp_path / "release.pth").unlink(missing_ok=True)
        with pytest.raises(RunError, match=r"1 of \d+ tensors are missing \(" + dropped) as caught:
            bring_in(tmp_path, release, state)
        assert "unexpected" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def drop(state: dict[str, Tensor], *parts: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not any(part in key for part in parts)}


def bad_states() -> dict[str, tuple[str, dict[str, Tensor], type[DinosegError], str]]:
    """What is wrong -> case, its state, the error and what it says."""
    v1, unet, augseg = (
        open_release(name).state for name in ("segdino_v1_c1", "dino_unet_c3", "dino_augseg_c4")
    )
    basis, key = "encoder.fapm.specific_bases.1.weight", "decoder.att3.k_proj.weight"
    return {
        "several missing": (
            "dino_unet_c3",
            drop(unet, "interactions.2"),
            RunError,
            r"20 of \d+ tensors are missing \(encoder.dinov3_adapter.interactions.2.*, …\)",
        ),
        "missing and unexpected": (
            "dino_augseg_c4",
            drop(augseg, key) | {"decoder.att5.k_proj.weight": augseg[key]},
            RunError,
            rf"1 of \d+ tensors are missing \({key}\); 1 are unexpected \(decoder.att5.k_proj.weight\)",
        ),
        "left over": (
            "segdino_v1_c1",
            v1 | {"extra.weight": torch.zeros(1)},
            RunError,
            "1 are unexpected .extra",
        ),
        "unknown end": (
            "dino_unet_c3",
            unet | {"encoder.fapm.shared_basis.scale": torch.zeros(1)},
            RunError,
            r"1 are unexpected \(encoder.fapm.shared_basis.scale\)",
        ),
        "another wavelet's": (
            "dino_augseg_c4",
            augseg | {"decoder.wavelet_mask.conv.weight": torch.zeros(1)},
            RunError,
            "1 are unexpected .decoder.wavelet_mask.conv.weight",
        ),
        "another shape": (
            "dino_unet_c3",
            unet | {basis: torch.zeros(16, 8, 1, 1)},
            RunError,
            rf"1 have another shape \({basis}: \(16, 8, 1, 1\), needed \(16, 32, 1, 1\)",
        ),
        "no dimension": (
            "dino_augseg_c4",
            augseg | {"out_conv.weight": torch.tensor(1.0)},
            RunError,
            r"shape \(\)",
        ),
        "not finite": (
            "dino_augseg_c4",
            augseg | {key: augseg[key] * float("nan")},
            RunError,
            rf"1 hold numbers that are not finite \({key}\)",
        ),
        "missing in backbone": (
            "dino_augseg_c4",
            drop(augseg, "encoder.stages.2.1"),
            WeightsError,
            "missing",
        ),
        "unexpected in backbone": (
            "dino_unet_c3",
            unet | {"encoder.dinov3_adapter.backbone.extra": torch.zeros(1)},
            WeightsError,
            "1 unexpected tensors .extra",
        ),
        "no decoder": ("segdino_v1_c1", drop(v1, "head."), RunError, "15 of 15 tensors are missing"),
    }


@pytest.mark.parametrize("name", bad_states())
def test_nothing_is_loaded_by_half(tmp_path: Path, name: str) -> None:
    case, state, error, message = bad_states()[name]
    with pytest.raises(error, match=message) as caught:
        bring_in(tmp_path, open_release(case), state)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ONE_EACH)
def test_the_wrong_method_is_told_the_right_one(tmp_path: Path, name: str) -> None:
    release = open_release(name)
    for method in [name for name, card in METHODS.items() if card.load_decoder().released]:
        if method != release.method:
            with pytest.raises(RunError, match=f"unexpected.*names are those of --method {release.method}$"):
                bring_in(tmp_path, release, method=method)
    with pytest.raises(UsageError, match=r"no released program; accepted: segdino-v1.*dino-augseg"):
        bring_in(tmp_path, release, method="linear")


def test_the_wrong_backbone_is_told_the_right_ones(tmp_path: Path) -> None:
    release = open_release("dino_unet_c3")
    with pytest.raises(RunError, match=r"width 32-32-32-32, dinov3_vits16 has 384-384-384-384; .*a folder"):
        bring_in(tmp_path, release, backbone="dinov3_vits16")
    name = "encoder.dinov3_adapter.level_embed"
    with pytest.raises(
        RunError, match=r"width 384-384-384-384, .*other has 32-.*dinov3_vits16, dinov3_vits16plus"
    ):
        import_checkpoint(
            write(tmp_path / "wide.pth", release.state | {name: torch.zeros(3, 384)}),
            method="dino-unet",
            backbone=release.save_other_backbone(tmp_path / "other"),
            out=tmp_path / "run",
        )
    with pytest.raises(UsageError, match="unknown backbone 'nowhere'"):
        bring_in(tmp_path, release, backbone="nowhere")


def test_classes_that_do_not_fit(tmp_path: Path) -> None:
    for name, accepted in (("dino_augseg_c4", 4), ("dino_unet_c2_ds", 2)):
        (tmp_path / name).mkdir()
        with pytest.raises(UsageError, match=rf"output channels, given 3 classes; accepted: {accepted} "):
            bring_in(tmp_path / name, open_release(name), classes={0: "background", 1: "a", 2: "b"})


def test_existing_output(tmp_path: Path) -> None:
    release = open_release("segdino_v1_c1")
    bring_in(tmp_path, release)
    with pytest.raises(OutputError, match="--overwrite"):
        bring_in(tmp_path, release)
    bring_in(tmp_path, release, overwrite=True)
    (tmp_path / "run" / "config.yaml").write_text("of a training run")
    with pytest.raises(OutputError, match="holds a training run; choose another --out"):
        bring_in(tmp_path, release, overwrite=True)


def test_safetensors(tmp_path: Path) -> None:
    release = open_release("dino_augseg_c4")
    save_file(release.state, tmp_path / "release.safetensors")
    import_checkpoint(
        tmp_path / "release.safetensors",
        method="dino-augseg",
        backbone=release.save_other_backbone(tmp_path / "other"),
        out=tmp_path / "run",
    )
    assert difference(release, tmp_path / "run") <= TOLERANCE
