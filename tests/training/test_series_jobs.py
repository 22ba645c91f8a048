"""A job is any settings and a folder: folds of one data set are jobs like draws are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dinoseg.config import from_yaml
from dinoseg.config.training import Training
from dinoseg.data import open_dataset
from dinoseg.data.splits.splits import load_splits
from dinoseg.model.settings import RunSettings
from dinoseg.progress import Silent
from dinoseg.training.fitting import find_splits
from dinoseg.training.runs.composition import compose_settings
from dinoseg.training.series.jobs import Job, Work, carry_out
from dinoseg.training.series.outcomes import Draw, gather, read_draw
from tests.training.series import TINY, hurry, stamps


def test_folds_are_jobs(data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    dataset = open_dataset(data)
    names = [case.id for case in dataset.cases]
    folds = [{"train": names[3:], "val": names[:3]}, {"train": names[:3] + names[6:], "val": names[3:6]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))
    how = Training(method="linear", backbone="untrained-vitt16", splits=tmp_path / "splits_final.json")
    changes = {**TINY, "cache.folder": str(cache)}

    def make_job(fold: int) -> Job:
        chosen = Training(**{**vars(how), "changes": {**changes, "fold": fold}})
        return Job(compose_settings(dataset, [data], chosen), tmp_path / f"fold-{fold}", f"fold {fold}")

    def read(job: Job) -> Draw:
        return read_draw(job.folder, job.settings, split="val", draw=job.settings.fold, trained_parameters=1)

    jobs, seen = [make_job(0), make_job(1)], []
    work = Work(
        dataset,
        "val",
        how,
        find_splits=lambda job: find_splits(dataset, job.settings),
        read=read,
        describe=lambda draw: draw.describe("val"),
    )
    found = carry_out(work, jobs, publish=lambda done: seen.append(len(done)), progress=Silent())
    assert seen == [1, 2]
    assert gather(found)[0].dice.draws == 2
    for fold, job in enumerate(jobs):
        assert from_yaml(RunSettings, (job.folder / "config.yaml").read_text()).fold == fold
        assert list(load_splits(job.folder / "splits.json").val) == folds[fold]["val"]
    before = stamps(tmp_path)
    assert carry_out(work, jobs, publish=lambda done: None, progress=Silent()) == found
    assert stamps(tmp_path) == before
