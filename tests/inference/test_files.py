from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from dinoseg.config import override
from dinoseg.data.images import read_label
from dinoseg.errors import LayoutError, OutputError, UsageError
from dinoseg.inference import predict, predict_files
from dinoseg.inference.files import pipeline as files
from dinoseg.model.segmenter import Segmenter
from dinoseg.outputs import write_json
from dinoseg.outputs.manifest import MANIFEST
from tests.inference.conftest import Draw
from tests.inference.models import THREE, make_glass


def _tree(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return sorted(path.relative_to(folder).as_posix() for path in files)


class Notes:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.count = self.total = 0

    def track(self, items, *, total, label):
        self.total = total
        for item in items:
            self.count += 1
            yield item

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_one_folder(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    sizes = {"a.png": (20, 30), "b.jpg": (1, 1), "sub/a.tif": (7, 5), "sub/v1.2.bmp": (33, 9)}
    paths = {name: draw(name, size, seed) for seed, (name, size) in enumerate(sizes.items())}
    out = tmp_path / "out"
    report = predict_files(glass, [tmp_path / "in"], out, overlays=True, probabilities=True, batch_size=3)
    stems = ["a", "b", "sub/a", "sub/v1.2"]
    expected = [name for stem in stems for name in (f"masks/{stem}.png", f"overlays/{stem}.jpg")]
    expected += [f"probabilities/{stem}.npz" for stem in stems]
    assert _tree(out) == sorted([*expected, "predictions.json", "predictions.jsonl"])
    assert report.exit_code == 0
    assert [file.source for file in report.files] == list(paths.values())
    for file, (name, size) in zip(report.files, sizes.items(), strict=True):
        found = predict(glass, paths[name], probabilities=True)
        assert file.size == size
        assert (read_label(file.mask) == found.mask).all()
        assert file.pixels == found.pixels
        with PillowImage.open(file.overlay) as picture:
            assert picture.size == (size[1], size[0])
        with np.load(file.probabilities) as saved:
            assert np.abs(saved["probabilities"] - found.probabilities).max() < 1e-3


def test_summary_says_what_was_done(draw: Draw, tmp_path: Path) -> None:
    model, out = make_glass(THREE), tmp_path / "out"
    path = draw("a.png", (20, 30))
    report = predict_files(model, [path], out, window=16, overlays=False)
    summary = json.loads((out / "predictions.json").read_text())
    assert summary == {"dinoseg": summary["dinoseg"], **report.describe()}
    assert summary["finished"] is True
    assert summary["settings"] == {
        "window": 16,
        "overlap": 0.25,
        "symmetries": 1,
        "planes": None,
        "postprocessing": None,
    }
    assert summary["model"]["backbone"] == "glass"
    assert summary["classes"] == {"0": "background", "1": "lesion", "2": "instrument"}
    assert summary["counts"] == {"done": 1, "skipped": 0, "failed": 0}
    assert summary["seconds"] >= 0
    row = summary["files"][0]
    assert row.pop("pixels") == {
        str(key): count for key, count in predict(model, path, window=16).pixels.items()
    }
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    confidence = row.pop("confidence")
    assert (confidence["calibrated_on"], confidence["miss_probability"]) == (0, None)
    assert 0 < confidence["expected_dice"] < 1
    assert row == {"source": str(path), "sha256": sha256, "mask": "masks/a.png", "size": [20, 30]}


def test_broken_files_are_reported_and_the_others_done(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    for index in range(6):
        draw(f"{index}.png", seed=index)
    folder, out, progress = tmp_path / "in", tmp_path / "out", Notes()
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes()[:100])
    (folder / "4.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    (folder / "moving.gif").write_bytes(b"GIF89a")
    missing = tmp_path / "in" / "none.png"
    report = predict_files(glass, [folder, missing], out, batch_size=2, progress=progress)
    assert report.exit_code == 3
    assert [file.source.name for file in report.files] == ["0.png", "2.png", "3.png", "5.png"]
    assert _tree(out / "masks") == ["0.png", "2.png", "3.png", "5.png"]
    reasons = [failure.reason for failure in report.failures]
    for reason, words in zip(
        reasons,
        ["moving.gif", "1.png is truncated", "4.png is empty", "text.jpg is text", "none.png does not exist"],
        strict=True,
    ):
        assert words in reason
        assert "\n" not in reason
    assert progress.notes == reasons
    assert progress.count == progress.total == 9
    summary = json.loads((out / "predictions.json").read_text())
    assert [item["reason"] for item in summary["failures"]] == reasons
    assert summary["counts"] == {"done": 4, "skipped": 0, "failed": 5}


def test_only_broken_files(glass: Segmenter, tmp_path: Path) -> None:
    report = predict_files(glass, [tmp_path / "none.png"], tmp_path / "out")
    assert report.exit_code == 3
    assert report.files == ()
    assert _tree(tmp_path / "out") == ["predictions.json", "predictions.jsonl"]


def test_same_stem_in_different_folders(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    one, two = draw("p1/left/frame.png"), draw("p2/frame.jpg")
    predict_files(glass, [one, two], tmp_path / "a", overlays=False)
    assert _tree(tmp_path / "a" / "masks") == ["p1/left/frame.png", "p2/frame.png"]
    predict_files(glass, [one.parent, two.parent], tmp_path / "b", overlays=False)
    assert _tree(tmp_path / "b" / "masks") == ["p1/left/frame.png", "p2/frame.png"]
    predict_files(glass, [one], tmp_path / "c", overlays=False)
    assert _tree(tmp_path / "c" / "masks") == ["frame.png"]


def test_same_stem_with_different_suffixes_is_refused(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    draw("frame.png")
    draw("frame.jpg")
    with pytest.raises(
        LayoutError, match=r"frame\.jpg and .*frame\.png would both become .*masks/frame\.png"
    ):
        predict_files(glass, [tmp_path / "in"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_file_given_twice_is_done_once(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    path = draw("frame.png")
    again = path.parent / ".." / "in" / "frame.png"
    report = predict_files(glass, [path, path.parent, again], tmp_path / "out")
    assert [file.source for file in report.files] == [path]


def test_out_inside_the_source_is_not_predicted_again(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    draw("frame.png")
    out = tmp_path / "in" / "out"
    for _ in range(2):
        report = predict_files(glass, [tmp_path / "in"], out, overwrite=True)
        assert [file.source.name for file in report.files] == ["frame.png"]


def test_links_in_circles_end(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    path = draw("frame.png")
    (path.parent / "loop").symlink_to(path.parent)
    (path.parent / "self.png").symlink_to("self.png")
    (path.parent / "linked.png").symlink_to(path)
    report = predict_files(glass, [tmp_path / "in"], tmp_path / "out")
    assert [file.mask.name for file in report.files] == ["frame.png", "linked.png"]
    assert [failure.reason.split(" is ")[1] for failure in report.failures] == [
        "a symbolic link that leads back to itself"
    ]


def test_nothing_to_do(glass: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no image and no folder was given"):
        predict_files(glass, [], tmp_path / "out")
    (tmp_path / "in").mkdir()
    with pytest.raises(LayoutError, match="holds no images; accepted are"):
        predict_files(glass, [tmp_path / "in"], tmp_path / "out")


@pytest.mark.parametrize("existing", ["masks/b.png", "overlays/a.jpg", "predictions.json"])
def test_existing_outputs_are_refused_before_any_work(
    glass: Segmenter, draw: Draw, tmp_path: Path, existing: str
) -> None:
    draw("a.png")
    draw("b.png")
    path = tmp_path / "out" / existing
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=f"{existing} exists already, and was not written") as caught:
            predict_files(glass, [tmp_path / "in"], tmp_path / "out", overwrite=overwrite)
        assert "--overwrite" not in str(caught.value)
    assert glass.backbone.batches == []
    assert _tree(tmp_path / "out") == [existing]
    assert path.read_bytes() == b"mine"


def test_what_an_earlier_call_wrote_is_replaced_when_asked_for(
    glass: Segmenter, draw: Draw, tmp_path: Path
) -> None:
    draw("a.png")
    predict_files(glass, [tmp_path / "in"], tmp_path / "out")
    draw("a.png", seed=1, size=(24, 24))
    with pytest.raises(OutputError, match=r"predictions.json exists already; .*--overwrite.*--resume"):
        predict_files(glass, [tmp_path / "in"], tmp_path / "out")
    (file,) = predict_files(glass, [tmp_path / "in"], tmp_path / "out", overwrite=True).files
    assert (file.size, read_label(file.mask).shape) == ((24, 24), (24, 24))
    file.mask.write_bytes(b"corrected by hand")
    with pytest.raises(OutputError, match=r"masks/a.png exists already, and was not written"):
        predict_files(glass, [tmp_path / "in"], tmp_path / "out", overwrite=True)
    assert file.mask.read_bytes() == b"corrected by hand"


def test_resume_takes_no_other_file_of_the_same_name(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    one, two = draw("p1/scan.png"), draw("p2/scan.png", seed=1)
    out = tmp_path / "out"
    predict_files(glass, [one], out)
    before = (out / "masks" / "scan.png").read_bytes()
    with pytest.raises(OutputError, match=r"masks/scan.png was made from .*p1/scan.png, and .*p2/scan.png"):
        predict_files(glass, [two], out, resume=True)
    assert (out / "masks" / "scan.png").read_bytes() == before
    one.rename(tmp_path / "scan.png")  # the same picture, elsewhere
    (file,) = predict_files(glass, [tmp_path / "scan.png"], out, resume=True).files
    assert file.skipped


def test_resume_makes_masks_of_changed_pictures_again(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    path, out = draw("a.png"), tmp_path / "out"
    predict_files(glass, [path], out)
    draw("a.png", seed=1, size=(24, 24))
    (file,) = predict_files(glass, [path], out, resume=True).files
    assert (file.skipped, read_label(file.mask).shape) == (False, (24, 24))
    draw("a.png", seed=2)
    file.mask.write_bytes(b"corrected by hand")
    with pytest.raises(OutputError, match="was not written by dinoseg, or was changed since"):
        predict_files(glass, [path], out, resume=True)
    assert file.mask.read_bytes() == b"corrected by hand"


def test_resume_keeps_the_rows_of_other_files(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    one, two, out = draw("one.png"), draw("two.png", seed=1), tmp_path / "out"
    predict_files(glass, [one], out)
    predict_files(glass, [two], out, resume=True)
    rows = json.loads((out / "predictions.json").read_text())["files"]
    assert [Path(row["source"]).name for row in rows] == ["two.png", "one.png"]
    assert all(file.skipped for file in predict_files(glass, [one, two], out, resume=True).files)


def test_what_failed_stands_in_nobodys_way(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"broken")
    assert predict_files(glass, [path], tmp_path / "out").exit_code == 3
    draw("a.png")
    assert predict_files(glass, [path], tmp_path / "out").exit_code == 0


def test_resume_does_what_is_missing(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    for index in range(4):
        draw(f"{index}.png", seed=index)
    out = tmp_path / "out"
    first = predict_files(glass, [tmp_path / "in"], out)
    (out / "masks" / "1.png").unlink()
    (out / "overlays" / "3.jpg").unlink()
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    glass.backbone.batches.clear()
    again = predict_files(glass, [tmp_path / "in"], out, resume=True)
    assert glass.backbone.batches == [2]
    assert [file.skipped for file in again.files] == [True, False, True, False]
    assert [file.pixels for file in again.files] == [file.pixels for file in first.files]
    assert [file.size for file in again.files] == [file.size for file in first.files]
    assert (out / "masks" / "0.png").stat().st_mtime_ns == times[out / "masks" / "0.png"]
    assert again.describe()["counts"] == {"done": 2, "skipped": 2, "failed": 0}


@pytest.mark.parametrize("flips", [False, True])
def test_what_an_older_release_began_is_gone_on_with(flips: bool, draw: Draw, tmp_path: Path) -> None:
    out, model = tmp_path / "out", make_glass()
    draw("a.png")
    predict_files(model, [tmp_path / "in"], out, flips=flips)
    summary = json.loads((out / "predictions.json").read_text())
    assert summary["settings"].pop("symmetries") == (4 if flips else 1)
    summary["settings"]["flips"] = flips
    write_json(out / "predictions.json", summary, overwrite=True)  # so that it is known as ours
    with pytest.raises(OutputError, match="was made with another symmetries"):
        predict_files(model, [tmp_path / "in"], out, resume=True, flips=not flips)
    (file,) = predict_files(model, [tmp_path / "in"], out, resume=True, flips=flips).files
    assert file.skipped
    model.settings = override(model.settings, {"symmetries": 8})
    with pytest.raises(OutputError, match="was made with another symmetries"):
        predict_files(model, [tmp_path / "in"], out, resume=True)


def test_resume_with_another_model_or_setting_is_refused(draw: Draw, tmp_path: Path) -> None:
    out, model = tmp_path / "out", make_glass()
    draw("a.png")
    predict_files(model, [tmp_path / "in"], out, batch_size=1)
    predict_files(model, [tmp_path / "in"], out, resume=True, batch_size=4)
    with pytest.raises(OutputError, match="was made with another window and overlap"):
        predict_files(model, [tmp_path / "in"], out, resume=True, window=16)
    torch.nn.init.constant_(model.decoder.scale, 3.0)
    with pytest.raises(OutputError, match="was made with another decoder_digest"):
        predict_files(model, [tmp_path / "in"], out, resume=True)
    (out / "predictions.json").write_text("{}")
    with pytest.raises(OutputError, match="is damaged"):
        predict_files(model, [tmp_path / "in"], out, resume=True)
    (out / "predictions.json").unlink()
    with pytest.raises(OutputError, match=r"masks/a\.png exists already"):
        predict_files(model, [tmp_path / "in"], out, resume=True)


def test_resume_of_nothing_starts(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    draw("a.png")
    assert len(predict_files(glass, [tmp_path / "in"], tmp_path / "out", resume=True).files) == 1


def test_full_disk_leaves_nothing_half_written(
    glass: Segmenter, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(8):
        draw(f"{index}.png", seed=index)
    out, real, lock, written = tmp_path / "out", os.replace, threading.Lock(), []

    def replace(source: Path, target: Path) -> None:
        with lock:
            written.append(target)
            full = len(written) > 4
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    before = threading.active_count()
    with pytest.raises(OutputError, match="the disk is full; free some space"):
        predict_files(glass, [tmp_path / "in"], out, batch_size=2)
    assert threading.active_count() == before
    assert len([name for name in _tree(out) if not name.endswith(".jsonl")]) == 4
    assert json.loads((out / "predictions.json").read_text())["finished"] is False
    for path in out.rglob("*.png"):
        PillowImage.open(path).verify()
    monkeypatch.setattr(os, "replace", real)
    report = predict_files(glass, [tmp_path / "in"], out, batch_size=2, resume=True)
    assert len(report.files) == 8
    assert json.loads((out / "predictions.json").read_text())["finished"] is True


def test_memory_is_bounded(
    glass: Segmenter, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(40):
        draw(f"{index:02}.png", (4, 4), seed=index)
    lock, most, open_now = threading.Lock(), [0], [0]
    read, write = files.read_image, files._write

    def count(change: int) -> None:
        with lock:
            open_now[0] += change
            most[0] = max(most[0], open_now[0])

    def counting_read(path: Path):
        count(1)
        return read(path)

    def counting_write(*arguments):
        result = write(*arguments)
        count(-1)
        return result

    monkeypatch.setattr(files, "read_image", counting_read)
    monkeypatch.setattr(files, "_write", counting_write)
    assert len(predict_files(glass, [tmp_path / "in"], tmp_path / "out", batch_size=2).files) == 40
    assert open_now == [0]
    assert 2 < most[0] <= 10


def test_number_of_workers_does_not_change_the_outputs(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    for index in range(10):
        draw(f"{index}.png", (11, 13), seed=index)
    for workers in (1, 4):
        out = tmp_path / f"out{workers}"
        assert predict_files(glass, [tmp_path / "in"], out, workers=workers, batch_size=3).failures == ()
    names = [name for name in _tree(tmp_path / "out1") if ".json" not in name]
    assert len(names) == 20
    for name in names:
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out4" / name).read_bytes()


def test_reading_goes_on_while_the_model_computes(
    glass: Segmenter, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(6):
        draw(f"{index}.png")
    second, forward, read = threading.Event(), glass.backbone.forward, files.read_image

    def reading(path: Path):
        if path.name == "3.png":
            second.set()
        return read(path)

    def waiting(pixels: torch.Tensor):
        # The first batch ends only when an image of the second has been asked for.
        assert second.wait(10)
        return forward(pixels)

    monkeypatch.setattr(files, "read_image", reading)
    monkeypatch.setattr(glass.backbone, "forward", waiting)
    assert len(predict_files(glass, [tmp_path / "in"], tmp_path / "out", batch_size=2).files) == 6


def test_unwritable_folder_shows_before_any_work(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    draw("a.png")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="a part of its path is a file"):
        predict_files(glass, [tmp_path / "in"], tmp_path / "out")
    assert glass.backbone.batches == []


def test_wrong_choices(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    path = draw("a.png")
    with pytest.raises(UsageError, match="choose one"):
        predict_files(glass, [path], tmp_path / "out", overwrite=True, resume=True)
    with pytest.raises(UsageError, match="workers is at least 1"):
        predict_files(glass, [path], tmp_path / "out", workers=0)
    with pytest.raises(UsageError, match="window is a side"):
        predict_files(glass, [path], tmp_path / "out", window=-3)
    assert not (tmp_path / "out").exists()


def test_non_ascii_names(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    draw("größe 影像/läsion №1.png")
    predict_files(glass, [tmp_path / "in"], tmp_path / "out", overlays=False)
    assert _tree(tmp_path / "out" / "masks") == ["größe 影像/läsion №1.png"]


def test_real_picture(shared: Path, tmp_path: Path) -> None:
    source = sorted((shared / "data" / "kvasir-seg" / "images").iterdir())[0]
    model = make_glass(size=128)
    report = predict_files(model, [source], tmp_path / "out", flips=True)
    with PillowImage.open(source) as picture:
        assert report.files[0].size == (picture.height, picture.width)
