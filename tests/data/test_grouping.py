"""Proposals for groups.csv: by names and by likeness, written beside the data and read by nobody."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from dinoseg.data import open_dataset
from dinoseg.data.checks.grouping import find_name_key, suggest_groups, write_proposal
from dinoseg.data.phantoms.phantoms import draw_phantom
from dinoseg.errors import OutputError
from tests.data.samples import blob, make_dataset, picture, save, write_lines


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("patient12_frame3", "patient12"),
        ("patient012-03", "patient012"),
        ("vid_3_00017", "vid_3"),
        ("7_left", "7"),
        ("12 (3)", "12"),
        ("a3_slice_004", "a3"),
        ("day1_Patient4_x", "day1_Patient4"),
        ("benign (1)", ""),
        ("ISIC_0000001", ""),
        ("c12", ""),
        ("0012", ""),
        ("cju0qkwl35piu0993l0dewei2", ""),
    ],
)
def test_what_names_say(name: str, key: str) -> None:
    assert find_name_key(name) == key


def test_names_give_groups(tmp_path: Path) -> None:
    for patient in (1, 2, 13):
        for frame in (1, 2):
            save(tmp_path / f"images/patient{patient}_frame{frame}.png", picture(10 * patient + frame))
            save(tmp_path / f"masks/patient{patient}_frame{frame}.png", blob())
    proposal = suggest_groups(open_dataset(tmp_path))
    assert (proposal.count, proposal.joined) == (3, 6)
    assert proposal.groups["patient13_frame2"] == "patient13"
    assert proposal.reasons["patient13_frame2"] == "name patient13"


def test_names_of_one_series_give_none(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"images/study1_{number}.png", picture(number))
        save(tmp_path / f"masks/study1_{number}.png", blob())
    assert suggest_groups(open_dataset(tmp_path)).joined == 0


def test_images_that_look_alike_are_joined(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    scene = (draw_phantom("dermoscopy", size=(96, 128), seed=1).image.array * 255).astype(np.uint8)
    for number, shade in ((2, 1.0), (5, 0.95)):
        save(tmp_path / f"images/c{number}.png", (scene * shade).astype(np.uint8).transpose(1, 2, 0))
    proposal = suggest_groups(open_dataset(tmp_path))
    assert (proposal.count, proposal.joined) == (5, 2)
    assert proposal.groups["c5"] == proposal.groups["c2"] == "c2"
    assert proposal.reasons["c5"].startswith("looks like c2 (")


def test_groups_that_are_there_are_kept(tmp_path: Path) -> None:
    write_lines(
        make_dataset(tmp_path) / "groups.csv", ["case,group", *(f"c{n},p{n % 2}" for n in range(1, 7))]
    )
    save(tmp_path / "images/c6.png", picture(1))  # joins both
    proposal = suggest_groups(open_dataset(tmp_path))
    assert proposal.count == 1
    assert set(proposal.groups.values()) <= {"p0", "p1"}


def test_a_proposal_is_written_beside_and_read_by_nobody(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    save(tmp_path / "images/c6.png", picture(1))
    before = write_lines(
        tmp_path / "groups.csv", ["case,group", *(f"c{n},p{n}" for n in range(1, 7))]
    ).read_bytes()
    dataset = open_dataset(tmp_path)
    path = write_proposal(dataset, suggest_groups(dataset))
    assert path == tmp_path / "groups_suggested.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert rows["c6"]["group"] == rows["c1"]["group"] == "p1"
    assert rows["c6"]["because"] == "looks like c1 (0 of 255 bits differ)"
    assert (tmp_path / "groups.csv").read_bytes() == before
    assert open_dataset(tmp_path).cases == dataset.cases
    with pytest.raises(OutputError, match="exists already"):
        write_proposal(dataset, suggest_groups(dataset))
    (tmp_path / "groups.csv").unlink()
    path.rename(tmp_path / "groups.csv")
    assert len({case.group for case in open_dataset(tmp_path).cases}) == 5
