"""What an epoch costs once the features are remembered, in counts: no backbone, no picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dinoseg import train
from dinoseg.backbones.cache import EntryStore
from dinoseg.backbones.extractors import Extractor
from dinoseg.data.images import decoding, files
from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.training.learning.module import DecoderTraining
from tests.training.folders import NARROW

SETTINGS = {
    "train.epochs": 3,
    "train.views": 2,
    "train.min_bank": 1,
    "train.min_epoch_samples": 8,
    "model.preprocessing.size": 64,
}
PICTURES = 12
SAMPLED = 2 * 8  # image and mask of at most eight cases, however many there are


class Counts:
    """How often something expensive was called."""

    def __init__(self) -> None:
        self.calls = {"backbone": 0, "decode": 0, "open": 0, "write": 0}
        self.at_epochs: list[dict[str, int]] = []

    def wrap(self, patch: pytest.MonkeyPatch, owner: Any, name: str, key: str) -> None:
        original = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[key] += 1
            return original(*args, **kwargs)

        patch.setattr(owner, name, counted)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    counts = Counts()
    counts.wrap(monkeypatch, Extractor, "forward", "backbone")
    counts.wrap(monkeypatch, files, "read_samples", "decode")
    counts.wrap(monkeypatch, decoding, "reading", "open")
    counts.wrap(monkeypatch, EntryStore, "put", "write")
    start = DecoderTraining.on_train_epoch_start

    def note(module: DecoderTraining) -> None:
        counts.at_epochs.append(dict(counts.calls))
        start(module)

    monkeypatch.setattr(DecoderTraining, "on_train_epoch_start", note)
    return counts


@pytest.mark.parametrize("method", ["segdino-v1", "dino-unet"])
def test_an_epoch_opens_no_image_and_asks_no_backbone(method: str, counts: Counts, tmp_path: Path) -> None:
    """Neither in a step nor in the validation after it, whether the decoder looks at pixels or not."""
    data = write_phantoms(tmp_path / "data", kind="ultrasound", count=PICTURES, size=(48, 64))
    narrow = {f"model.decoder.{name}": value for name, value in NARROW[method].items()}
    changes = {**SETTINGS, **narrow, "cache.folder": str(tmp_path / "features")}
    train(data, method=method, backbone="untrained-vitt16", out=tmp_path / "first", changes=changes)
    assert counts.calls["backbone"] > 0
    assert counts.calls["decode"] > 0
    before = dict(counts.calls)
    counts.at_epochs.clear()
    train(data, method=method, backbone="untrained-vitt16", out=tmp_path / "second", changes=changes)
    assert counts.calls["backbone"] == before["backbone"]
    assert counts.calls["write"] == before["write"]
    first, *_, last = counts.at_epochs
    assert len(counts.at_epochs) == SETTINGS["train.epochs"]
    assert (
        first["decode"] - before["decode"] <= 3 * PICTURES + SAMPLED
    )  # what is checked of data before any training
    assert first == last == counts.calls  # nor after the last epoch


def test_a_first_epoch_reads_every_picture_once(counts: Counts, tmp_path: Path) -> None:
    """The bank is built from one decoding of each image, however many views there are."""
    data = write_phantoms(tmp_path / "data", kind="ultrasound", count=PICTURES, size=(48, 64))
    changes = {**SETTINGS, "train.views": 4, "cache.folder": str(tmp_path / "features")}
    train(data, method="linear", backbone="untrained-vitt16", out=tmp_path / "run", changes=changes)
    assert counts.calls["backbone"] > 2 * PICTURES
    # Checks and bank, each the image and the mask; one timed; and of a few cases whether the size resolves
    # them, how their features look mirrored, and how fine the detail is.
    assert counts.calls["decode"] <= 5 * PICTURES + 2 + 3 * SAMPLED
