"""The licence of the backbone's weights, which travels with them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from dinoseg.backbones.backbone import Backbone
from dinoseg.backbones.licenses import DINOV3_LICENSE_URL, needs_acceptance
from dinoseg.errors import LicenseError

NAMES = ("LICENSE.md", "LICENSE.txt", "LICENSE", "LICENCE")
_APACHE = "apache-2.0"


def find_license(backbone: Backbone, place: Path | None, given: Path | None) -> str:
    """The text that is passed on with the weights.

    Args:
        backbone: whose weights they are.
        place: folder that its weights lie in, where it is known; a licence in it is taken.
        given: a file to take instead.

    Raises:
        LicenseError: the licence wants a copy of its text, and there is none; or it cannot be read.
    """
    folders = [] if place is None else [place / name for name in NAMES]
    for path in [given] if given is not None else folders:
        if given is not None or path.is_file():
            return _read(path)
    if backbone.license == _APACHE:
        return resources.files("dinoseg.export").joinpath("Apache-2.0.txt").read_text(encoding="utf-8")
    if needs_acceptance(backbone):
        raise LicenseError(
            f"whoever passes on {backbone.name} adds a copy of its licence, and none lies beside its "
            f"weights; save {DINOV3_LICENSE_URL} as text and name it with --license-file"
        )
    return (
        f"The weights of the backbone {backbone.name} ({backbone.source}) come under the licence: "
        f"{backbone.license}.\nNo text of a licence lay beside them when this bundle was exported.\n"
    )


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise LicenseError(f"{path} cannot be read ({error}); name the text with --license-file") from error
    if not text:
        raise LicenseError(f"{path} is empty; name the text of the licence with --license-file")
    return text + "\n"
