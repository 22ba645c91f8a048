"""Putting a backbone together: find its weights, load its module, wrap both."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dinoseg.backbones.backbone import Backbone, Precision
from dinoseg.backbones.catalog import BACKBONES, UNTRAINED, BackboneSpec, find_spec
from dinoseg.backbones.extractors import Extractor
from dinoseg.backbones.folders import read_spec
from dinoseg.backbones.hub import hash_file
from dinoseg.backbones.licenses import require_license
from dinoseg.backbones.published import load_weights
from dinoseg.backbones.tensor_files import list_parts, read_folder, read_tensors
from dinoseg.backbones.untrained import SEED, draw_weights
from dinoseg.backbones.weights import get_weights
from dinoseg.backbones.weights_local import open_weights
from dinoseg.errors import UsageError, WeightsError
from dinoseg.progress import Progress


def assemble(
    name_or_path: str | Path,
    *,
    layers: tuple[int, ...] | None,
    accept_license: bool,
    weights: str | Path | None,
    precision: Precision,
    progress: Progress,
) -> Backbone:
    """See `dinoseg.backbones.create_backbone`."""
    name = str(name_or_path)
    if name not in BACKBONES and _means_folder(name_or_path):
        _refuse_weights(weights, f"{name} is a folder, which holds its own")
        return _from_folder(Path(name_or_path), layers, precision, progress)
    spec = find_spec(name)
    if spec.name == UNTRAINED:
        _refuse_weights(weights, f"{name} is random by design")
        drawn = draw_weights(spec)
        return Extractor(
            drawn, spec, layers=layers, precision=precision, source=f"random numbers, seed {SEED}"
        )
    return _from_catalog(spec, layers, accept_license, weights, precision, progress)


def _from_catalog(
    spec: BackboneSpec,
    layers: tuple[int, ...] | None,
    accept_license: bool,
    weights: str | Path | None,
    precision: Precision,
    progress: Progress,
) -> Backbone:
    if weights is None:
        found = get_weights(spec.name, accept_license=accept_license, progress=progress)
    else:
        require_license(spec, accept=accept_license, progress=progress)
        found = open_weights(Path(weights).expanduser(), spec)
    return Extractor(
        load_weights(spec, read_tensors(found.path), source=str(found.path)),
        spec,
        layers=layers,
        precision=precision,
        source=found.origin,
        weights_sha256=found.sha256,
    )


def _from_folder(
    folder: Path, layers: tuple[int, ...] | None, precision: Precision, progress: Progress
) -> Backbone:
    if not folder.is_dir():
        raise WeightsError(f"{folder} is no folder; give a Hugging Face folder or a name from the catalog")
    spec = read_spec(folder, progress=progress)
    return Extractor(
        load_weights(spec, read_folder(folder), source=str(folder)),
        spec,
        layers=layers,
        precision=precision,
        source=f"folder {folder}",
        weights_sha256=_hash_parts(list_parts(folder)),
    )


def _means_folder(name_or_path: str | Path) -> bool:
    """Catalog names hold no separator; a bare word is a folder only if there is one."""
    text = str(name_or_path)
    return isinstance(name_or_path, Path) or "/" in text or "\\" in text or Path(text).is_dir()


def _hash_parts(parts: list[Path]) -> str:
    """Return the sha256 of one file, or of the digests of several."""
    digests = [hash_file(part) for part in parts]
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _refuse_weights(weights: str | Path | None, reason: str) -> None:
    if weights is not None:
        raise UsageError(f"a weight file ({weights}) goes with a catalog name only; {reason}")
