"""Several processes that do one thing together: who takes what, and waiting for one another.

They are started by somebody else: `dinoseg train --devices`, torchrun, or SLURM. One process alone is a
group as well, which waits for nobody and needs no torch.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from dinoseg.errors import RunError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
PATIENCE = datetime.timedelta(hours=2)  # the others may compute features that long before they meet


@dataclass(frozen=True)
class Processes:
    """This process among those that work together.

    Attributes:
        rank: number of this one, from 0.
        count: how many there are.
        local: number of this one on its machine, from 0.
        nodes: machines.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    nodes: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this one writes, and shows progress."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The part of `items` that this process takes: every `count`-th."""
        return items[self.rank :: self.count]

    def wait(self) -> None:
        """Go on when all have come here.

        Raises:
            RunError: another process is gone.
        """
        if self.count > 1:
            with _explained():
                _distributed().barrier()

    def gather(self, value: T) -> list[T]:
        """What every process has, in their order; the same list everywhere."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        with _explained():
            _distributed().all_gather_object(found, value)
        return found

    def tell(self, value: T) -> T:
        """What the first process has; those of the others are dropped."""
        if self.count == 1:
            return value
        told: list[Any] = [value]
        with _explained():
            _distributed().broadcast_object_list(told, src=0)
        found: T = told[0]
        return found

    def total(self, value: Tensor) -> Tensor:
        """Sum of a tensor over all processes, the same everywhere, through which a gradient flows.

        Where all processes go on to the same loss, the gradient of each is `count` times that of its own
        part, so that the mean over the processes is the gradient of one process with all parts.
        """
        if self.count == 1:
            return value
        import torch

        class Total(torch.autograd.Function):
            @staticmethod
            def forward(_: Any, part: Tensor) -> Tensor:
                whole = part.clone()
                _distributed().all_reduce(whole)
                return whole

            @staticmethod
            def backward(_: Any, gradient: Tensor) -> Tensor:
                return gradient * self.count

        summed: Tensor = Total.apply(value)  # type: ignore[no-untyped-call]
        return summed


ALONE = Processes()


@contextmanager
def connect(devices: int, nodes: int, *, device: str) -> Iterator[Processes]:
    """Meet the other processes, which were started with the same arguments.

    Args:
        devices: processes on each machine.
        nodes: machines.
        device: "cpu" or "cuda": what they compute on.

    Raises:
        UsageError: nobody started so many processes, or somebody started others.
        RunError: they do not find each other.
    """
    launched = _find_environment(devices * nodes)
    if launched is None:
        if devices * nodes > 1:
            raise UsageError(
                f"devices={devices} and nodes={nodes} are {devices * nodes} processes, and this is one; "
                f"start them with `dinoseg train --devices {devices}`, or `torchrun --nnodes {nodes} "
                f"--nproc-per-node {devices} PROGRAM`"
            )
        yield ALONE
        return
    if launched.world_size() != devices * nodes:
        raise UsageError(
            f"{launched.world_size()} processes were started, and devices={devices} times nodes={nodes} are "
            f"{devices * nodes}; let the two agree"
        )
    found = Processes(launched.global_rank(), devices * nodes, launched.local_rank(), nodes)
    distributed = _distributed()
    with _explained():
        distributed.init_process_group(
            backend="cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo",
            init_method=f"tcp://{launched.main_address}:{launched.main_port}",
            rank=found.rank,
            world_size=found.count,
            timeout=PATIENCE,
        )
    try:
        yield found
    finally:
        distributed.destroy_process_group()


def _find_environment(count: int) -> Any:
    """What torchrun or SLURM says about this process, or None where neither started several."""
    distributed = _distributed()
    elastic = distributed.is_available() and distributed.is_torchelastic_launched()
    if count == 1 and not elastic:
        return None
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if elastic:
        found: Any = TorchElasticEnvironment()
        return found if count > 1 or found.world_size() > 1 else None
    return SLURMEnvironment() if SLURMEnvironment.detect() else None


def _distributed() -> Any:
    import torch.distributed

    return torch.distributed


@contextmanager
def _explained() -> Iterator[None]:
    """Say in one line that another process is gone, or never came."""
    try:
        yield
    except RuntimeError as error:  # torch's, of its network
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise RunError(
            f"another process of this training is gone or was never there ({reason}); look at its last "
            "lines, then run the same command with --resume"
        ) from error
