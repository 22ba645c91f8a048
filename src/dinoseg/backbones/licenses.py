"""The licences of backbone weights: shown once, accepted once, remembered."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Protocol

from dinoseg.backbones.catalog import DINOV3_LICENSE
from dinoseg.backbones.weights_settings import read_settings
from dinoseg.errors import LicenseError
from dinoseg.outputs import sweep, write_json
from dinoseg.progress import Progress, Silent

DINOV3_LICENSE_URL = "https://ai.meta.com/resources/models-and-libraries/dinov3-license/"

#: Our own summary; only the licence itself is binding.
DINOV3_NOTICE: tuple[str, ...] = (
    "DINOv3 weights come under Meta's DINOv3 License, not under dinoseg's Apache-2.0. In short:",
    "- you may use them, also commercially;",
    "- whoever passes on the weights or derivatives does so under the same agreement and adds a copy;",
    "- publications of results acknowledge DINOv3;",
    "- military, nuclear and weapons uses are excluded.",
    f"This is our summary; what counts is the text at {DINOV3_LICENSE_URL}",
)

_NOTICES: dict[str, tuple[str, ...]] = {DINOV3_LICENSE: DINOV3_NOTICE}


class Licensed(Protocol):
    """What has a licence: a row of the catalog, or the backbone in a bundle."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def license(self) -> str:
        """Name of the licence of the weights."""


def needs_acceptance(spec: Licensed) -> bool:
    """Whether the licence of `spec` has to be accepted before its weights are used."""
    return spec.license in _NOTICES


def is_accepted(license_name: str, *, home: Path | None = None) -> bool:
    """Whether this person accepted the licence before."""
    return license_name in _read_acceptances(_file(home))


def require_license(
    spec: Licensed, *, accept: bool, progress: Progress | None = None, home: Path | None = None
) -> None:
    """Go on only if the licence of `spec` needs no acceptance, was accepted, or is accepted now.

    Args:
        spec: the backbone.
        accept: the person accepts the licence with this call; it is remembered.
        progress: where the notice is shown, the first time only.
        home: dinoseg's folder; read from the environment if not given.

    Raises:
        LicenseError: the licence is not accepted; the message names `--accept-license`.
    """
    if needs_acceptance(spec) and not is_accepted(spec.license, home=home):
        _ask(spec.license, f"{spec.name} needs", accept=accept, progress=progress, home=home)


def require_license_to_pass_on(
    license_name: str, *, accept: bool, progress: Progress | None = None, home: Path | None = None
) -> None:
    """Go on only if the licence of weights that are passed on needs no acceptance, or is accepted now.

    It is asked for each time: who uses the weights is not always who passes them on.

    Raises:
        LicenseError: the licence is not accepted; the message names `--accept-license`.
    """
    if license_name in _NOTICES:
        _ask(license_name, "passing on these weights needs", accept=accept, progress=progress, home=home)


def _ask(
    license_name: str, subject: str, *, accept: bool, progress: Progress | None, home: Path | None
) -> None:
    shown = progress if progress is not None else Silent()
    for line in _NOTICES[license_name]:
        shown.note(line)
    if not accept:
        raise LicenseError(
            f"{subject} the DINOv3 License to be accepted once; read {DINOV3_LICENSE_URL} "
            f"and repeat the command with --accept-license"
        )
    _remember(license_name, _file(home))


def _file(home: Path | None) -> Path:
    return (home if home is not None else read_settings().home) / "licenses.json"


def _read_acceptances(path: Path) -> dict[str, str]:
    try:
        accepted = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Missing or unreadable means not accepted: the person is asked again.
        return {}
    return accepted if isinstance(accepted, dict) else {}


def _remember(license_name: str, path: Path) -> None:
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    sweep(path.parent.glob(".*"))
    write_json(path, {**_read_acceptances(path), license_name: now}, overwrite=True)
