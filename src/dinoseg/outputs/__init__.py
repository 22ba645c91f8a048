"""Writing: no file is ever half written, and only what dinoseg wrote is ever replaced."""

from __future__ import annotations

from dinoseg.outputs.files import (
    atomic_path,
    explain,
    refuse_existing,
    write_csv,
    write_json,
    write_text,
)
from dinoseg.outputs.manifest import claim, find_foreign, record, refuse_foreign, remove_ours
from dinoseg.outputs.plain import to_plain
from dinoseg.outputs.recognition import describe_ours, describe_part, is_ours, is_run, list_runs
from dinoseg.outputs.temporary import is_temporary, name_temporary, sweep

__all__ = [
    "atomic_path",
    "claim",
    "describe_ours",
    "describe_part",
    "explain",
    "find_foreign",
    "is_ours",
    "is_run",
    "is_temporary",
    "list_runs",
    "name_temporary",
    "record",
    "refuse_existing",
    "refuse_foreign",
    "remove_ours",
    "sweep",
    "to_plain",
    "write_csv",
    "write_json",
    "write_text",
]
