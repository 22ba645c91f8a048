"""Fetching files from the Hugging Face hub: resumed after a break, checked against the hub's sha256.

The hub's own downloader starts again after a killed process, does not hash what it wrote, and retries for
about half a minute when there is no network. So only its connection is used, and the protocol spoken here.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from dinoseg import __version__
from dinoseg.errors import WeightsError
from dinoseg.progress import Progress

FILENAME = "model.safetensors"
PIECE = 2**18  # bytes per progress step
ATTEMPTS = 4  # breaks in a row without a new byte before giving up
PAUSE = 0.5  # seconds before asking again
TIMEOUT = (5.0, 20.0, 20.0, 5.0)  # seconds: connect, read, write, wait for a free connection
MOST_SMALL = 2**24  # bytes
_SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RemoteFile:
    """A file the hub is willing to send: its exact version, size in bytes and sha256."""

    repo: str
    url: str
    size: int
    sha256: str
    filename: str = FILENAME


@dataclass(frozen=True)
class Answer:
    """The contents of a small file, and the commit that it was read from."""

    content: bytes
    commit: str


@dataclass(frozen=True)
class Refusal:
    """The hub answered, but does not give the file: an HTTP status and what it means."""

    repo: str
    status: int
    reason: str


REASONS: Mapping[int, str] = {
    401: "asks for a token (401): request access on its page, then set HF_TOKEN",
    403: "has not granted access to this token (403): request access on its page and wait for it",
    404: "has no such file (404)",
}


def locate(repo: str, *, endpoint: str, token: str | None) -> RemoteFile | Refusal:
    """Ask the hub for the current version of a repository's `model.safetensors`.

    Args:
        repo: `owner/name`.
        endpoint: address of the hub.
        token: sent with the request if given.

    Raises:
        WeightsError: the hub cannot be reached, or its answer lacks the checksum.
    """
    url = f"{endpoint}/{repo}/resolve/main/{FILENAME}"
    try:
        response = _head(url, token)
    except _transport_errors() as error:
        raise WeightsError(f"{endpoint} cannot be reached ({_first_line(error)})") from error
    if response.status_code >= 400:
        return _refuse(repo, response.status_code)
    return _describe(repo, endpoint, response.headers)


def read_small(
    repo: str, filename: str, *, revision: str, endpoint: str, token: str | None
) -> Answer | Refusal:
    """Read a file of at most 16 MiB as a whole: of its contents no sha256 is stated.

    Args:
        repo: `owner/name`.
        filename: in the repository.
        revision: a branch, a tag or a commit.
        endpoint: address of the hub.
        token: sent with the request if given.

    Raises:
        WeightsError: the hub cannot be reached, the file is larger, or the answer lacks the commit.
    """
    from huggingface_hub import get_session

    url = name_url(repo, filename, revision=revision, endpoint=endpoint)
    try:
        with get_session().stream(
            "GET", url, headers=_headers(token), timeout=TIMEOUT, follow_redirects=True
        ) as response:
            if response.status_code >= 400:
                return _refuse(repo, response.status_code)
            answers = [*response.history, response]
            commits = [found for answer in answers if (found := answer.headers.get("x-repo-commit"))]
            content = _read_at_most(response.iter_bytes(), MOST_SMALL, url)
    except _transport_errors() as error:
        raise WeightsError(f"{endpoint} cannot be reached ({_first_line(error)})") from error
    if not commits or not COMMIT.fullmatch(commits[0]):
        raise WeightsError(f"{endpoint} does not state the commit of {repo}/{filename}")
    return Answer(content, commits[0])


def name_url(repo: str, filename: str, *, revision: str, endpoint: str) -> str:
    """Where the hub has a file of a repository."""
    return f"{endpoint}/{repo}/resolve/{quote(revision, safe='')}/{quote(filename)}"


def _read_at_most(chunks: Iterator[bytes], most: int, url: str) -> bytes:
    content = b""
    for chunk in chunks:
        content += chunk
        if len(content) > most:
            raise WeightsError(f"{url} is larger than {most / 2**20:.0f} MiB, and no such file of dinoseg's")
    return content


def _refuse(repo: str, status: int) -> Refusal:
    return Refusal(repo, status, REASONS.get(status, f"answered with status {status}"))


def _head(url: str, token: str | None) -> Any:
    """Return the answer that carries the file's metadata: the last one on the hub's own host."""
    from huggingface_hub import get_session

    for _ in range(5):
        response = get_session().request(
            "HEAD", url, headers=_headers(token), timeout=TIMEOUT, follow_redirects=False
        )
        target = urljoin(url, response.headers.get("location", ""))
        # A redirect to a storage host is the goal; one on the same host is a renamed repository.
        if target == url or urlsplit(target).netloc != urlsplit(url).netloc or _linked(response.headers):
            return response
        url = target
    return response


def _linked(headers: Mapping[str, str]) -> bool:
    return "x-linked-etag" in headers


def _describe(repo: str, endpoint: str, headers: Mapping[str, str]) -> RemoteFile:
    etag = (headers.get("x-linked-etag") or headers.get("etag") or "").removeprefix("W/").strip('"')
    size = headers.get("x-linked-size") or headers.get("content-length") or ""
    commit = headers.get("x-repo-commit")
    if not _SHA256.fullmatch(etag) or not size.isdigit() or not commit:
        raise WeightsError(f"{endpoint} does not state version, size and sha256 of {repo}/{FILENAME}")
    return RemoteFile(repo, f"{endpoint}/{repo}/resolve/{commit}/{FILENAME}", int(size), etag)


def download(remote: RemoteFile, part: Path, *, token: str | None, progress: Progress) -> None:
    """Complete `part` (resuming what is there) and check its sha256.

    Args:
        remote: from `locate`.
        part: unfinished file; kept after a break, so that the next call goes on from there.
        token: sent to the hub, never to the storage host it redirects to.
        progress: counts pieces of 256 KiB.

    Raises:
        WeightsError: the connection keeps breaking, the disk is too small, or the checksum
            is wrong (then `part` is deleted).
    """
    _check_space(part, remote.size - _size(part))
    steps = -(-max(remote.size - _size(part), 0) // PIECE)
    pieces = _in_steps(_receive(remote, part, token=token))
    for _ in progress.track(pieces, total=steps, label=f"{remote.repo} ({_word_size(remote.size)})"):
        pass
    found = hash_file(part)
    if found != remote.sha256:
        part.unlink()
        raise WeightsError(
            f"{remote.repo}/{remote.filename} arrived damaged "
            f"(sha256 {found[:12]}…, stated {remote.sha256[:12]}…) and was deleted"
        )


@contextmanager
def lock_folder(folder: Path, what: str, progress: Progress) -> Iterator[None]:
    """Wait until no other process fetches into `folder`; `what` says in a note what is waited for."""
    from filelock import FileLock

    lock = folder / ".lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(lock, timeout=1))
        except TimeoutError:
            progress.note(f"{what}: another process is fetching the same; waiting for it")
            stack.enter_context(FileLock(lock))
        yield


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _receive(remote: RemoteFile, part: Path, *, token: str | None) -> Iterator[int]:
    """Append to `part` until it is complete; yield the number of bytes of each chunk."""
    failures = 0
    while (start := _size(part)) < remote.size:
        try:
            yield from _stream(remote, part, start=start, token=token)
        except _transport_errors() as error:
            failures = 0 if _size(part) > start else failures + 1
            if failures >= ATTEMPTS:
                raise WeightsError(
                    f"the connection for {remote.repo} broke {failures} times ({_first_line(error)}); "
                    f"the same command goes on from {_size(part) / 1e6:.0f} MB"
                ) from error
            time.sleep(PAUSE)


def _stream(remote: RemoteFile, part: Path, *, start: int, token: str | None) -> Iterator[int]:
    from huggingface_hub import get_session

    headers = _headers(token)
    if start:
        headers["Range"] = f"bytes={start}-"
    request = get_session().stream("GET", remote.url, headers=headers, timeout=TIMEOUT, follow_redirects=True)
    with request as response:
        _check_answer(remote, response.status_code)
        # 200 after a Range request: the server sends everything again.
        with part.open("ab" if response.status_code == 206 else "wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
                yield len(chunk)
    if _size(part) <= start:
        raise ConnectionError("the server sent nothing")


def _check_answer(remote: RemoteFile, status: int) -> None:
    if status in (200, 206):
        return
    if status in (408, 429) or status >= 500:
        raise ConnectionError(f"status {status}")
    raise WeightsError(f"{remote.repo} {_refuse(remote.repo, status).reason}")


def _in_steps(lengths: Iterator[int]) -> Iterator[int]:
    """Yield once per `PIECE` bytes, however the network cuts them, and once for the rest."""
    waiting = 0
    for length in lengths:
        waiting += length
        while waiting >= PIECE:
            waiting -= PIECE
            yield PIECE
    if waiting:
        yield waiting


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise WeightsError(
            f"{part.parent} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed; "
            f"free some space or set DINOSEG_HOME to another disk"
        )


def _headers(token: str | None) -> dict[str, str]:
    headers = {"User-Agent": f"dinoseg/{__version__}", "Accept-Encoding": "identity"}
    return {**headers, "Authorization": f"Bearer {token}"} if token else headers


def _transport_errors() -> tuple[type[Exception], ...]:
    """Errors of the connection; the hub's error tree knows which HTTP library this version uses."""
    from huggingface_hub.errors import HfHubHTTPError

    library_error = HfHubHTTPError.__bases__[0]
    return (library_error, ConnectionError, TimeoutError)


def _word_size(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 5e5 else f"{size / 1e3:.0f} kB"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
