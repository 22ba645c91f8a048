"""`pull` and `resolve`: the model behind an address, checked and on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dinoseg.backbones.hub import (
    COMMIT,
    Answer,
    Refusal,
    RemoteFile,
    download,
    hash_file,
    lock_folder,
    name_url,
    read_small,
)
from dinoseg.backbones.weights_settings import WeightsSettings, read_settings
from dinoseg.errors import RunError, WeightsError
from dinoseg.outputs import atomic_path, write_text
from dinoseg.progress import Progress, Silent
from dinoseg.sharing.address import HubAddress, parse_address, parse_destination
from dinoseg.sharing.index import INDEX, SharedFile, find_damage, read_index
from dinoseg.sharing.placing import place


@dataclass(frozen=True)
class Pulled:
    """A model that is on this machine now.

    Attributes:
        folder: where; a run folder or a bundle.
        address: where it came from.
        commit: the exact version on the hub; None from a folder.
        files: their names, relative to `folder`.
    """

    folder: Path
    address: str
    commit: str | None
    files: tuple[str, ...]


def resolve(source: Path | str, progress: Progress | None = None) -> Path:
    """The folder of a model: pulled where an address of the hub is given, any other path as it is.

    Raises:
        UsageError: it begins like an address and is none.
        WeightsError: the model cannot be fetched, or is damaged.
    """
    address = parse_address(source)
    if isinstance(address, HubAddress):
        return _fetch(address, read_settings(), progress or Silent()).folder
    if str(source) != str(address):  # file://
        _check_folder(address)
    return address


def pull(
    source: Path | str,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Pulled:
    """Fetch a model that was pushed, resuming what an earlier call began, and check every file.

    Args:
        source: `owner/name`, `owner/name@revision`, the same after `hf://`, or a folder (`file:///…`, `/…`,
            `./…`) that a model was pushed to.
        out: copied to this folder; kept in dinoseg's own folder if not given.
        overwrite: `out` may hold what dinoseg wrote.
        progress: counts the download.

    Raises:
        UsageError: the address is none.
        WeightsError: there is no such model or revision, the hub cannot be reached or wants a token, or a
            file arrived damaged.
        OutputError: `out` exists or cannot be written.
    """
    address, shown = parse_destination(source), progress or Silent()
    if isinstance(address, HubAddress):
        pulled = _fetch(address, read_settings(), shown)
    else:
        pulled = Pulled(address, str(source), None, tuple(_check_folder(address)))
    return pulled if out is None else _copy(pulled, out, overwrite=overwrite)


def _check_folder(folder: Path) -> Mapping[str, SharedFile]:
    """The files of a model that was pushed to a folder, all of them whole."""
    if not (folder / INDEX).is_file():
        raise RunError(f"{folder} holds no model that was pushed ({INDEX}); push one with `dinoseg push RUN`")
    files = read_index((folder / INDEX).read_bytes(), str(folder / INDEX))
    if damage := find_damage(folder, files):
        raise WeightsError(f"{damage}; push the model again")
    return files


def _fetch(address: HubAddress, settings: WeightsSettings, progress: Progress) -> Pulled:
    store = settings.home / "models" / address.repo.replace("/", "--")
    pinned = address.revision if COMMIT.fullmatch(address.revision) else None
    if settings.offline:
        pinned = pinned or _read_reference(store, address)
    if pinned and (store / pinned / INDEX).is_file():
        files = read_index((store / pinned / INDEX).read_bytes(), str(store / pinned / INDEX))
        return Pulled(store / pinned, str(address), pinned, tuple(files))
    if settings.offline:
        raise WeightsError(
            f"{address} is not on this machine, and HF_HUB_OFFLINE forbids fetching; "
            "pull it once with a network"
        )
    answer = _ask(address, settings)
    files = read_index(answer.content, f"{INDEX} of {address}")
    folder = store / answer.commit
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder, str(address), progress):
        _complete(address, answer, files, folder, settings, progress)
    reference = _place_reference(store, address)
    if not COMMIT.fullmatch(address.revision):
        write_text(reference, answer.commit, overwrite=True)
    return Pulled(folder, str(address), answer.commit, tuple(files))


def _ask(address: HubAddress, settings: WeightsSettings) -> Answer:
    """The index of a model as it is on the hub now.

    The token is sent where there is one: without it a private repository looks as if it were not there.
    """
    answer = read_small(
        address.repo,
        INDEX,
        revision=address.revision,
        endpoint=settings.endpoint,
        token=settings.token,
    )
    if not isinstance(answer, Refusal):
        return answer
    if answer.status == 404:
        raise WeightsError(
            f"{address} is not on {settings.endpoint}, or is no model that dinoseg pushed "
            f"({INDEX} is missing); look at the name and the revision, and set HF_TOKEN if it is private"
        )
    raise WeightsError(f"{address} {answer.reason}")


def _complete(
    address: HubAddress,
    answer: Answer,
    files: Mapping[str, SharedFile],
    folder: Path,
    settings: WeightsSettings,
    progress: Progress,
) -> None:
    """Fetch the files that are not there yet; the index comes last and says that all are."""
    if (folder / INDEX).is_file():
        return
    for name, file in files.items():
        target = folder / name
        if target.is_file() and target.stat().st_size == file.size and hash_file(target) == file.sha256:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        url = name_url(address.repo, name, revision=answer.commit, endpoint=settings.endpoint)
        part = target.with_name(f"{target.name}.part")
        remote = RemoteFile(address.repo, url, file.size, file.sha256, name)
        part.touch()
        download(remote, part, token=settings.token, progress=progress)
        part.replace(target)
    with atomic_path(folder / INDEX, overwrite=True) as temporary:
        temporary.write_bytes(answer.content)


def _place_reference(store: Path, address: HubAddress) -> Path:
    return store / "refs" / quote(address.revision, safe="")


def _read_reference(store: Path, address: HubAddress) -> str | None:
    """The commit that a branch or tag had when it was pulled last."""
    path = _place_reference(store, address)
    commit = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    return commit if COMMIT.fullmatch(commit) else None


def _copy(pulled: Pulled, out: Path, *, overwrite: bool) -> Pulled:
    place(pulled.folder, (*pulled.files, INDEX), out, overwrite=overwrite)
    return Pulled(out, pulled.address, pulled.commit, pulled.files)
