"""A bundle is served in a process where torch cannot be imported; run by a test, in one of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

for name in ("torch", "lightning", "monai", "transformers", "safetensors", "huggingface_hub", "onnx"):
    sys.modules[name] = None  # importing it is an error now

from starlette.testclient import TestClient  # noqa: E402

from dinoseg.model.saved import SavedModel  # noqa: E402
from dinoseg.serving.app import create_app  # noqa: E402
from dinoseg.serving.models import load_models  # noqa: E402


def serve(bundle: Path, image: Path, out: Path) -> None:
    """Send an image, and keep its mask."""
    app = create_app(load_models([SavedModel(bundle, threads=1)]))
    files = {"files": (image.name, image.read_bytes())}
    with TestClient(app, base_url="http://127.0.0.1") as client:
        models = client.get("/api/v1/models").json()
        out.write_bytes(client.post("/api/v1/predict?output=mask.png", files=files).content)
    sys.stdout.write(json.dumps(models) + "\n")


if __name__ == "__main__":
    serve(*(Path(word) for word in sys.argv[1:4]))
