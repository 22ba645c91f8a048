"""`load_run`: the model of a run folder, in torch."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dinoseg.backbones import create_backbone
from dinoseg.backbones.engines import computed_by, in_torch
from dinoseg.backbones.extractors import Precision
from dinoseg.config import BackboneEngine, override
from dinoseg.errors import RunError
from dinoseg.methods.decoder import Decoder
from dinoseg.model.folder import (
    find_model_folder,
    find_run_folder,
    locate_backbone,
    read_description,
    read_training_cases,
)
from dinoseg.model.segmenter import Segmenter
from dinoseg.progress import Progress, Silent
from dinoseg.streams import keeping_filters


@keeping_filters()
def load_run(
    run: Path | str,
    *,
    backbone: str | Path | None = None,
    accept_license: bool = False,
    device: str = "cpu",
    precision: Precision | None = None,
    engine: BackboneEngine | None = None,
    progress: Progress | None = None,
) -> Segmenter:
    """Load the model of a run folder (or of a `model/` folder itself), ready to predict.

    Args:
        run: the run folder.
        backbone: another place of the same backbone, where the recorded one is gone.
        accept_license: accept the licence of the backbone's weights if they must be fetched.
        device: a torch device such as "cpu" or "cuda:0".
        precision: what the backbone computes in; what it was trained in if not given. The masks of
            the two hardly differ.
        engine: what computes the backbone; as it was trained if not given.
        progress: told where the weights come from.

    Raises:
        RunError: the folder is no run, is damaged, or its decoder was trained on another backbone.
        WeightsError: the backbone's weights are not there.
    """
    folder = find_model_folder(Path(run))
    described = read_description(folder / "config.json")
    settings = described.settings
    if precision is not None:
        settings = override(settings, {"backbone.precision": precision})
    if engine is not None:
        settings = override(settings, {"backbone.engine": engine})
    made = create_backbone(
        str(backbone) if backbone else locate_backbone(settings.backbone.name, folder.parent),
        layers=settings.backbone.layers,
        accept_license=accept_license,
        precision=in_torch(settings.backbone),
        scales=settings.backbone.scales,
        progress=progress or Silent(),
    )
    frozen = computed_by(settings.backbone, made)
    if frozen.identity != described.identity:
        raise RunError(
            f"{folder} was trained on a {settings.backbone.name} with digest {described.identity[:12]}, "
            f"given one with {frozen.identity[:12]}; name the original weights with --backbone"
        )
    if (list(frozen.mean), list(frozen.std)) != described.normalisation:
        raise RunError(
            f"{folder} was trained with mean and deviation {described.normalisation}, the backbone given has "
            f"{list(frozen.mean)}, {list(frozen.std)}; restore its preprocessor_config.json"
        )
    model = Segmenter(settings, frozen)
    load_decoder(model.decoder, folder / "decoder.safetensors")
    model.postprocessing = described.postprocessing
    model.seen = described.seen
    model.trained_on = read_training_cases(folder)
    model.run = find_run_folder(Path(run))
    return model.to(device).eval()


def load_decoder(decoder: Decoder, path: Path | str) -> None:
    """Load all of a decoder's tensors, or raise `RunError` naming what does not fit."""
    state = read_tensors(Path(path))
    try:
        decoder.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{path} does not fit the decoder of its config.json: {reason}") from error


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a decoder, or `RunError` where they cannot be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {error}; train again or restore the file") from error
