"""`import_checkpoint`: read, sort, infer, compare, and only then write a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinoseg.backbones.catalog import BACKBONES, BackboneSpec, find_spec
from dinoseg.config import BackboneSettings, DecoderSettings, Settings, override
from dinoseg.errors import ConfigError, OutputError, RunError, UsageError
from dinoseg.methods import METHODS, Card, find_method
from dinoseg.methods.assembly import create_decoder
from dinoseg.methods.decoder import Decoder
from dinoseg.methods.shapes import Found, Sizes
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from dinoseg.outputs import claim, refuse_taken
from dinoseg.progress import Progress, Silent
from dinoseg.releases.backbone import OWN, describe_backbone, place_backbone
from dinoseg.releases.checkpoints import State, read_checkpoint
from dinoseg.releases.misfits import find_misfits
from dinoseg.releases.names import Parts, guess_method, sort_tensors

DECODER = "model.decoder."
FILES = (  # that an imported run may have
    *(f"model/{name}" for name in ("config.json", "decoder.safetensors", "README.md")),
    *(
        f"backbone/{name}"
        for name in ("config.json", "model.safetensors", "preprocessor_config.json", "README.md")
    ),
)


class _Changed(Settings):
    """Gives the settings the names that they have in a run."""

    model: ModelSettings


def import_checkpoint(
    checkpoint: Path | str,
    *,
    method: str | Card,
    backbone: Path | str,
    out: Path | str,
    classes: Mapping[int, str] | None = None,
    size: int | None = None,
    changes: Mapping[str, Any] | None = None,
    accept_license: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Segmenter:
    """Turn a released checkpoint into a run folder that predicts the same.

    Two output channels, background and foreground, become one: their difference, whose
    sigmoid is their softmax. Probabilities and masks stay the same.

    Args:
        checkpoint: .pth, .pt or .safetensors file of the released program of `method`.
        method: name or card of a method that has a released program.
        backbone: what it was trained on: catalog name or local folder.
        out: the run folder to write.
        classes: id -> name, 0 background; default: numbered after the logits' channels.
        size: side in pixels that images are resized to; default: the published one.
        changes: settings of the decoder that show in no tensor, such as
            {"model.decoder.heads": 8} of dino-augseg.
        accept_license: accept the licence of the backbone's weights.
        overwrite: replace an older model in `out`.
        progress: told where the backbone came from, and what was assumed.

    Raises:
        RunError: tensors are missing, unexpected or of another shape; the message names them.
        UsageError: the method has no released program, or classes or changes do not fit.
        OutputError: `out` holds a model (without `overwrite`), or a training run.
        WeightsError: the file cannot be read, or the backbone is missing or incomplete.
    """
    out, source, backbone, progress = Path(out), str(checkpoint), str(backbone), progress or Silent()
    _refuse_folder(out, overwrite=overwrite)
    card = find_method(method)
    released = _require_released(card)
    parts = sort_tensors(read_checkpoint(Path(checkpoint)), released, source=source)
    found = _infer(parts, card, released, source)
    spec = describe_backbone(backbone)
    _require_widths(found, spec, backbone, source)
    settings = _settle(card.configure(**found.options), found, spec, classes, source)
    settings = override(settings, {"preprocessing.size": card.size if size is None else size})
    settings = _change(settings, found, changes or {}, progress)
    _refuse_misfits(parts, _expect(settings.decoder, spec.channels, found.outputs), card.name, source)
    decoder = _fill(settings, spec, _fold_pair(parts.decoder, found))
    placed = place_backbone(
        parts.backbone, backbone, spec, out=out, accept_license=accept_license, progress=progress
    )
    settings = override(settings, {"backbone.name": placed.name})
    model = Segmenter(settings, placed.backbone, decoder).eval()
    claim(out, parts=("model", OWN))
    model.save(out / "model", overwrite=True)  # what may be replaced was settled before any work
    model.run = out
    return model


def _refuse_folder(out: Path, *, overwrite: bool) -> None:
    if (out / "config.yaml").exists():  # its splits and logs would be taken for this model's
        raise OutputError(f"{out} holds a training run; choose another --out")
    refuse_taken((out / name for name in FILES), overwrite=overwrite)


def _list_released() -> dict[str, type[Decoder]]:
    decoders = {}
    for name, card in METHODS.items():
        with suppress(ConfigError):  # another package's network that is broken is not what was asked for
            decoders[name] = card.load_decoder()
    return {name: decoder for name, decoder in decoders.items() if decoder.released}


def _require_released(card: Card) -> type[Decoder]:
    decoder = card.load_decoder()
    if not decoder.released:
        known = ", ".join(_list_released())
        raise UsageError(f"method {card.name!r} has no released program; accepted: {known}")
    return decoder


def _infer(parts: Parts, card: Card, released: type[Decoder], source: str) -> Found:
    try:
        return released.infer(Sizes(parts.decoder))
    except KeyError:  # names can be compared without knowing the widths
        channels = find_spec(card.backbone).channels
        _refuse_misfits(
            parts, _expect(card.configure(), channels, outputs=1), card.name, source, names_only=True
        )
        raise RunError(f"{source} does not fit {card.name}; {_advise(parts, card.name)}") from None


def _require_widths(found: Found, spec: BackboneSpec, backbone: str, source: str) -> None:
    if found.channels == spec.channels:
        return
    fitting = [name for name, known in BACKBONES.items() if known.channels == found.channels]
    raise RunError(
        f"{source} was trained on maps of width {_show(found.channels)}, {backbone} has "
        f"{_show(spec.channels)}; accepted as --backbone: {', '.join(fitting) or 'a folder with such widths'}"
    )


def _settle(
    decoder: DecoderSettings,
    found: Found,
    spec: BackboneSpec,
    classes: Mapping[int, str] | None,
    source: str,
) -> ModelSettings:
    settings = ModelSettings(
        backbone=BackboneSettings(name=spec.name, layers=spec.layers),
        decoder=decoder,
        classes=dict(classes) if classes else _name_classes(found.outputs),
    )
    accepted = max(2, found.outputs)
    if len(settings.classes) != accepted:
        raise UsageError(
            f"{source} has {found.outputs} output channels, given {len(settings.classes)} classes; "
            f"accepted: {accepted} (with the background)"
        )
    return settings


def _change(
    settings: ModelSettings, found: Found, changes: Mapping[str, Any], progress: Progress
) -> ModelSettings:
    """The settings with what the caller knows better, which must be about the decoder."""
    for key in changes:
        if not key.startswith(DECODER) or key == f"{DECODER}method":
            raise UsageError(f"setting {key!r} is not for an import; accepted are those of {DECODER}*")
    for option in found.hidden:
        key, value = f"{DECODER}{option}", getattr(settings.decoder, option)
        if key not in changes:
            progress.note(f"{value} {option}, as published: no tensor shows them (--set {key}=N for others)")
    for note in found.notes:
        progress.note(note)
    return override(_Changed(model=settings), changes).model


def _expect(settings: DecoderSettings, channels: Sequence[int], outputs: int) -> Decoder:
    """A decoder without memory for its weights: for names and shapes."""
    with torch.device("meta"):
        return create_decoder(settings, channels, outputs)


def _refuse_misfits(
    parts: Parts, expected: Decoder, method: str, source: str, *, names_only: bool = False
) -> None:
    text = find_misfits(parts, expected, names_only=names_only).describe()
    if text:
        raise RunError(f"{source} does not fit {method}: {text}; {_advise(parts, method)}")


def _advise(parts: Parts, method: str) -> str:
    guess = guess_method(parts.unknown, _list_released())
    if guess is None or guess == method:
        return "fetch it again, or check --method and --backbone"
    return f"the names are those of --method {guess}"


def _fold_pair(state: State, found: Found) -> State:
    """All tensors in float32; classifiers of background and foreground become one of their difference."""
    clean = {name: _to_float32(tensor) for name, tensor in state.items()}
    if found.outputs != 2:
        return clean
    pairs = {name: tensor for name, tensor in clean.items() if name.startswith(found.classifiers)}
    return clean | {name: tensor[1:] - tensor[:1] for name, tensor in pairs.items()}


def _fill(settings: ModelSettings, spec: BackboneSpec, state: State) -> Decoder:
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced, all of them
        decoder = create_decoder(settings.decoder, spec.channels, settings.outputs)
    decoder.load_state_dict(state)
    return decoder


def _to_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor


def _name_classes(outputs: int) -> dict[int, str]:
    if outputs <= 2:
        return {0: "background", 1: "foreground"}
    return {0: "background", **{index: f"class_{index}" for index in range(1, outputs)}}


def _show(widths: Sequence[int]) -> str:
    return "-".join(str(width) for width in widths)
