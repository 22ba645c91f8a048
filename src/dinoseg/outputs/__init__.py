"""Writing: no file is ever half written, and only what dinoseg wrote is ever replaced."""

from __future__ import annotations

from dinoseg.outputs.failures import explain, fail
from dinoseg.outputs.files import atomic_files, atomic_folder, atomic_path, write_csv, write_json, write_text
from dinoseg.outputs.manifest import (
    claim,
    find_foreign,
    is_claimed,
    lent,
    list_files,
    record,
    refuse_foreign,
    remove_ours,
)
from dinoseg.outputs.plain import digest_json, to_plain
from dinoseg.outputs.recognition import describe_ours, describe_part, is_ours, is_run, list_runs
from dinoseg.outputs.refusals import holds_files, refuse_existing, refuse_filled, refuse_taken
from dinoseg.outputs.temporary import is_temporary, name_temporary, sweep

__all__ = [
    "atomic_files",
    "atomic_folder",
    "atomic_path",
    "claim",
    "describe_ours",
    "describe_part",
    "digest_json",
    "explain",
    "fail",
    "find_foreign",
    "holds_files",
    "is_claimed",
    "is_ours",
    "is_run",
    "is_temporary",
    "lent",
    "list_files",
    "list_runs",
    "name_temporary",
    "record",
    "refuse_existing",
    "refuse_filled",
    "refuse_foreign",
    "refuse_taken",
    "remove_ours",
    "sweep",
    "to_plain",
    "write_csv",
    "write_json",
    "write_text",
]
