"""`SavedModel`: a run folder and how its model is loaded, once it is needed; needs no torch until then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dinoseg.model.ensemble import is_ensemble, list_members, read_ensemble
from dinoseg.model.folder import find_run_folder
from dinoseg.model.network import Network
from dinoseg.progress import Progress
from dinoseg.sharing import resolve


@dataclass(frozen=True)
class SavedModel:
    """A model that is not loaded yet: what can be refused without it is refused first.

    Attributes:
        folder: a run folder, or its `model/`.
        backbone: as for `load`, like the others.
        accept_license: of the backbone's weights.
        device: to load to.
        precision: of the backbone.
    """

    folder: Path
    backbone: str | Path | None = None
    accept_license: bool = False
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] | None = None

    @property
    def run(self) -> Path:
        """The run folder."""
        return find_run_folder(self.folder)

    def open(self, progress: Progress | None = None) -> Network:
        """Load it; this is where torch comes in.

        Raises:
            RunError: the folder is no run, is damaged, or its decoder was trained on another backbone.
            WeightsError: the backbone's weights are not there.
        """
        from dinoseg.model.loading import load

        return load(
            self.folder,
            backbone=self.backbone,
            accept_license=self.accept_license,
            device=self.device,
            precision=self.precision,
            progress=progress,
        )


Model = Network | SavedModel | Path | str


def as_model(model: Model) -> Network | SavedModel:
    """A path, or the address of a shared model, as the model that is saved there; anything else as it is."""
    return SavedModel(resolve(model)) if isinstance(model, Path | str) else model


def open_model(model: Model, progress: Progress | None = None) -> Network:
    """The network that was given, or that of a run folder."""
    found = as_model(model)
    return found.open(progress) if isinstance(found, SavedModel) else found


def find_run(model: Model) -> Path | None:
    """The run folder of a model, where it is known."""
    return as_model(model).run


def find_runs(model: Model) -> tuple[Path, ...]:
    """The run folders that know what a model was trained on: its own, then those of its members."""
    own = find_run(model)
    if own is not None:
        return (own, *list_members(own)) if is_ensemble(own) else (own,)
    members = getattr(model, "members", ())
    return tuple(member.run for member in members if member.run is not None)


def find_folds(model: Model) -> tuple[Path, ...]:
    """The run folders of the folds of a cross-validation, from fold 0; empty for any other model."""
    own = find_run(model)
    if own is None or not is_ensemble(own) or read_ensemble(own).kind != "folds":
        return ()
    return list_members(own)
