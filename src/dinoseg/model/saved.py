"""`SavedModel`: a run folder or a bundle and how it is loaded, once it is needed; no torch until then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dinoseg.config import Inference
from dinoseg.model.bundles import is_bundle
from dinoseg.model.ensemble import is_ensemble, list_members, read_ensemble
from dinoseg.model.folder import find_run_folder
from dinoseg.model.network import Network, refuse_other_size
from dinoseg.progress import Progress
from dinoseg.sharing import resolve

if TYPE_CHECKING:
    from dinoseg.config import BackboneEngine


@dataclass(frozen=True)
class SavedModel:
    """A model that is not loaded yet: what can be refused without it is refused first.

    Attributes:
        folder: a run folder, or its `model/`; or a bundle.
        backbone: as for `load`, like the others.
        accept_license: of the backbone's weights.
        device: to load to.
        precision: of the backbone.
        engine: what computes a bundle, or the backbone of a run.
        threads: of the engine of a bundle.
    """

    folder: Path
    backbone: str | Path | None = None
    accept_license: bool = False
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] | None = None
    engine: BackboneEngine | None = None
    threads: int | None = None

    @property
    def run(self) -> Path | None:
        """The run folder; None for a bundle, which does not name the cases that it was trained on."""
        return None if is_bundle(self.folder) else find_run_folder(self.folder)

    def open(self, progress: Progress | None = None) -> Network:
        """Load it; this is where torch comes in, for a run folder.

        Raises:
            RunError: the folder is no run, is damaged, or its decoder was trained on another backbone.
            WeightsError: the backbone's weights are not there.
        """
        from dinoseg.model.opening import load

        return load(
            self.folder,
            backbone=self.backbone,
            accept_license=self.accept_license,
            device=self.device,
            precision=self.precision,
            engine=self.engine,
            threads=self.threads,
            progress=progress,
        )


Model = Network | SavedModel | Path | str


def as_model(model: Model) -> Network | SavedModel:
    """A path, or the address of a shared model, as the model that is saved there; anything else as it is."""
    return SavedModel(resolve(model)) if isinstance(model, Path | str) else model


def open_model(model: Model, progress: Progress | None = None, *, how: Inference | None = None) -> Network:
    """The network that was given, or that of a run folder or bundle.

    Args:
        model: a network, or where it is saved.
        progress: told where weights come from.
        how: it is to be applied.

    Raises:
        UsageError: the network takes images or windows of one size, and `how` has another.
    """
    found = as_model(model)
    network = found.open(progress) if isinstance(found, SavedModel) else found
    if how is not None:
        refuse_other_size(network, how)
    return network


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
