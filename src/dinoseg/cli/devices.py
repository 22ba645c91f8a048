"""Where to compute: a device is there, or the command ends before any work is done."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dinoseg.errors import UsageError
from dinoseg.extras import require

if TYPE_CHECKING:
    from dinoseg.config import BackboneEngine
    from dinoseg.model.saved import SavedModel

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
LARGEST = 2**31 - 1


def name_model(
    folder: Path,
    *,
    backbone: str | None,
    accept_license: bool,
    device: str,
    precision: Literal["float32", "bfloat16"] | None,
    engine: BackboneEngine | None,
    threads: int | None,
) -> SavedModel:
    """A run folder or a bundle that is loaded later, with `threads` cores to compute on.

    Raises:
        UsageError: the device of a run folder is not there.
    """
    from dinoseg.model.bundles import is_bundle
    from dinoseg.model.saved import SavedModel

    if is_bundle(folder):
        return SavedModel(folder, backbone, accept_license, device, precision, engine, threads)
    require("torch", f"the run folder {folder}, unlike a bundle,")
    limit_threads(threads)
    return SavedModel(folder, backbone, accept_license, check_device(device), precision, engine)


def check_device(name: str, *, training: bool = False) -> str:
    """Return `name` if torch can compute there now; with `training`, errors list where training runs.

    Raises:
        UsageError: there is no such device on this machine.
    """
    import torch

    try:
        torch.zeros(1, device=torch.device(name)).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        accepted = ", ".join(list_devices(training=training))
        raise UsageError(
            f"device {name!r} cannot be used here; accepted on this machine: {accepted}"
        ) from error
    return name


def list_devices(*, training: bool = False) -> list[str]:
    """Names of the devices that are there: cpu, and the accelerators; mps only where not for `training`."""
    import torch

    devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*devices, "mps"] if torch.backends.mps.is_available() and not training else devices


def limit_threads(threads: int | None) -> None:
    """Let torch compute on `threads` cores; all of them if `None`."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def keep_freed_memory() -> bool:
    """Let the process keep large blocks it has freed, for the next step to use again.

    glibc gives blocks above 32 MiB back to the system at once, and a training step that
    allocates its maps anew spends up to half its time on page faults. The price is that the
    process keeps its highest memory until it ends, so this is for programs, not for libraries.

    Returns:
        Whether the C library here has the setting (glibc: Linux).
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if set_option is None:
        return False
    return bool(set_option(M_MMAP_THRESHOLD, LARGEST)) and bool(set_option(M_TRIM_THRESHOLD, LARGEST))
