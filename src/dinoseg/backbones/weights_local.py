"""Weights that are on this machine already: where they may lie, and whether they are what they should be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dinoseg.backbones.catalog import BACKBONES, BackboneSpec
from dinoseg.backbones.hub import FILENAME
from dinoseg.backbones.weights_records import (
    WeightsFile,
    describe_file,
    is_unchanged,
    keep_record,
    read_record,
)
from dinoseg.backbones.weights_settings import WeightsSettings
from dinoseg.errors import WeightsError

_META_FILE = re.compile(r".+-([0-9a-f]{8})\.pth")
_META_DOWNLOADS = "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/"


@dataclass(frozen=True)
class Candidate:
    """A file that may be the weights; `sha256` is what its place promises, if anything."""

    path: Path
    origin: str
    sha256: str | None = None


def list_candidates(spec: BackboneSpec, settings: WeightsSettings) -> list[Candidate]:
    """List the weight files of `spec` on this machine: our cache, then Meta's file, then the hub's cache."""
    folder = settings.weights / spec.name
    record = read_record(folder)
    own = folder / FILENAME
    origin = record.origin if record is not None and record.path == own else "own cache"
    found = [Candidate(own, origin)] if own.is_file() else []
    if spec.meta_prefix:
        files = [*folder.glob(f"{spec.meta_prefix}*.pth"), *settings.weights.glob(f"{spec.meta_prefix}*.pth")]
        found += [Candidate(path, f"Meta's {path.name}") for path in sorted(files)]
    repos = [repo for repo in (spec.timm_repo, spec.hf_repo) if repo]
    return found + [hit for repo in repos for hit in _search_hub_cache(repo, settings)]


def verify(
    spec: BackboneSpec, candidate: Candidate, settings: WeightsSettings, *, hash_again: bool = False
) -> WeightsFile:
    """Compare a file with its record; without one, hash it and write the record.

    Args:
        spec: the backbone it is for.
        candidate: the file.
        settings: where the record lies.
        hash_again: hash even if size and time are those of the record.

    Raises:
        WeightsError: its sha256 is not the recorded or promised one.
    """
    folder = settings.weights / spec.name
    record = read_record(folder)
    recorded = record if record is not None and record.path == candidate.path else None
    if recorded is not None and not hash_again and is_unchanged(recorded):
        return recorded
    found = describe_file(candidate.path, name=spec.name, origin=candidate.origin)
    expected = recorded.sha256 if recorded is not None else candidate.sha256
    if expected is not None and found.sha256 != expected:
        raise WeightsError(
            f"{candidate.path} has changed (sha256 {found.sha256[:12]}…, recorded {expected[:12]}…); "
            f"delete it and run `dinoseg weights get {spec.name}`"
        )
    _compare_digits(found)
    keep_record(folder, found)
    return found


def open_weights(path: Path, spec: BackboneSpec) -> WeightsFile:
    """Describe a file that the person names, checking what its name promises.

    Raises:
        WeightsError: the file is missing, its name is that of another backbone, or its sha256
            does not begin with the eight digits in its name.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; {name_routes(spec)}")
    owner = next((other for other in BACKBONES.values() if _is_named_for(path, other)), None)
    if owner is not None and owner.name != spec.name:
        raise WeightsError(
            f"{path.name} holds the weights of {owner.name}, not of {spec.name}: ask for that one"
        )
    found = describe_file(path, name=spec.name, origin=f"file {path.name}")
    _compare_digits(found)
    return found


def name_routes(spec: BackboneSpec) -> str:
    """Say in one line how else the weights of `spec` can be had."""
    routes = [f"`dinoseg weights get {spec.name}` where there is a network"]
    if spec.hf_gated:
        routes.append(f"HF_TOKEN of an account that {spec.hf_repo} has granted access")
    file = f"Meta's {spec.meta_prefix}.pth ({_META_DOWNLOADS})" if spec.meta_prefix else "a .safetensors file"
    routes.append(f"`dinoseg weights get {spec.name} --weights FILE` with {file}")
    return "other ways: " + "; ".join(routes)


def _search_hub_cache(repo: str, settings: WeightsSettings) -> Iterator[Candidate]:
    if not settings.hub_cache.is_dir():
        return
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repo, FILENAME, cache_dir=settings.hub_cache)
    if isinstance(cached, str):
        # The cache links to a file that is named by its sha256.
        blob = Path(cached).resolve().name
        sha256 = blob if re.fullmatch(r"[0-9a-f]{64}", blob) else None
        yield Candidate(Path(cached), f"{repo} (Hugging Face cache)", sha256)


def _compare_digits(found: WeightsFile) -> None:
    match = _META_FILE.fullmatch(found.path.name)
    if match and not found.sha256.startswith(match.group(1)):
        raise WeightsError(
            f"{found.path} is damaged: its sha256 begins with {found.sha256[:8]}, its name says "
            f"{match.group(1)}; download it from Meta again"
        )


def _is_named_for(path: Path, spec: BackboneSpec) -> bool:
    return spec.meta_prefix is not None and path.name.startswith(spec.meta_prefix)
