"""`ServeOptions`: where a server listens, who may speak to it, and how much of anything it takes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dinoseg.errors import UsageError

MIB = 1 << 20
TOKEN_LENGTH = 16  # letters: too many to guess, whatever the speed
LOCAL = "127.0.0.1"
WIDEST = 2048  # px of a window, of which a few are in memory at once


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What `dinoseg serve` and `dinoseg teach` are told about serving.

    Attributes:
        host: address to listen on.
        port: 0 for a free one.
        token: what every request must bring; None on this machine only.
        names: further names that the server is reached by, such as that of a reverse proxy.
        origins: pages of other origins that may call it, such as `https://viewer.example`.
        upload_bytes: most bytes of a request.
        pixels: most pixels of an image.
        voxels: most voxels of a volume, all channels together.
        unpacked_bytes: most bytes that a zip may hold unpacked.
        members: most files in a zip.
        queue: most predictions that wait.
        uploads: most requests that bring files at once.
        kept: most finished jobs whose results are kept.
        kept_bytes: most bytes of their files.
        kept_seconds: how long they are kept.
        body_seconds: silence after which a request that is being read is given up.
        body_rate: bytes per second that a body must bring after that time.
        head_seconds: time for the first line and the headers of a request.
        job_seconds: time after which a prediction is given up.
        connections: most at once.
        studies: folder of the images that viewers open.
        label_studio: address of a Label Studio whose images may be fetched, such as `http://127.0.0.1:8080`.
        label_studio_token: what it is asked with.

    Raises:
        UsageError: the address is not this machine's and there is no token, a token is too short, or that of
            Label Studio is none.
    """

    host: str = LOCAL
    port: int = 8000
    token: str | None = None
    names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    upload_bytes: int = 1024 * MIB
    pixels: int = 50_000_000
    voxels: int = 500_000_000
    unpacked_bytes: int = 4096 * MIB
    members: int = 20_000
    queue: int = 16
    uploads: int = 8
    kept: int = 64
    kept_bytes: int = 2048 * MIB
    kept_seconds: float = 900.0
    body_seconds: float = 20.0
    body_rate: int = 2048
    head_seconds: float = 20.0
    job_seconds: float = 1800.0
    connections: int = 256
    studies: Path | None = None
    label_studio: str | None = None
    label_studio_token: str | None = None

    def __post_init__(self) -> None:
        if not self.is_local and self.token is None:
            raise UsageError(
                f"{self.host} can be reached from other machines and needs a token; add --token SECRET, or "
                f"leave --host out to serve this machine only ({LOCAL})"
            )
        if self.token is not None and (len(self.token) < TOKEN_LENGTH or not self.token.isascii()):
            raise UsageError(
                f"a token has at least {TOKEN_LENGTH} letters, digits or signs of ASCII, given "
                f'{len(self.token)}; make one with python -c "import secrets; print(secrets.token_urlsafe())"'
            )

        found = urlsplit(self.label_studio or "http://none")
        if found.scheme not in ("http", "https") or not found.hostname or "@" in found.netloc:
            raise UsageError(
                f"--label-studio {self.label_studio} is no address; give one such as http://127.0.0.1:8080"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the address."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's own, by name or address."""
    address = read_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def read_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A host as an address; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
