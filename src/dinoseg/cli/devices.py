"""Where to compute: a device is there, or the command ends before any work is done."""

from __future__ import annotations

from dinoseg.errors import UsageError


def check_device(name: str) -> str:
    """Return `name` if torch can compute there now.

    Raises:
        UsageError: there is no such device on this machine.
    """
    import torch

    try:
        torch.zeros(1, device=torch.device(name)).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"device {name!r} cannot be used here; accepted on this machine: {', '.join(list_devices())}"
        ) from error
    return name


def list_devices() -> list[str]:
    """Names of the devices that are there: cpu, and the accelerators of this machine."""
    import torch

    devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*devices, "mps"] if torch.backends.mps.is_available() else devices


def limit_threads(threads: int | None) -> None:
    """Let torch compute on `threads` cores; all of them if `None`."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
