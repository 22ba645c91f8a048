"""A process that keeps strokes and says the name of each once it is kept, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

from dinoseg.teaching.records import Records
from dinoseg.teaching.strokes import Stroke

if __name__ == "__main__":
    records = Records(Path(sys.argv[1]))
    number = len(records.list_strokes())
    while True:
        stroke = Stroke("brush", 1, radius=2.0, points=tuple((float(n), float(number)) for n in range(50)))
        records.add_stroke("image", f"stroke-{number}", stroke)
        sys.stdout.write(f"stroke-{number}\n")
        sys.stdout.flush()
        number += 1
