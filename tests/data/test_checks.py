"""`check_dataset`: every fault is found and named, and a good folder passes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dinoseg.data.checks.dataset import check_dataset
from dinoseg.data.checks.findings import DataReport
from dinoseg.data.phantoms.phantoms import draw_phantom
from dinoseg.data.splits.splits import Splits, save_splits
from tests.data.samples import SIZE, blob, make_dataset, picture, save, write_lines


def _messages(report: DataReport, topic: str) -> list[tuple[str, str]]:
    return [(finding.severity, finding.message) for finding in report.findings if finding.topic == topic]


def _split(root: Path, **lists: list[str]) -> Path:
    for name, ids in lists.items():
        write_lines(root / "splits" / f"{name}.txt", ids)
    return root


def _good(root: Path) -> Path:
    make_dataset(root)
    return _split(root, train=["c1", "c2", "c3"], val=["c4"], test=["c5", "c6"])


def test_a_good_folder_has_no_errors(tmp_path: Path) -> None:
    report = check_dataset(_good(tmp_path), size=32)
    assert report.exit_code == 0
    assert report.findings == () or all(finding.severity != "error" for finding in report.findings)
    assert (report.cases, report.groups, report.splits) == (6, 6, {"train": 3, "val": 1, "test": 2})
    assert (report.smallest, report.largest) == (SIZE, SIZE)
    assert report.image_kinds == {"PNG RGB": 6}
    assert report.histogram == {"0": 6 * (768 - 80), "255": 480}
    assert report.classes[1].cases == report.classes[1].lesions == 6
    assert report.classes[1].pixel_share == 80 / 768
    assert report.lines()[-1] == "0 errors, 1 warnings"  # 80 px of 768 are 0.4 patches at 32×32


def test_report_is_json(tmp_path: Path) -> None:
    content = json.loads(json.dumps(check_dataset(_good(tmp_path)).to_dict()))
    assert content["cases"] == 6
    assert content["classes"]["1"]["name"] == "foreground"
    assert {finding["severity"] for finding in content["findings"]} <= {"error", "warning", "info"}


def test_unknown_layout_is_reported_not_raised(tmp_path: Path) -> None:
    report = check_dataset(tmp_path)
    assert report.exit_code == 3
    assert "accepted are" in _messages(report, "layout")[0][1]


def test_all_unpaired_files_are_listed(tmp_path: Path) -> None:
    _good(tmp_path)
    for number in range(10, 20):
        save(tmp_path / f"images/x{number}.png", picture(number))
    report = check_dataset(tmp_path)
    assert len(_messages(report, "unpaired")) == 10
    assert report.cases == 6


def test_unreadable_and_truncated_files_are_named(tmp_path: Path) -> None:
    _good(tmp_path)
    content = (tmp_path / "images/c1.png").read_bytes()
    (tmp_path / "images/c1.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "masks/c5.png").write_bytes(b"")
    messages = [message for severity, message in _messages(check_dataset(tmp_path), "unreadable")]
    assert len(messages) == 2
    assert any("images/c1.png is truncated" in message for message in messages)
    assert any("masks/c5.png is empty" in message for message in messages)


def test_label_faults_are_named(tmp_path: Path) -> None:
    _good(tmp_path)
    save(tmp_path / "masks/c2.png", blob((30, 30)))
    assert "c2.png has 30×30" in _messages(check_dataset(tmp_path), "label")[0][1]
    save(tmp_path / "masks/c2.png", picture(2, channels=1))
    report = check_dataset(tmp_path)
    assert "dataset.yaml" in _messages(report, "label")[0][1]
    assert report.smallest == SIZE  # images are looked at nevertheless


def test_the_mapping_of_unusual_values_is_a_warning(tmp_path: Path) -> None:
    _good(tmp_path)
    save(tmp_path / "masks/c2.png", blob(value=80))
    report = check_dataset(tmp_path)
    assert report.mapping == "0 -> 0, 80 -> 1, 255 -> 2"
    assert _messages(report, "label")[0][0] == "warning"


def test_small_lesions_are_counted_in_patches(tmp_path: Path) -> None:
    make_dataset(tmp_path, 4)
    for number in range(1, 5):
        save(tmp_path / f"images/c{number}.png", picture(number, (512, 512)))
        mask = np.zeros((512, 512), np.uint8)
        mask[100:200, 100:200] = 255
        if number == 3:
            mask[300:316, 300:316] = 255  # 256 px of 512×512: a quarter of a 16×16 patch at 256×256
        save(tmp_path / f"masks/c{number}.png", mask)
    report = check_dataset(tmp_path, size=256, patch=16)
    (severity, message) = _messages(report, "small")[0]
    assert severity == "warning"
    assert message.startswith("1 of 5 regions (20.0%) in 1 cases are below one 16×16 patch at 256×256")
    assert "0.25 patches (c3); at 512×512 0 would be" in message
    assert report.classes[1].small_lesions == 1
    assert _messages(check_dataset(tmp_path, size=512), "small") == []


def test_specks_are_told_apart_from_lesions(tmp_path: Path) -> None:
    _good(tmp_path)
    for number in (1, 2):
        mask = np.zeros((64, 64), np.uint8)
        mask[:40, :40] = 255
        mask[60, 60] = 255
        save(tmp_path / f"masks/c{number}.png", mask)
        save(tmp_path / f"images/c{number}.png", picture(number, (64, 64)))
    report = check_dataset(tmp_path)
    severity, message = _messages(report, "specks")[0]
    assert severity == "info"
    assert message.startswith("2 specks of a few pixels beside large regions")
    assert message.endswith("in 2 cases: c1; c2")
    assert report.classes[1].lesions == 6


def test_empty_masks_are_counted(tmp_path: Path) -> None:
    _good(tmp_path)
    save(tmp_path / "masks/c1.png", blob(value=0))
    report = check_dataset(tmp_path)
    assert report.empty == 1
    assert _messages(report, "empty") == [("info", "the mask is empty in 1 case: c1")]
    assert report.exit_code == 0


def test_an_all_background_training_split_is_an_error(tmp_path: Path) -> None:
    _good(tmp_path)
    for number in (1, 2, 3):
        save(tmp_path / f"masks/c{number}.png", blob(value=0))
    assert "all 3 training masks are empty" in _messages(check_dataset(tmp_path), "foreground")[0][1]


def test_exact_and_near_duplicates_across_splits(tmp_path: Path) -> None:
    _good(tmp_path)
    phantom = draw_phantom("dermoscopy", size=(96, 128), seed=1)
    scene = (phantom.image.array * 255).astype(np.uint8).transpose(1, 2, 0)
    for number in (1, 5):
        save(tmp_path / f"masks/c{number}.png", blob((96, 128)))
    save(tmp_path / "images/c1.png", scene)
    save(tmp_path / "images/c5.jpg", scene, quality=70)
    (tmp_path / "images/c5.png").unlink()
    save(tmp_path / "images/c6.png", picture(2))
    report = check_dataset(tmp_path)
    assert report.exit_code == 3
    assert _messages(report, "duplicate") == [
        ("error", "c2 (train) and c6 (test) are the same image and stand in two splits")
    ]
    ((severity, message),) = _messages(report, "near-duplicate")
    assert severity == "warning"
    assert message.startswith("c1 (train) and c5 (test) look nearly the same")


def test_duplicates_across_groups_are_a_warning_without_splits(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    save(tmp_path / "images/c6.png", picture(2))
    report = check_dataset(tmp_path)
    assert report.exit_code == 0
    assert "groups.csv" in _messages(report, "duplicate")[0][1]
    assert "dinoseg data split" in _messages(report, "split")[0][1]


def test_crossing_groups_and_repeated_cases(tmp_path: Path) -> None:
    write_lines(_good(tmp_path) / "groups.csv", ["case,group", *(f"c{n},p{n % 3}" for n in range(1, 7))])
    report = check_dataset(tmp_path)
    assert ("error", "group p1 has c1 in train and c4 in val") in _messages(report, "leak")
    save_splits(tmp_path / "mine.json", Splits(("c1", "c4"), ("c2", "c5"), ("c1",), None, "group"))
    report = check_dataset(tmp_path, splits=tmp_path / "mine.json")
    assert ("error", "case c1 is in train and in test") in _messages(report, "leak")


def test_split_lists_with_faults_are_all_listed(tmp_path: Path) -> None:
    _split(make_dataset(tmp_path), train=["c1", "x1", "x2", "x3", "x4"], test=["c1", "c2"])
    assert len(_messages(check_dataset(tmp_path), "split")) == 5


def test_odd_images_are_warned_about(tmp_path: Path) -> None:
    _good(tmp_path)
    save(tmp_path / "images/c1.png", np.zeros(SIZE, np.uint8))
    save(tmp_path / "images/c2.png", (picture(2, channels=1).astype(np.uint16) * 16))
    save(tmp_path / "images/c3.png", picture(3, (4, 400)))
    save(tmp_path / "masks/c3.png", np.zeros((4, 400), np.uint8))
    report = check_dataset(tmp_path)
    assert [_messages(report, topic)[0][1].rsplit(": ", 1)[1] for topic in ("flat", "dark", "aspect")] == [
        "c1",
        "c2",
        "c3",
    ]
    assert all(finding.severity != "error" for finding in report.findings)
