"""Export: a trained model as a bundle that needs no torch: graphs, and all that is around them."""

from __future__ import annotations

from dinoseg.export.exporter import Export, export

__all__ = ["Export", "export"]
