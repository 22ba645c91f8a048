"""Every error that dinoseg raises on purpose.

    DinosegError                    1  something failed
    ├── OutputError                 1  an output exists already or cannot be written
    │   └── DiskFullError           1  there is no room for it
    ├── RunError                    1  a run folder is missing, incomplete or of another model
    ├── UsageError                  2  a wrong argument
    │   └── ConfigError             2  an unknown or invalid setting
    ├── DataError                   3  something is wrong with the data
    │   ├── FileFormatError         3  a file cannot be read
    │   ├── LayoutError             3  a folder's images and masks cannot be paired
    │   ├── LabelError              3  a mask's values or size make no sense
    │   └── SplitError              3  a split is missing or leaks
    └── WeightsError                4  backbone weights are missing, broken or of another model
        └── LicenseError            4  the backbone's licence has not been accepted

The number is the exit code of the command line. A message is one line: what was
given, what is accepted, and the command that fixes it.
"""

from __future__ import annotations


class DinosegError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class OutputError(DinosegError):
    """An output exists already (and overwriting was not asked for) or cannot be written."""


class DiskFullError(OutputError):
    """There is no room for an output; what was finished before is there."""


class RunError(DinosegError):
    """A run folder is missing, incomplete, or belongs to another model."""


class UsageError(DinosegError):
    """An argument has a value that is not accepted."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown or has an invalid value."""


class DataError(DinosegError):
    """Something is wrong with the data."""

    exit_code = 3


class FileFormatError(DataError):
    """A file is missing, truncated, of an unknown format, or holds values that are no image."""


class LayoutError(DataError):
    """Images and masks of a folder cannot be paired without guessing."""


class LabelError(DataError):
    """A mask's values or size do not fit its image or the classes."""


class SplitError(DataError):
    """A split is missing, empty, or lets a group or a duplicate cross."""


class WeightsError(DinosegError):
    """Backbone weights are missing, damaged, or of another architecture."""

    exit_code = 4


class LicenseError(WeightsError):
    """The licence of a backbone's weights has not been accepted yet."""
