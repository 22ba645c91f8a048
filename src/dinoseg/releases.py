"""Checkpoints of the released programs become run folders of ours.

The released programs never freeze their backbone, so a checkpoint usually carries a
fine-tuned copy of it. That copy is what the decoder was trained with: it is written
beside the decoder and the run points to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinoseg.backbones import create_backbone
from dinoseg.backbones.catalog import BackboneSpec, find_spec
from dinoseg.backbones.extractors import Backbone
from dinoseg.backbones.licenses import require_license
from dinoseg.backbones.modules import load_module
from dinoseg.backbones.tensor_files import read_tensors
from dinoseg.config import BackboneSettings, DecoderSettings, ModelSettings, decoder_settings
from dinoseg.decoders import Decoder
from dinoseg.errors import OutputError, RunError, UsageError
from dinoseg.model import METHODS, Segmenter, create_decoder
from dinoseg.outputs import refuse_existing, write_json, write_text
from dinoseg.progress import Progress, Silent

State = dict[str, Tensor]
BACKBONE = "backbone."
OWN_BACKBONE = "./backbone"  # relative to the run folder
WRAPPERS = ("state_dict", "model_state_dict", "model", "network_weights")


def import_checkpoint(
    checkpoint: Path | str,
    *,
    method: str,
    backbone: str,
    out: Path | str,
    classes: Mapping[int, str] | None = None,
    size: int = 256,
    accept_license: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Segmenter:
    """Turn a released checkpoint into a run folder that predicts the same.

    Args:
        checkpoint: .pth or .safetensors file of the released program of `method`.
        method: one of `dinoseg.METHODS` that has a released program.
        backbone: what it was trained on: catalog name or local folder.
        out: the run folder to write.
        classes: id -> name, 0 background; default: numbered after the logits' channels.
        size: side in pixels that images are resized to (256 in the SegDINO programs).
        accept_license: accept the licence of the backbone's weights.
        overwrite: replace an older model in `out`.
        progress: told where the backbone came from.

    Raises:
        RunError: tensors are missing or left over; the message names them.
        UsageError: the method has no released program.
        OutputError: `out` holds a model (without `overwrite`), or a training run.
        WeightsError: the file cannot be read, or the backbone is missing.
    """
    progress = progress or Silent()
    out = Path(out)
    refuse_existing(out / "model" / "config.json", overwrite=overwrite)
    if (out / "config.yaml").exists():  # its splits and logs would be taken for this model's
        raise OutputError(f"{out} holds a training run; choose another --out")
    state = _read_state(Path(checkpoint))
    decoder_state = _rename(state, _released_names(method), str(checkpoint))
    settings, outputs = _infer_decoder(method, decoder_state)
    own = {name.removeprefix(BACKBONE): value for name, value in state.items() if name.startswith(BACKBONE)}
    restored = _restore_backbone(own, backbone, accept_license, progress)
    model_settings = ModelSettings(
        backbone=BackboneSettings(name=OWN_BACKBONE if own else backbone, layers=restored.spec.layers),
        decoder=settings,
        preprocessing={"size": size},
        classes=dict(classes) if classes else _name_classes(outputs),
    )
    if model_settings.outputs != outputs:
        raise UsageError(
            f"{checkpoint} has {outputs} output channels, given {len(model_settings.classes)} classes; "
            f"accepted: {2 if outputs == 1 else outputs} (with the background)"
        )
    decoder = create_decoder(settings, restored.spec.channels, outputs)
    _load(decoder, decoder_state, str(checkpoint))
    model = Segmenter(model_settings, _place_backbone(restored, out, progress), decoder).eval()
    model.save(out / "model", overwrite=overwrite)
    return model


def _read_state(checkpoint: Path) -> State:
    """The flat table of tensors, without the wrappers that training programs add."""
    state = read_tensors(checkpoint, wrappers=WRAPPERS)
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _released_names(method: str) -> Mapping[str, str]:
    known = [name for name, entry in METHODS.items() if entry.decoder.released]
    if method not in known:
        raise UsageError(f"method {method!r} has no released program; accepted: {', '.join(known)}")
    return METHODS[method].decoder.released


def _rename(state: State, names: Mapping[str, str], source: str) -> State:
    """The decoder's tensors under our names; every tensor outside the backbone must be known."""
    ours = {theirs: mine for mine, theirs in names.items()}
    renamed, left = {}, []
    for name, tensor in state.items():
        if name.startswith(BACKBONE):
            continue
        prefix = next((p for p in ours if name == p or name.startswith(f"{p}.")), None)
        if prefix is None:
            left.append(name)
        else:
            renamed[ours[prefix] + name[len(prefix) :]] = tensor
    if left:
        raise RunError(
            f"{source}: {len(left)} tensors are of no known part ({', '.join(left[:3])}); is --method right?"
        )
    if not renamed:
        raise RunError(f"{source}: no tensor of the decoder is in it; is --method right?")
    return renamed


