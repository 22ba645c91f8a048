"""The real 2D folders: recognised, mapped, split and checked."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from dinoseg.data import open_dataset, read_case
from dinoseg.data.checks.dataset import check_dataset
from dinoseg.data.splits.duplicates import find_exact, find_near, read_fingerprints
from dinoseg.data.splits.splits import check_splits, draw_shots, resolve_splits
from tests.data.samples import shared_data

FOLDERS = {
    "kvasir-seg": (1000, 1000, "binary", {"train": 800, "val": 80, "test": 120}),
    "isic2017-256": (1000, 1000, "binary", {"train": 700, "val": 100, "test": 200}),
    "dsb2018": (110, 110, "binary", {}),
    "drions-db": (109, 109, "binary", {}),
    "tg3k": (359, 8, "binary", {}),
    "curvas-ct-slices": (108, 14, "ids", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_folder_is_recognised_and_splits_do_not_leak(name: str) -> None:
    cases, groups, kind, own = FOLDERS[name]
    dataset = open_dataset(shared_data(name))
    assert len(dataset.cases) == cases
    assert len({case.group for case in dataset.cases}) == groups
    assert dataset.labels.kind == kind
    assert Counter(case.split for case in dataset.cases if case.split) == own
    splits = resolve_splits(dataset)
    check_splits(dataset, splits)
    assert all(ids for _, ids in splits.items())
    case = read_case(dataset.cases[0], dataset.labels)
    assert case.image.size == case.label.size
    assert case.label.array.max() >= 1


@pytest.mark.slow
def test_the_first_shots_of_kvasir_are_the_first_lines() -> None:
    root = shared_data("kvasir-seg")
    dataset = open_dataset(root, scan_labels=False)
    lines = (root / "splits/train.txt").read_text().split()
    shots = draw_shots(dataset, resolve_splits(dataset).train, 5, first=True)
    assert list(shots) == lines[:5]


@pytest.mark.slow
def test_repeated_frames_of_kvasir_are_found_and_no_others() -> None:
    dataset = open_dataset(shared_data("kvasir-seg"), scan_labels=False)
    prints = read_fingerprints(dataset.cases)
    apart = {case.id: case.id for case in dataset.cases}
    assert find_exact(prints, apart) == ()
    found = {frozenset((pair.first, pair.second)) for pair in find_near(prints, apart)}
    assert found == {
        frozenset(pair.split())
        for pair in (
            "cju30bmab08bi0835mvlr6e0r cju77k828z46w0871r0avuoo9",
            "cju886ryxnsl50801r93jai7q cju8amfdtqi4x09871tygrgqe",
            "cju76lsehyia10987u54vn8rb cju772304yw5t0818vbw8kkjf",
            "cju5fydrud94708507vo6oy21 cju7avvi51iox0817ym55y6tt",
        )
    }


@pytest.mark.slow
def test_different_lesions_of_isic_are_not_near() -> None:
    dataset = open_dataset(shared_data("isic2017-256"), scan_labels=False)
    prints = read_fingerprints(dataset.cases)
    assert find_near(prints, {case.id: case.id for case in dataset.cases}) == ()


@pytest.mark.slow
def test_neighbouring_frames_of_a_video_are_near_and_videos_are_not() -> None:
    dataset = open_dataset(shared_data("tg3k"), scan_labels=False)
    prints = read_fingerprints(dataset.cases)
    found = find_near(prints, {case.id: case.id for case in dataset.cases})
    group = {case.id: case.group for case in dataset.cases}
    assert all(group[pair.first] == group[pair.second] for pair in found)
    pairs = {(pair.first, pair.second) for pair in found}
    ids = [case.id for case in dataset.cases]
    following = [(a, b) for a, b in itertools.pairwise(ids) if group[a] == group[b]]
    assert sum(pair in pairs for pair in following) > 0.65 * len(following)


@pytest.mark.slow
def test_kvasir_report() -> None:
    report = check_dataset(shared_data("kvasir-seg"))
    assert report.exit_code == 0
    assert report.classes[1].lesions == 1063
    assert report.classes[1].small_lesions == 7
    assert [finding.topic for finding in report.findings] == ["small", "near-duplicate", "specks"]
