"""What a bundle does in a process where torch cannot be imported; run by the tests, in one of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

for name in ("torch", "lightning", "monai", "transformers", "safetensors", "huggingface_hub", "onnx"):
    sys.modules[name] = None  # importing it is an error now

import numpy as np  # noqa: E402

import dinoseg  # noqa: E402
from dinoseg.cli import main  # noqa: E402


def run(bundle: Path, images: Path, out: Path, engine: str, *options: str) -> None:
    """Predict a folder on the command line, and one of its files in memory."""
    words = ["predict", str(bundle), str(images), "--out", str(out), "--engine", engine, "--threads", "1"]
    code = main([*words, *options])
    model = dinoseg.load(bundle, engine=engine, threads=1)
    first = sorted(path for path in images.rglob("*") if path.is_file())[0]
    found = dinoseg.predict(model, images if "--format" in options else first)
    facts = {"code": code, "classes": len(model.classes), "mask": np.unique(found.mask).tolist()}
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    run(*(Path(word) for word in sys.argv[1:4]), *sys.argv[4:])
