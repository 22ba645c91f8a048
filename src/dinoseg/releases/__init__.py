"""Checkpoints of the released programs become run folders of ours."""

from __future__ import annotations

from dinoseg.releases.importer import import_checkpoint

__all__ = ["import_checkpoint"]
