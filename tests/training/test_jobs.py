"""Feature jobs go to other processes and give there, bit for bit, what they give here."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dinoseg.backbones import create_backbone
from dinoseg.backbones.cache import EntryStore, FeatureCache
from dinoseg.config import BackboneSettings, PercentileIntensity, PreprocessingSettings
from dinoseg.data import open_dataset
from dinoseg.errors import WeightsError
from dinoseg.methods import decoder_settings
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from dinoseg.progress import Silent
from dinoseg.training.features.bank import ViewBank
from dinoseg.training.features.items import read_digests
from dinoseg.training.features.jobs import FeatureJob, FeatureWork
from tests.data.volume_folders import make_raw
from tests.training.folders import NARROW, make_data
from tests.training.test_bank import AUGMENTATION

VIEWS = 2


def make_bank(data: Path, folder: Path, *, method: str, volumes: bool) -> tuple[ViewBank, EntryStore]:
    dataset, vit = open_dataset(data), create_backbone("untrained-vitt16")
    intensity = PercentileIntensity() if volumes else None
    settings = ModelSettings(
        backbone=BackboneSettings(name="untrained-vitt16"),
        decoder=decoder_settings(method, **NARROW.get(method, {})),
        preprocessing=PreprocessingSettings(size=48, intensity=intensity),
        classes=dataset.classes,
    )
    store = EntryStore(folder, limit_gb=1)
    bank = ViewBank(
        dataset.cases[:3],
        dataset.labels,
        Segmenter(settings, vit),
        FeatureCache(vit, vit.digest, store),
        digests=read_digests(dataset.cases[:3]),
        augmentation=AUGMENTATION,
        views=VIEWS,
        seed=0,
    )
    return bank, store


def compute_jobs(work: FeatureWork, jobs: Sequence[FeatureJob], folder: Path) -> None:
    """What a worker does: no bank, no model, no progress."""
    store = EntryStore(folder, limit_gb=1)
    for job in jobs:
        for key, entry in work.compute(job).items():
            store.put(key, entry)


def entries(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("??/*.safetensors")}


@pytest.mark.parametrize(("method", "volumes"), [("dino-unet", False), ("linear", True)])
def test_two_processes_fill_what_the_bank_then_finds(method: str, volumes: bool, tmp_path: Path) -> None:
    """Also of a method that looks at the pixels, and of slices, whose volumes each process reads itself."""
    data = make_raw(tmp_path / "data", 4) if volumes else make_data(tmp_path / "data", count=6)
    here, _ = make_bank(data, tmp_path / "here", method=method, volumes=volumes)
    here.build(Silent())
    bank, _ = make_bank(data, tmp_path / "there", method=method, volumes=volumes)
    jobs = bank.list_jobs()
    assert sum(len(job.views) for job in jobs) == len(bank) * VIEWS
    spawn = multiprocessing.get_context("spawn")
    parts = (jobs[::2], jobs[1::2])
    workers = [
        spawn.Process(target=compute_jobs, args=(bank.work, part, tmp_path / "there")) for part in parts
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert entries(tmp_path / "there") == entries(tmp_path / "here")
    assert bank.list_jobs() == []


def test_only_what_is_missing_is_a_job(tmp_path: Path) -> None:
    bank, _ = make_bank(
        make_data(tmp_path / "data", count=6), tmp_path / "s", method="dino-unet", volumes=False
    )
    bank.build(Silent())
    (wanted,) = (bank._want(sample) for sample in [_sample(1, 1)])
    for key in (wanted.features, wanted.pixels):
        bank._store._path(key or "").unlink()
    (job,) = bank.list_jobs()
    (view,) = job.views
    assert (job.position, view.features, view.pixels, view.label) == (1, wanted.features, wanted.pixels, None)


def _sample(position: int, view: int) -> Any:
    from dinoseg.training.features.bank import Sample

    return Sample(position, view)


def test_equal_images_are_one_job(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", count=6)
    first, second, *_ = open_dataset(data).cases
    second.image.write_bytes(first.image.read_bytes())
    bank, _ = make_bank(data, tmp_path / "s", method="linear", volumes=False)
    features = [view.features for job in bank.list_jobs() for view in job.views if view.features]
    assert len(features) == len(set(features)) == (len(bank) - 1) * VIEWS


def test_no_network_travels_and_another_one_is_refused(tmp_path: Path) -> None:
    bank, _ = make_bank(make_data(tmp_path / "data", count=6), tmp_path / "s", method="linear", volumes=False)
    data = pickle.dumps(bank.work)
    assert len(data) < 20_000
    job = bank.list_jobs()[0]
    assert pickle.loads(data).compute(job).keys() == bank.work.compute(job).keys()
    vit = create_backbone("untrained-vitt16")
    other = data.replace(vit.digest.encode(), vit.digest[::-1].encode())
    with pytest.raises(WeightsError, match="meant was"):
        pickle.loads(other).compute(job)
