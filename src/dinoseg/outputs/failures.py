"""Why something could not be written, as one of our errors."""

from __future__ import annotations

import errno

from dinoseg.errors import DiskFullError, OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def explain(error: OSError) -> str:
    """Why something could not be written, and what helps."""
    if error.errno in _FULL:
        return "the disk is full; free some space"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return "the folder is not writable; choose another one with --out"
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return "a part of its path is a file, not a folder; choose another one with --out"
    return str(error)


def fail(what: str, error: OSError) -> OutputError:
    """The error to raise; a full disk is one of its own, because then the same command can go on.

    Args:
        what: the first half of the sentence, such as "a.png could not be written".
        error: what the system said.
    """
    return (DiskFullError if error.errno in _FULL else OutputError)(f"{what}: {explain(error)}")
