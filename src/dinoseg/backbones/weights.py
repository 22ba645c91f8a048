"""Weights by name: on this machine, or fetched from the hub; listed and checked.

On the hub, timm's open copies come first (no request, no token), then the publisher's own repository, with
the token where it asks for one. Nothing is fetched unless a backbone is asked for by name, and every failure
names the other ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dinoseg.backbones.catalog import BACKBONES, BackboneSpec, find_spec
from dinoseg.backbones.hub import FILENAME, Refusal, RemoteFile, download, locate, lock_folder
from dinoseg.backbones.licenses import is_accepted, needs_acceptance, require_license
from dinoseg.backbones.weights_local import Candidate, list_candidates, name_routes, verify
from dinoseg.backbones.weights_records import WeightsFile, describe_file, keep_record, read_record
from dinoseg.backbones.weights_settings import WeightsSettings, read_settings
from dinoseg.errors import OutputError, WeightsError
from dinoseg.progress import Progress, Silent


@dataclass(frozen=True)
class WeightsStatus:
    """What `weights list` shows of one backbone.

    Attributes:
        name: catalog name.
        present: the weights are on this machine.
        path: the file, if present.
        origin: where it came from, or where it would come from.
        sha256: as recorded; None if it was never computed.
        size: bytes of the file; of float32 weights if it is not there.
        license: licence of the weights.
        accepted: the licence needs no acceptance, or has it.
    """

    name: str
    present: bool
    path: Path | None
    origin: str
    sha256: str | None
    size: int
    license: str
    accepted: bool


@dataclass(frozen=True)
class WeightsCheck:
    """What `weights check` found in one file.

    Attributes:
        name: the backbone.
        path: the file.
        sha256: as just computed; empty if it is not the recorded one.
        problem: what is wrong, in one line; empty if the file is whole and loads completely.
    """

    name: str
    path: Path
    sha256: str
    problem: str

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


def list_weights() -> list[WeightsStatus]:
    """Describe every backbone of the catalog that has weights; reads records only, hashes nothing."""
    settings = read_settings()
    return [_describe_status(spec, settings) for spec in BACKBONES.values() if _has_weights(spec)]


def get_weights(
    name: str,
    *,
    accept_license: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
) -> WeightsFile:
    """Return the weights of `name`, fetching them if they are not on this machine.

    Args:
        name: catalog name.
        accept_license: accept the licence, once; it is remembered.
        endpoint: another hub than `HF_ENDPOINT` or huggingface.co.
        token: another token than the stored one.
        progress: shows source, checksum and licence, and counts the download.

    Raises:
        LicenseError: the licence has not been accepted.
        WeightsError: the weights are damaged or cannot be fetched; the message names other ways.
    """
    shown = progress if progress is not None else Silent()
    spec, settings = find_spec(name), read_settings()
    if not _has_weights(spec):
        raise WeightsError(f"{name} has no weights to fetch: it is random by design")
    require_license(spec, accept=accept_license, progress=shown, home=settings.home)
    candidates = list_candidates(spec, settings)
    if candidates:
        found = verify(spec, candidates[0], settings)
    else:
        hub = _Hub((endpoint or settings.endpoint).rstrip("/"), token or settings.token, settings.offline)
        with _naming_routes(spec):
            found = _fetch(spec, settings, hub, shown)
    shown.note(f"{name}: {found.origin}, sha256 {found.sha256[:16]}…, {spec.license} ({found.path})")
    return found


def check_weights(name: str | None = None, *, progress: Progress | None = None) -> list[WeightsCheck]:
    """Hash the weights on this machine again and load each completely.

    Args:
        name: one backbone; all that are present if not given.
        progress: counts the backbones.

    Raises:
        WeightsError: the weights of `name` are not on this machine.
    """
    settings = read_settings()
    specs = [find_spec(name)] if name is not None else list(BACKBONES.values())
    present = [(spec, found) for spec in specs for found in list_candidates(spec, settings)[:1]]
    if name is not None and not present:
        raise WeightsError(f"the weights of {name} are not on this machine; {name_routes(specs[0])}")
    shown = progress if progress is not None else Silent()
    pairs = shown.track(present, total=len(present), label="checking weights")
    return [_check(spec, candidate, settings) for spec, candidate in pairs]


@dataclass(frozen=True)
class _Hub:
    endpoint: str
    token: str | None
    offline: bool


def _has_weights(spec: BackboneSpec) -> bool:
    return spec.timm_repo is not None or spec.hf_repo is not None


@contextmanager
def _naming_routes(spec: BackboneSpec) -> Iterator[None]:
    """Add the other ways to any failure inside the block."""
    try:
        yield
    except (WeightsError, OutputError, OSError) as error:
        raise WeightsError(f"{spec.name}: {error}; {name_routes(spec)}") from error


def _fetch(spec: BackboneSpec, settings: WeightsSettings, hub: _Hub, progress: Progress) -> WeightsFile:
    if hub.offline:
        raise WeightsError("not on this machine, and HF_HUB_OFFLINE forbids fetching")
    refusals: list[str] = []
    for repo, token in _list_routes(spec, hub.token):
        remote = locate(repo, endpoint=hub.endpoint, token=token)
        if isinstance(remote, Refusal):
            refusals.append(f"{repo} {remote.reason}")
            progress.note(f"{spec.name}: {refusals[-1]}")
            continue
        progress.note(f"{spec.name}: fetching {repo} from {hub.endpoint}, {remote.size / 1e6:.0f} MB")
        return _store(spec, settings, remote, token, progress)
    raise WeightsError("; ".join(refusals))


def _list_routes(spec: BackboneSpec, token: str | None) -> Iterator[tuple[str, str | None]]:
    """Yield repositories in order, each with the token to send: none where none is asked for."""
    if spec.timm_repo:
        yield spec.timm_repo, None
    if spec.hf_repo:
        yield spec.hf_repo, token if spec.hf_gated else None


def _store(
    spec: BackboneSpec, settings: WeightsSettings, remote: RemoteFile, token: str | None, progress: Progress
) -> WeightsFile:
    """Download into our cache; a second process waits and then finds the file."""
    folder = settings.weights / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / FILENAME
    with lock_folder(folder, spec.name, progress):
        if not final.is_file():
            # Named by its checksum: a newer version never goes on from an older one's half.
            part = folder / f"{remote.sha256}.part"
            download(remote, part, token=token, progress=progress)
            part.replace(final)
            found = describe_file(final, name=spec.name, origin=remote.repo, sha256=remote.sha256)
            keep_record(folder, found)
    return verify(spec, Candidate(final, remote.repo), settings)


def _check(spec: BackboneSpec, candidate: Candidate, settings: WeightsSettings) -> WeightsCheck:
    from dinoseg.backbones.published import load_weights
    from dinoseg.backbones.tensor_files import read_tensors

    sha256, problem = "", ""
    try:
        sha256 = verify(spec, candidate, settings, hash_again=True).sha256
        load_weights(spec, read_tensors(candidate.path), source=candidate.path.name)
    except WeightsError as error:
        problem = str(error)
    return WeightsCheck(spec.name, candidate.path, sha256, problem)


def _describe_status(spec: BackboneSpec, settings: WeightsSettings) -> WeightsStatus:
    candidate = next(iter(list_candidates(spec, settings)), None)
    record = read_record(settings.weights / spec.name)
    path = candidate.path if candidate else None
    return WeightsStatus(
        name=spec.name,
        present=candidate is not None,
        path=path,
        origin=candidate.origin if candidate else (spec.timm_repo or spec.hf_repo or ""),
        sha256=record.sha256 if record is not None and record.path == path else None,
        size=path.stat().st_size if path else 4 * spec.parameters,
        license=spec.license,
        accepted=not needs_acceptance(spec) or is_accepted(spec.license, home=settings.home),
    )
