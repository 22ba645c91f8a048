"""More scans than one machine does: a cluster computes, an object store holds them."""

from __future__ import annotations

from dinoseg.cohorts.cluster import OnRay
from dinoseg.cohorts.remote import is_remote, predict_remote

__all__ = ["OnRay", "is_remote", "predict_remote"]