def _infer_decoder(method: str, state: State) -> tuple[DecoderSettings, int]:
    """Widths and options of the decoder, read from the shapes of its tensors."""
    try:
        outputs = int(state["classify.weight"].shape[0])
        if method == "segdino-v1":
            widths = tuple(int(state[f"project.{i}.weight"].shape[0]) for i in range(4))
            features = int(state["mix.0.weight"].shape[0])
            upsample = "enlarge.weight" in state
            return decoder_settings(method, features=features, widths=widths, upsample=upsample), outputs
        if method == "segdino-v2":
            norm = "batch" if "sad.intra.0.norm.running_mean" in state else "group"
            width = int(state["classify.weight"].shape[1])
            return decoder_settings(method, width=width, norm=norm), outputs
    except KeyError as error:
        raise RunError(f"the checkpoint has no tensor {error} of {method}; is --method right?") from error
    raise UsageError(f"method {method!r} cannot be imported yet; accepted: segdino-v1, segdino-v2")


@dataclass(frozen=True)
class _Restored:
    """The backbone that a checkpoint was trained with: its own module, or the published one."""

    spec: BackboneSpec
    own: Any = None
    published: Backbone | None = None


def _restore_backbone(own: State, backbone: str, accept_license: bool, progress: Progress) -> _Restored:
    if not own:
        published = create_backbone(backbone, accept_license=accept_license, progress=progress)
        return _Restored(published.spec, published=published)
    spec = _describe_backbone(backbone, accept_license, progress)
    require_license(spec, accept=accept_license, progress=progress)
    return _Restored(spec, own=load_module(spec, own, source="the checkpoint's backbone"))


def _place_backbone(restored: _Restored, out: Path, progress: Progress) -> Backbone:
    """The backbone to use; a checkpoint's own is written beside its decoder first."""
    if restored.published is not None:
        return restored.published
    spec, folder = restored.spec, out / OWN_BACKBONE
    _save_backbone(restored.own, spec, folder)
    progress.note(f"the checkpoint carries its own backbone; written to {folder} ({spec.license})")
    return create_backbone(str(folder), layers=spec.layers)


def _save_backbone(module: Any, spec: BackboneSpec, folder: Path) -> None:
    """Write a Hugging Face folder that `create_backbone` reads back, with its licence in the README."""
    module.save_pretrained(folder, safe_serialization=True)
    normalisation = {"do_normalize": True, "image_mean": list(spec.mean), "image_std": list(spec.std)}
    write_json(folder / "preprocessor_config.json", normalisation, overwrite=True)
    card = f"---\nlicense: {spec.license}\n---\n\n{spec.name}, as fine-tuned in the imported checkpoint.\n"
    write_text(folder / "README.md", card, overwrite=True)


def _describe_backbone(backbone: str, accept_license: bool, progress: Progress) -> BackboneSpec:
    if Path(backbone).is_dir():
        return create_backbone(backbone, accept_license=accept_license, progress=progress).spec
    return find_spec(backbone)


def _load(decoder: Decoder, state: State, source: str) -> None:
    expected = decoder.state_dict()
    missing = [name for name in expected if name not in state]
    wrong = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    extra = [name for name in state if name not in expected]
    if missing or wrong or extra:
        problems = {"missing": missing, "of another shape": wrong, "left over": extra}
        text = "; ".join(
            f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in problems.items() if names
        )
        raise RunError(f"{source} does not fit: {text}; check --method and --backbone")
    decoder.load_state_dict({name: _to_float32(tensor) for name, tensor in state.items()})


def _to_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor


def _name_classes(outputs: int) -> dict[int, str]:
    if outputs == 1:
        return {0: "background", 1: "foreground"}
    return {0: "background", **{index: f"class_{index}" for index in range(1, outputs)}}
