"""Images of Label Studio's tasks: sent with the task, in the folder of the studies, or on its server alone.

A task names any address; only what the server was started with is ever opened or asked.
"""

from __future__ import annotations

import base64
import io
import re
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO, BinaryIO, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from dinoseg.serving.options import ServeOptions
from dinoseg.serving.refusals import Refusal
from dinoseg.serving.uploads import INPUT, store_files

_SECONDS = 30.0
_LOCAL = "/data/local-files/"
_ODD = re.compile(r"[\x00-\x20\x7f\\]")
_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/tiff": ".tif",
    "image/bmp": ".bmp",
}
_NAMED = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_ACCEPTED = (
    "accepted are data:image/…, /data/upload/…, /data/local-files/?d=… and addresses below --label-studio"
)


class _NoRedirect(HTTPRedirectHandler):
    """An answer that leads elsewhere is an error: elsewhere may be a place that nobody allowed."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


# What the environment says of proxies is for other programs: the address is that of a server at hand.
_OPENER = build_opener(ProxyHandler({}), _NoRedirect)


def take_image(address: str, folder: Path, options: ServeOptions) -> tuple[Path, str]:
    """The image that a task names: a path that `accept_source` takes, and a name.

    Args:
        address: what the task says.
        folder: new; what was sent or fetched is stored there.
        options: the folder and the server that may be used.

    Raises:
        Refusal: 422 for any other address, or where nothing is there; 413 where it is too large.
    """
    if address.startswith("data:"):
        return _store(*_read_sent(address), folder)
    if _ODD.search(address):
        raise Refusal(422, f"{address[:60]!r} is no address; {_ACCEPTED}")
    inside = _find_on_label_studio(address, options)
    local = _find_local(inside, options)
    if local is not None:
        return local, local.name
    if options.label_studio is None:
        raise Refusal(422, f"{address[:80]!r} is on Label Studio; start the server with --label-studio URL")
    return _fetch(inside, folder, options)


def _store(name: str, content: BinaryIO, folder: Path) -> tuple[Path, str]:
    folder.mkdir()
    (safe,) = store_files([(name, content)], folder / INPUT)
    return folder / INPUT / safe, safe


def _read_sent(address: str) -> tuple[str, BinaryIO]:
    head, comma, data = address.partition(",")
    kind = head.removeprefix("data:").removesuffix(";base64")
    if not comma or not head.endswith(";base64") or kind not in _SUFFIXES:
        raise Refusal(422, f"{head[:60]!r} is not accepted; send data:{' or '.join(_SUFFIXES)};base64,…")
    try:
        return f"image{_SUFFIXES[kind]}", io.BytesIO(base64.b64decode(data, validate=True))
    except ValueError as error:
        raise Refusal(422, "the image in the task is not base64") from error


def _find_on_label_studio(address: str, options: ServeOptions) -> str:
    """Path and query of an address of Label Studio's own."""
    parts = urlsplit(address)
    base = urlsplit(options.label_studio or "")
    if parts.scheme or parts.netloc:
        is_there = (parts.scheme, parts.netloc.lower()) == (base.scheme, base.netloc.lower())
        if not (is_there and base.netloc):
            raise Refusal(422, f"{address[:80]!r} is not fetched; {_ACCEPTED}")
    path = unquote(parts.path)
    if not path.startswith("/") or ".." in path.split("/"):
        raise Refusal(422, f"{address[:80]!r} is not accepted; {_ACCEPTED}")
    if not parts.netloc:
        path = f"{base.path.rstrip('/')}{path}"
    if not path.startswith(f"{base.path.rstrip('/')}/"):
        raise Refusal(422, f"{address[:80]!r} is not below {options.label_studio}")
    return quote(path) + (f"?{quote(parts.query, safe='=&%/')}" if parts.query else "")


def _find_local(inside: str, options: ServeOptions) -> Path | None:
    """The file of `/data/local-files/?d=PATH` in the folder of the studies; None where it is not there."""
    parts = urlsplit(inside)
    named = parse_qs(parts.query).get("d", [""])[0]
    if options.studies is None or not parts.path.endswith(_LOCAL) or not named:
        return None
    root = options.studies.resolve()
    path = (root / named).resolve()
    if not path.is_relative_to(root):
        raise Refusal(422, f"{named[:80]!r} is not in the folder of --studies")
    return path if path.is_file() else None


def _fetch(inside: str, folder: Path, options: ServeOptions) -> tuple[Path, str]:
    base = urlsplit(str(options.label_studio))
    request = Request(f"{base.scheme}://{base.netloc}{inside}")
    if options.label_studio_token is not None:
        request.add_unredirected_header("Authorization", f"Token {options.label_studio_token}")
    try:
        with _OPENER.open(request, timeout=_SECONDS) as answer:
            name = _name(inside, answer.headers.get_content_type())
            return _store(name, cast(BinaryIO, _Limited(answer, options.upload_bytes)), folder)
    except (OSError, ValueError, HTTPException) as error:
        told = getattr(error, "reason", None) or error
        raise Refusal(422, f"Label Studio did not give {inside[:80]}: {told}; is the token right?") from error


def _name(inside: str, kind: str) -> str:
    """A name that says the format."""
    name = Path(unquote(urlsplit(inside).path)).name or "image"
    return name if Path(name).suffix.lower() in _NAMED else f"{name}{_SUFFIXES.get(kind, '')}"


class _Limited:
    """An answer that is read no further than it may."""

    def __init__(self, answer: IO[bytes], most: int) -> None:
        self._answer = answer
        self._most = self._left = most

    def read(self, size: int) -> bytes:
        """As of a file."""
        try:
            chunk = self._answer.read(size)
        except (OSError, HTTPException) as error:
            raise Refusal(422, f"Label Studio broke off: {error}") from error
        self._left -= len(chunk)
        if self._left < 0:
            raise Refusal(
                413, f"an image of a task is larger than {self._most:,} bytes; raise --upload-limit"
            )
        return chunk
