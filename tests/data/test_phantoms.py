"""Drawn pictures: seeded, exact, varied, and not solvable by a threshold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from dinoseg.data import open_dataset, read_case
from dinoseg.data.checks.dataset import check_dataset
from dinoseg.data.checks.regions import measure_lesions
from dinoseg.data.phantoms.phantoms import PhantomKind, draw_phantom, write_phantoms
from dinoseg.data.splits.splits import check_splits, resolve_splits
from dinoseg.errors import OutputError, UsageError

KINDS = get_args(PhantomKind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(32, 32), (48, 200), (131, 97)])
def test_any_size_is_drawn(kind: PhantomKind, size: tuple[int, int]) -> None:
    case = draw_phantom(kind, size=size, seed=1)
    assert case.image.size == case.label.size == size
    assert case.image.array.shape[0] == (1 if kind == "ultrasound" else 3)
    assert case.image.array.dtype == np.float32
    assert 0 <= case.image.array.min() < case.image.array.max() <= 1
    assert case.label.array.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind: PhantomKind) -> None:
    first, again, other = (draw_phantom(kind, size=(64, 80), seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.image.array, again.image.array)
    np.testing.assert_array_equal(first.label.array, again.label.array)
    assert np.abs(first.image.array - other.image.array).mean() > 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_lesions_vary_in_number_and_size(kind: PhantomKind) -> None:
    areas = [
        measure_lesions(draw_phantom(kind, size=(96, 120), seed=seed).label.array > 0) for seed in range(60)
    ]
    counts = [len(found) for found in areas]
    assert 2 <= counts.count(0) <= 18
    assert max(counts) >= 3
    large = np.concatenate(areas)
    assert np.quantile(large, 0.9) > 10 * np.quantile(large, 0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_threshold_does_not_solve_it(kind: PhantomKind) -> None:
    """The best of 40 thresholds on brightness, chosen with the masks in hand, stays far from a mask."""
    cases = [draw_phantom(kind, size=(96, 120), seed=seed) for seed in range(20)]
    grey = np.stack([case.image.array.mean(axis=0) for case in cases])
    masks = np.stack([case.label.array > 0 for case in cases])
    scores = []
    for cut in np.linspace(0.02, 0.98, 40):
        for guess in (grey < cut, grey > cut):
            scores.append(2 * (guess & masks).sum() / (guess.sum() + masks.sum()))
    assert max(scores) < 0.65


@pytest.mark.parametrize("kind", KINDS)
def test_a_lesion_differs_from_its_surroundings(kind: PhantomKind) -> None:
    differences = []
    for seed in range(20):
        case = draw_phantom(kind, size=(96, 120), seed=seed)
        inside = case.label.array > 0
        if inside.sum() > 100:
            grey = case.image.array.mean(axis=0)
            differences.append(abs(grey[inside].mean() - grey[~inside & (grey > 0.03)].mean()))
    assert np.median(differences) > 0.04


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_data_set_is_complete_and_clean(kind: PhantomKind, tmp_path: Path) -> None:
    root = write_phantoms(tmp_path / "data", kind=kind, count=12, size=(48, 64), seed=3)
    dataset = open_dataset(root)
    assert dataset.classes == {0: "background", 1: "lesion"}
    assert len(dataset.cases) == 12
    assert 4 <= len({case.group for case in dataset.cases}) < 12
    splits = resolve_splits(dataset)
    assert all(ids for _, ids in splits.items())
    assert splits.unit == "group"
    check_splits(dataset, splits)
    report = check_dataset(root)
    assert report.exit_code == 0
    assert [finding for finding in report.findings if "duplicate" in finding.topic] == []
    drawn = [read_case(case, dataset.labels).label.array.sum() for case in dataset.cases]
    assert max(drawn) > 0
    assert "no patient" in (root / "README.txt").read_text()


def test_a_data_set_is_reproducible_and_not_overwritten_by_accident(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_phantoms(tmp_path / name, kind="dermoscopy", count=6, size=(32, 40), seed=1)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    with pytest.raises(OutputError, match="not empty"):
        write_phantoms(tmp_path / "a", kind="dermoscopy", count=6)


def test_overwriting_replaces_what_an_earlier_call_drew(tmp_path: Path) -> None:
    write_phantoms(tmp_path, kind="ultrasound", count=9, size=(32, 40))
    write_phantoms(tmp_path, kind="ultrasound", count=5, size=(32, 40), overwrite=True)
    assert len(open_dataset(tmp_path).cases) == 5


@pytest.mark.parametrize("name", ["images/mine.txt", "masks/ultrasound_0001.png"])
def test_overwriting_touches_nothing_where_a_file_is_not_ours(tmp_path: Path, name: str) -> None:
    write_phantoms(tmp_path, kind="ultrasound", count=5, size=(32, 40))
    (tmp_path / name).write_bytes(b"drawn by hand")
    with pytest.raises(OutputError, match=name):
        write_phantoms(tmp_path, kind="ultrasound", count=5, size=(32, 40), overwrite=True)
    assert (tmp_path / name).read_bytes() == b"drawn by hand"
    assert len(list((tmp_path / "images").glob("*.png"))) == 5


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown phantom 'xray'; accepted are ultrasound"):
        draw_phantom("xray", size=(64, 64), seed=0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="too small"):
        draw_phantom("ultrasound", size=(16, 64), seed=0)
    with pytest.raises(UsageError, match="4 phantoms cannot be split"):
        write_phantoms(tmp_path, kind="ultrasound", count=4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_drawing_is_fast(kind: PhantomKind) -> None:
    draw_phantom(kind, size=(256, 320), seed=99)
    start = time.process_time()
    for seed in range(10):
        draw_phantom(kind, size=(256, 320), seed=seed)
    assert (time.process_time() - start) / 10 < 0.08  # 20 to 40 ms on an idle core of 2025
