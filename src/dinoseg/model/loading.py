"""`load_run`: the model of a run folder, in torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dinoseg.backbones import create_backbone
from dinoseg.backbones.engines import computed_by, in_torch
from dinoseg.backbones.extractors import Backbone, Precision
from dinoseg.config import BackboneEngine, BackboneSettings, override
from dinoseg.errors import RunError
from dinoseg.methods.decoder import Decoder
from dinoseg.model.ensemble import Ensemble, digest_file, is_ensemble, read_ensemble
from dinoseg.model.folder import (
    Description,
    find_model_folder,
    find_run_folder,
    locate_backbone,
    read_description,
    read_training_cases,
)
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.shared import SharedBackbone
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
) -> Segmenter | Ensemble:
    """Load the model of a run folder (or of a `model/` folder itself), ready to predict.

    A folder of `train --folds` or `dinoseg ensemble` gives an `Ensemble`, anything else a `Segmenter`.

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
    opened = _Opening(backbone, accept_license, precision, engine, progress or Silent())
    folder = Path(run)
    if is_ensemble(folder):
        return _load_ensemble(folder, opened, device)
    return opened.load(folder).to(device).eval()


@dataclass
class _Opening:
    """How models are loaded; a frozen backbone is made once for all that have the same."""

    backbone: str | Path | None
    accept_license: bool
    precision: Precision | None
    engine: BackboneEngine | None
    progress: Progress
    frozen: dict[str, Backbone] = field(default_factory=dict)

    def load(self, run: Path) -> Segmenter:
        """The model of a run, on the processor."""
        folder = find_model_folder(run)
        described = read_description(folder / "config.json")
        settings = described.settings
        if self.precision is not None:
            settings = override(settings, {"backbone.precision": self.precision})
        if self.engine is not None:
            settings = override(settings, {"backbone.engine": self.engine})
        model = Segmenter(settings, self._freeze(settings.backbone, described, folder))
        load_decoder(model.decoder, folder / "decoder.safetensors")
        model.postprocessing = described.postprocessing
        model.seen = described.seen
        model.calibration = described.calibration
        model.trained_on = read_training_cases(folder)
        model.run = find_run_folder(run)
        return model

    def _freeze(self, wanted: BackboneSettings, described: Description, folder: Path) -> Backbone:
        key = f"{described.identity} {wanted.precision} {wanted.engine}"  # knows layers, sizes
        if key not in self.frozen:
            made = create_backbone(
                str(self.backbone) if self.backbone else locate_backbone(wanted.name, folder.parent),
                layers=wanted.layers,
                accept_license=self.accept_license,
                precision=in_torch(wanted),
                scales=wanted.scales,
                progress=self.progress,
            )
            self.frozen[key] = computed_by(wanted, made)
        _refuse_other_backbone(self.frozen[key], wanted, described, folder)
        return self.frozen[key]


def _refuse_other_backbone(
    frozen: Backbone, wanted: BackboneSettings, described: Description, folder: Path
) -> None:
    if frozen.identity != described.identity:
        raise RunError(
            f"{folder} was trained on a {wanted.name} with digest {described.identity[:12]}, "
            f"given one with {frozen.identity[:12]}; name the original weights with --backbone"
        )
    if (list(frozen.mean), list(frozen.std)) != described.normalisation:
        raise RunError(
            f"{folder} was trained with mean and deviation {described.normalisation}, the backbone given has "
            f"{list(frozen.mean)}, {list(frozen.std)}; restore its preprocessor_config.json"
        )


def _load_ensemble(folder: Path, opened: _Opening, device: str) -> Ensemble:
    described = read_ensemble(folder)
    members = []
    for member in described.members:
        run = folder / member.folder
        if digest_file(find_model_folder(run) / "decoder.safetensors") != member.digest:
            raise RunError(
                f"{run} holds another decoder than when the ensemble was made; restore it, or make the "
                "ensemble again"
            )
        members.append(opened.load(run).to(device).eval())
    ensemble = Ensemble(members, _group(members), kind=described.kind)
    ensemble.run, ensemble.postprocessing = folder, described.postprocessing
    ensemble.calibration = described.calibration
    return ensemble


def _group(members: Sequence[Segmenter]) -> list[Segmenter | SharedBackbone]:
    """Members that see images alike, together."""
    alike: dict[tuple[object, ...], list[Segmenter]] = {}
    for member in members:
        settings = member.settings
        seen = (settings.preprocessing.model_dump_json(), settings.symmetries, settings.decision)
        key = (member.backbone.digest, *seen)
        alike.setdefault(key, []).append(member)
    return [group[0] if len(group) == 1 else SharedBackbone(group) for group in alike.values()]


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
