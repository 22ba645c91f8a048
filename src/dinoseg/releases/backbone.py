"""The backbone of a checkpoint: its own where training has changed it, else the published one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dinoseg.backbones import create_backbone
from dinoseg.backbones.backbone import Backbone
from dinoseg.backbones.catalog import BACKBONES, UNTRAINED, BackboneSpec, find_spec
from dinoseg.backbones.extractors import Extractor
from dinoseg.backbones.folders import read_spec, write_folder
from dinoseg.backbones.licenses import require_license
from dinoseg.backbones.published import PublishedWeights, load_weights
from dinoseg.backbones.weights_local import list_candidates
from dinoseg.backbones.weights_settings import read_settings
from dinoseg.outputs import claim, write_json, write_text
from dinoseg.progress import Progress, Silent
from dinoseg.releases.checkpoints import State

OWN = "./backbone"  # relative to the run folder
SOURCE = "the checkpoint's backbone"


@dataclass(frozen=True)
class Placed:
    """A backbone and what a run folder calls it."""

    name: str
    backbone: Backbone


def describe_backbone(name: str) -> BackboneSpec:
    """What is known of a catalog name or a local folder, without its weights."""
    # silent: `place_backbone` opens the same folder, which tells what is assumed
    return read_spec(Path(name), progress=Silent()) if _is_folder(name) else find_spec(name)


def place_backbone(
    own: State, name: str, spec: BackboneSpec, *, out: Path, accept_license: bool, progress: Progress
) -> Placed:
    """The backbone that the checkpoint's decoder belongs to.

    Args:
        own: the checkpoint's backbone in any known key layout; empty if it has none.
        name: what it was trained on: catalog name or local folder.
        spec: description of `name`.
        out: the run folder; a backbone that differs from the published one is written into it.
        accept_license: accept the licence of the weights.
        progress: told which one it is, and why.

    Raises:
        WeightsError: the checkpoint's backbone is incomplete, or the published one is missing.
        LicenseError: the licence has not been accepted.
    """
    name = os.path.normpath(Path(name).absolute()) if _is_folder(name) else name
    if not own:
        return Placed(name, create_backbone(name, accept_license=accept_license, progress=progress))
    require_license(spec, accept=accept_license, progress=progress)
    weights = load_weights(spec, own, source=SOURCE)
    digest = Extractor(weights, spec, source=SOURCE).digest
    if not _is_here(name, spec):
        reason = f"{name} is not on this machine to compare it with"
    else:
        published = create_backbone(name, accept_license=accept_license, progress=progress)
        if published.digest == digest:
            progress.note(f"the checkpoint's backbone is {name} unchanged, and not copied into the run")
            return Placed(name, published)
        reason = f"not that of {name}"
    folder = out / OWN
    _save(weights, spec, folder)
    progress.note(f"the checkpoint carries its own backbone ({reason}); written to {folder} ({spec.license})")
    return Placed(OWN, create_backbone(str(folder), layers=spec.layers))


def _is_folder(name: str) -> bool:
    return name not in BACKBONES and Path(name).is_dir()


def _is_here(name: str, spec: BackboneSpec) -> bool:
    """Whether the published weights can be compared without fetching anything."""
    return _is_folder(name) or name == UNTRAINED or bool(list_candidates(spec, read_settings()))


def _save(weights: PublishedWeights, spec: BackboneSpec, folder: Path) -> None:
    """Write a Hugging Face folder that `create_backbone` reads back, with its licence in the README."""
    claim(folder.parent, parts=(OWN,))
    write_folder(folder, weights)
    normalisation = {"do_normalize": True, "image_mean": list(spec.mean), "image_std": list(spec.std)}
    write_json(folder / "preprocessor_config.json", normalisation, overwrite=True)
    card = f"---\nlicense: {spec.license}\n---\n\n{spec.name}, as in the imported checkpoint.\n"
    write_text(folder / "README.md", card, overwrite=True)
