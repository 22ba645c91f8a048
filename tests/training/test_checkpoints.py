"""Checkpoints and models on a disk that fills up, and checkpoints that are damaged."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dinoseg.errors import OutputError, RunError
from dinoseg.training.learning.callbacks import AtomicCheckpointIO
from dinoseg.training.learning.checkpoints import read_checkpoint
from tests.inference.models import BINARY, make_glass

resource = pytest.importorskip("resource", reason="file sizes can be limited on Unix only")


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """The kernel refuses to write beyond `limit` bytes of a file, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_checkpoint_that_the_disk_refuses(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state": torch.zeros(3)}, path)
    with small_files(10_000), pytest.raises(OutputError, match=r"last\.ckpt could not be written") as caught:
        AtomicCheckpointIO().save_checkpoint({"state": torch.ones(10_000)}, path)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert read_checkpoint(path)["state"].tolist() == [0, 0, 0]
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_model_that_the_disk_refuses(tmp_path: Path) -> None:
    with small_files(50), pytest.raises(OutputError, match=r"decoder\.safetensors could not be written"):
        make_glass(BINARY).save(tmp_path / "model")
    assert not list((tmp_path / "model").iterdir())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_damaged_checkpoint_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(RunError, match=r"last\.ckpt is damaged; restore it, or choose another --out"):
        AtomicCheckpointIO().load_checkpoint(path)
