"""`python -m dinoseg` is the same as `dinoseg`."""

from __future__ import annotations

import sys

from dinoseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
