"""Options of `predict` for more files than one machine does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dinoseg.errors import UsageError

if TYPE_CHECKING:
    from dinoseg.cohorts.cluster import OnRay
    from dinoseg.model.saved import SavedModel


def choose_runner(
    model: SavedModel, cluster: str | None, *, workers: int | None, gpus: float | None, threads: int | None
) -> OnRay | None:
    """What computes; None for this process.

    Raises:
        UsageError: the cluster is none, or its options were given without one.
    """
    if cluster is None:
        for option, given in (("--workers", workers), ("--gpus", gpus)):
            if given is not None:
                raise UsageError(f"{option} is for the workers of a cluster; name one with --cluster ray")
        return None
    from dinoseg.cohorts.cluster import OnRay

    return OnRay(model, workers=workers or 2, gpus=gpus or 0.0, threads=threads or 1, cluster=cluster)


def refuse_here(*, review: bool, volume_format: str | None, runner: OnRay | None) -> None:
    """Raise `UsageError` for what files of a store do not go with."""
    given = {"--review": review, "--format": volume_format is not None, "--cluster": runner is not None}
    if wrong := [option for option, there in given.items() if there]:
        raise UsageError(
            f"{' and '.join(wrong)} cannot be had where files lie in a store; leave it out, or take "
            "--shard I/N for jobs side by side"
        )
