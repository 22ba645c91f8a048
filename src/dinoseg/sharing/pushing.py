"""`push`: a run folder to the hub, to a private one, or to a folder that others read."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoseg.backbones.hub import REASONS, Refusal, read_small
from dinoseg.backbones.licenses import require_license_to_pass_on
from dinoseg.backbones.weights_settings import WeightsSettings, read_settings
from dinoseg.errors import WeightsError
from dinoseg.progress import Progress, Silent
from dinoseg.sharing.address import HubAddress, parse_destination
from dinoseg.sharing.cards import write_card
from dinoseg.sharing.contents import CARD, Contents, gather, prepare
from dinoseg.sharing.index import INDEX, describe, read_index
from dinoseg.sharing.placing import place


@dataclass(frozen=True)
class Pushed:
    """What was sent where.

    Attributes:
        address: what `load` takes: `hf://owner/name@commit`, or the folder.
        commit: the version on the hub; None in a folder.
        files: names of the files.
        size: their bytes.
    """

    address: str
    commit: str | None
    files: tuple[str, ...]
    size: int


def push(
    run: Path | str,
    destination: Path | str,
    *,
    private: bool = False,
    license_name: str | None = None,
    accept_license: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Pushed:
    """Send the model of a run folder: the decoder, its description, and a page with its scores.

    Paths of this machine, names of cases and pictures stay here. The backbone is sent only where it was
    fine-tuned with the decoder (an imported run); else its name and digest are, and whoever loads the model
    needs the same weights.

    Args:
        run: a run folder.
        destination: `owner/name` (a branch after `@`), or a folder (`file:///…`, `/…`, `./…`).
        private: only its owners see the repository; one that is public already is refused.
        license_name: of the decoder, as the hub names licences ("apache-2.0"); left blank if not given.
        accept_license: of the backbone, where its weights are sent.
        overwrite: a folder may hold an older model that was pushed; the hub keeps all versions anyway.
        progress: counts the files.

    Raises:
        RunError: the folder holds no model.
        UsageError: the destination is neither.
        LicenseError: the licence of the backbone that is sent was not accepted.
        WeightsError: the hub cannot be reached, or refuses.
        OutputError: the folder cannot be written.
    """
    target, contents, shown = parse_destination(destination), gather(Path(run)), progress or Silent()
    if contents.has_backbone:
        require_license_to_pass_on(
            contents.config["backbone"]["license"], accept=accept_license, progress=shown
        )
    note = _tell_backbone(contents)
    shown.note(note)
    with tempfile.TemporaryDirectory(prefix="dinoseg-push-") as made:
        folder = Path(made)
        name = target.repo if isinstance(target, HubAddress) else target.name
        card = write_card(contents, name=name, license_name=license_name, note=note)
        prepare(contents, folder, card)
        names = (*contents.names, CARD)
        (folder / INDEX).write_text(json.dumps(describe(folder, names), indent=2) + "\n", encoding="utf-8")
        size = sum((folder / name).stat().st_size for name in names)
        if isinstance(target, HubAddress):
            commit = _send(folder, (*names, INDEX), target, private=private, progress=shown)
            return Pushed(str(HubAddress(target.repo, commit)), commit, names, size)
        place(folder, (*names, INDEX), target, overwrite=overwrite)
        return Pushed(str(target), None, names, size)


def _tell_backbone(contents: Contents) -> str:
    described = contents.config["backbone"]
    if contents.has_backbone:
        return "The weights of the backbone are among the files, under their own licence."
    if contents.local_backbone:
        return (
            f"The backbone {described['name']} is a local folder and not among the files: "
            f"name yours with --backbone (digest {described['digest'][:12]})."
        )
    return f"The backbone {described['name']} is not among the files; it is found by its name."


def _send(
    folder: Path, names: Sequence[str], target: HubAddress, *, private: bool, progress: Progress
) -> str:
    """Send the files in one commit; what the hub has already is not sent again."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    settings = read_settings()
    if settings.offline:
        raise WeightsError(
            f"{target} cannot be pushed: HF_HUB_OFFLINE forbids it; unset it, or push to a folder"
        )
    if settings.token is None:
        raise WeightsError(f"{settings.endpoint} wants a token to push {target.repo}; set HF_TOKEN")
    api = HfApi(endpoint=settings.endpoint, token=settings.token)
    with _explained(target, settings), ExitStack() as stack:
        api.create_repo(target.repo, private=private, exist_ok=True)
        if private and not api.repo_info(target.repo).private:
            raise WeightsError(
                f"{target.repo} is public, and --private was asked for; choose another name, or make it "
                "private on its page first"
            )
        if target.revision != "main":
            api.create_branch(target.repo, branch=target.revision, exist_ok=True)
        # Opened, not named: so the library takes the way that every hub speaks, private ones too.
        sent = [CommitOperationAdd(name, stack.enter_context((folder / name).open("rb"))) for name in names]
        gone = [CommitOperationDelete(name) for name in _list_gone(target, settings, names)]
        for operation in progress.track(sent, total=len(sent), label=f"pushing {target.repo}"):
            api.preupload_lfs_files(target.repo, [operation], revision=target.revision, free_memory=False)
        info = api.create_commit(
            target.repo,
            [*sent, *gone],
            commit_message="dinoseg push",
            revision=target.revision,
        )
        return str(info.oid)


def _list_gone(target: HubAddress, settings: WeightsSettings, names: Sequence[str]) -> Iterator[str]:
    """Files of the model that is there now, which the new one does not have."""
    answer = read_small(
        target.repo,
        INDEX,
        revision=target.revision,
        endpoint=settings.endpoint,
        token=settings.token,
    )
    if not isinstance(answer, Refusal):
        yield from (name for name in read_index(answer.content, INDEX) if name not in names)


@contextmanager
def _explained(target: HubAddress, settings: WeightsSettings) -> Iterator[None]:
    """Say in one line why the hub did not take it; its library says why it took another way on a logger."""
    from huggingface_hub.errors import HfHubHTTPError

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    transport: Any = HfHubHTTPError.__bases__[0]
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        reasons = {**REASONS, 401: "refused the token (401)", 403: "may not be written with this token (403)"}
        reason = reasons.get(status, f"answered with status {status}")
        fix = "set HF_TOKEN to one that may write there" if status in (401, 403) else "try again"
        raise WeightsError(f"{target.repo} on {settings.endpoint} {reason}; {fix}") from error
    except (transport, ConnectionError, TimeoutError, RuntimeError) as error:
        # The library wraps what broke the sending of a large file in a RuntimeError.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        first = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise WeightsError(
            f"{settings.endpoint} cannot be reached ({first}); the same command goes on, or push to a folder"
        ) from error
    finally:
        logger.setLevel(level)
