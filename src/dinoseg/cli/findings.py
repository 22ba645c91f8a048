"""What `dinoseg doctor` looks at: each check returns what it found, and the fix where something is broken."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from dinoseg.backbones.weights_settings import WeightsSettings, read_settings
from dinoseg.extras import EXTRAS, install_line

PACKAGES = (
    *("numpy", "scipy", "pillow", "tifffile", "nibabel"),
    *("h5py", "pydantic", "typer", "rich", "matplotlib"),
)
LITTLE_SPACE = 5e9  # bytes; features of some thousand images, and a backbone
SECONDS_FOR_AN_IMPORT = 60
SECONDS_FOR_THE_HUB = 5


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        state: "ok", "note" (worth knowing, nothing breaks) or "problem".
        text: what was found.
        fix: what to do about a problem.
    """

    subject: str
    state: Literal["ok", "note", "problem"]
    text: str
    fix: str = ""


def examine(*, network: bool) -> list[Finding]:
    """Look at everything; the hub only if `network`."""
    settings = read_settings()
    findings = [_check_python(), *_check_packages(), *_check_extras(), _check_torchvision()]
    if find_spec("torch") is not None:
        findings += [_check_processor(), _check_accelerators()]
    findings += [_check_folder("home folder", settings.home), _check_folder("working folder", Path.cwd())]
    findings += [_check_folder("temporary folder", Path(tempfile.gettempdir()))]
    findings += [_check_space(settings), _check_cache(settings), _check_hub(settings, network=network)]
    return findings


def _check_python() -> Finding:
    text = f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", "ok", text)
    return Finding("python", "problem", text, "use Python 3.10 to 3.13")


def _check_packages() -> Iterator[Finding]:
    from dinoseg import __version__

    yield Finding("dinoseg", "ok", __version__)
    for name in PACKAGES:
        version = find_version(name)
        if version is None:
            yield Finding(name, "problem", "not installed", f"pip install {name}")
        else:
            yield Finding(name, "ok", version)


def _check_extras() -> Iterator[Finding]:
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages if find_version(name) is None]
        found = ", ".join(f"{name} {find_version(name)}" for name in packages if name not in missing)
        text = f"not installed: {', '.join(missing)}; {install_line(extra)}" if missing else found
        yield Finding(f"extra {extra}", "note" if missing else "ok", text)


def _check_torchvision() -> Finding:
    # dinoseg does not use it, but lightning imports one that is there, and fails with it.
    if find_spec("torchvision") is None:
        return Finding("torchvision", "ok", "not installed, and not needed")
    command = [sys.executable, "-c", "import torchvision"]
    import subprocess  # here: no --help should wait for it

    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=SECONDS_FOR_AN_IMPORT
    )
    if result.returncode == 0:
        return Finding("torchvision", "ok", f"{find_version('torchvision')}, not needed")
    reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
    fix = "it does not fit this torch and is not needed: pip uninstall torchvision"
    return Finding(
        "torchvision", "problem", f"{find_version('torchvision')} cannot be imported: {reason}", fix
    )


def _check_processor() -> Finding:
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    text = f"{platform.machine()}, {capability}, {torch.get_num_threads()} threads"
    # Older releases of torch cannot say what the processor does in hardware.
    if not hasattr(torch.cpu, "get_capabilities"):
        return Finding("processor", "ok", text)
    bfloat16 = any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)
    return Finding("processor", "ok", f"{text}, bfloat16 {'in hardware' if bfloat16 else 'not in hardware'}")


def _check_accelerators() -> Finding:
    import torch

    found = [
        f"cuda:{index} {torch.cuda.get_device_name(index)}, "
        f"{_gigabytes(torch.cuda.get_device_properties(index).total_memory)}"
        for index in range(torch.cuda.device_count())
    ]
    found += ["mps"] if torch.backends.mps.is_available() else []
    built = f"torch built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch built for the CPU"
    if found:
        return Finding("accelerators", "ok", f"{'; '.join(found)} ({built})")
    return Finding("accelerators", "note", f"none found ({built}); everything runs on the CPU")


def _check_folder(subject: str, folder: Path) -> Finding:
    parent = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=parent) as file:
            file.write(b"dinoseg")
    except OSError as error:
        fix = f"make {parent} writable, or set DINOSEG_HOME to another folder"
        return Finding(subject, "problem", f"{folder} is not writable: {error.strerror}", fix)
    return Finding(subject, "ok", f"{folder}, writable")


def _check_space(settings: WeightsSettings) -> Finding:
    free = shutil.disk_usage(_existing(settings.home)).free
    state: Literal["ok", "note"] = "ok" if free > LITTLE_SPACE else "note"
    return Finding("disk", state, f"{_gigabytes(free)} free for {settings.home}")


def _check_cache(settings: WeightsSettings) -> Finding:
    sizes = {name: _size(settings.home / name) for name in ("features", "weights")}
    text = ", ".join(f"{name} {_gigabytes(size)}" for name, size in sizes.items())
    return Finding("kept on disk", "ok", f"{text}; both can be deleted at any time")


def _check_hub(settings: WeightsSettings, *, network: bool) -> Finding:
    if not network:
        return Finding("hub", "ok", f"{settings.endpoint} not asked (--network asks)")
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(settings.endpoint, method="HEAD"), timeout=SECONDS_FOR_THE_HUB):
            pass
    except HTTPError:
        pass  # an answer, even one that refuses, comes from a hub that can be reached
    except (OSError, ValueError) as error:
        text = f"{settings.endpoint} cannot be reached: {error}; weights that are here already still work"
        return Finding("hub", "note", text)
    return Finding("hub", "ok", f"{settings.endpoint} can be reached")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"


def find_version(package: str) -> str | None:
    """The installed version, found without importing it; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
