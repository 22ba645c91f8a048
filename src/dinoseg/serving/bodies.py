"""What requests bring: no more bytes than allowed, at no less than a slow line's speed, a few at a time."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dinoseg.serving.options import ServeOptions
from dinoseg.serving.refusals import Refusal, refuse

_LARGE = 1 << 20  # bytes from which a body counts as an upload


class Bodies:
    """Refuses bodies that are too large, whether they say so or not, too slow, or too many at once.

    Args:
        app: what reads them.
        options: the limits.
    """

    def __init__(self, app: ASGIApp, *, options: ServeOptions) -> None:
        self.app = app
        self.options = options
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            length = find_length(Headers(scope=scope))
        except ValueError:
            await refuse(400, "the header Content-Length is no number")(scope, receive, send)
            return
        if length is not None and length > self.options.upload_bytes:
            await refuse(413, self._word_size(), {"Connection": "close"})(scope, receive, send)
        elif length is None or length < _LARGE:
            await self.app(scope, self._limiting(receive), send)
        elif self._uploads >= self.options.uploads:
            busy = f"{self._uploads} uploads are under way; try again in some seconds"
            await refuse(429, busy, {"Retry-After": "5", "Connection": "close"})(scope, receive, send)
        else:
            await self._take_upload(scope, receive, send)

    async def _take_upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._uploads += 1
        try:
            await self.app(scope, self._limiting(receive), send)
        finally:
            self._uploads -= 1

    def _limiting(self, receive: Receive) -> Receive:
        taken, started, ended = 0, time.monotonic(), False
        options = self.options

        async def take() -> Message:
            nonlocal taken, ended
            if ended:  # what comes now is that the client goes away, for which nobody waits
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), options.body_seconds)
            except asyncio.TimeoutError:  # another class before Python 3.11
                raise _close(408, self._word_slow()) from None
            taken += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if taken > options.upload_bytes:
                raise _close(413, self._word_size())
            passed = time.monotonic() - started
            if not ended and passed > options.body_seconds and taken < passed * options.body_rate:
                raise _close(408, self._word_slow())
            return message

        return take

    def _word_size(self) -> str:
        most = self.options.upload_bytes
        return f"the request is larger than {most:,} bytes; raise --upload-limit, or send less"

    def _word_slow(self) -> str:
        return (
            f"the request came too slowly: wanted are {self.options.body_rate:,} bytes a second at "
            f"least, and no silence of {self.options.body_seconds:g} s"
        )


def _close(status: int, detail: str) -> Refusal:
    """A refusal after which the connection ends: what is left of the body is not wanted."""
    return Refusal(status, detail, headers={"Connection": "close"})


def find_length(headers: Headers) -> int | None:
    """What a request says of its size in bytes; None where it says nothing.

    Raises:
        ValueError: it is no number.
    """
    text = headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)
