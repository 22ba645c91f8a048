"""What the server answers is what `dinoseg predict` writes, for everything that it reads."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from starlette.testclient import TestClient

from dinoseg.config import RangeIntensity
from dinoseg.data.volumes import read_label, read_volume
from dinoseg.inference import predict, predict_files
from dinoseg.model.segmenter import Segmenter
from tests.data.dicom.drawn import draw_series
from tests.inference.models import Slope, make_glass
from tests.inference.volumes import make_volume, save_nifti
from tests.serving.servers import ADDRESS, draw_png, list_left, pack_folder, post, serving

ARRAY = np.zeros((4, 12, 10), np.uint16)
ARRAY[1:3, 2:7, 3:9] = 1000


def _fetch(client: TestClient, job: dict[str, Any], name: str) -> bytes:
    answer = client.get(f"/api/v1/jobs/{job['id']}/outputs/{name}")
    assert answer.status_code == 200, answer.text
    return answer.content


def _save(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("kind", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("TIFF", ".tif"), ("BMP", ".bmp")]
)
def test_the_mask_of_an_image_is_what_the_command_writes(
    client: TestClient, glass: Segmenter, tmp_path: Path, kind: str, suffix: str
) -> None:
    content = draw_png(kind=kind)
    job = post(client, (f"photo{suffix}", content), model="glass").json()
    assert job["state"] == "done", job
    predict_files(glass, _save(tmp_path / "in", f"photo{suffix}", content), tmp_path / "out")
    assert _fetch(client, job, "mask.png") == (tmp_path / "out" / "masks" / "photo.png").read_bytes()
    row = json.loads((tmp_path / "out" / "predictions.json").read_text())["files"][0]
    result = job["result"]
    assert {str(each["id"]): each["pixels"] for each in result["classes"]} == {
        index: count for index, count in row["pixels"].items() if index != "0"
    }
    assert result["confidence"] == row["confidence"]
    assert (result["kind"], result["width"], result["height"], result["slices"]) == ("image", 32, 24, 1)
    assert result["spacing"] is None
    assert result["classes"][0] == {
        **{"id": 1, "name": "lesion", "colour": "#00beff", "area_mm2": None, "volume_ml": None},
        **{"pixels": row["pixels"]["1"], "share": row["pixels"]["1"] / (24 * 32)},
    }


def test_an_overlay_is_what_python_draws_and_a_tiff_is_shown_as_png(
    client: TestClient, glass: Segmenter, tmp_path: Path
) -> None:
    content = draw_png(kind="TIFF")
    job = post(client, ("photo.tif", content), model="glass").json()
    assert job["result"]["outputs"] == ["mask.png", "overlay.png", "image.png", "measures.json"]
    found = predict(glass, _save(tmp_path, "photo.tif", content))
    shown = np.asarray(PillowImage.open(io.BytesIO(_fetch(client, job, "overlay.png"))))
    pixels = np.asarray(PillowImage.open(io.BytesIO(content)))
    np.testing.assert_array_equal(shown, found.overlay(pixels, legend=True))
    np.testing.assert_array_equal(PillowImage.open(io.BytesIO(_fetch(client, job, "image.png"))), pixels)
    measures = json.loads(_fetch(client, job, "measures.json"))
    assert measures["classes"] == job["result"]["classes"]
    assert measures["model_facts"]["backbone_digest"] == "d" * 64


def test_a_browser_shows_png_and_jpeg_itself(client: TestClient) -> None:
    assert "image.png" not in post(client, ("a.png", draw_png()), model="glass").json()["result"]["outputs"]


def test_one_request_gives_a_file(client: TestClient) -> None:
    job = post(client, ("a.png", draw_png()), model="glass").json()
    answer = post(client, ("a.png", draw_png()), query="output=mask.png", model="glass")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == _fetch(client, job, "mask.png")
    missing = post(client, ("a.png", draw_png()), query="output=seg.dcm", model="glass")
    assert missing.status_code == 404
    assert missing.json()["detail"] == ("the job has no file 'seg.dcm'; it has mask.png, measures.json")


def test_options_are_those_of_the_command(tmp_path: Path) -> None:
    slope = make_glass(decoder=Slope)
    grey = np.random.default_rng(0).integers(118, 138, (48, 60)).astype(np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(grey).save(file, "PNG")
    path = _save(tmp_path, "a.png", content := file.getvalue())
    with serving({"slope": slope}) as client:
        masks = [
            post(client, ("a.png", content), query="output=mask.png", **fields).content
            for fields in ({}, {"window": "32"}, {"window": "32", "flips": "true"})
        ]
    assert len({*masks}) == 3
    for content, options in zip(masks, ({}, {"window": 32}, {"window": 32, "flips": True}), strict=True):
        found = np.asarray(PillowImage.open(io.BytesIO(content)))
        np.testing.assert_array_equal(found, predict(slope, path, **options).mask)


def test_the_mask_of_a_volume_is_what_the_command_writes(
    client: TestClient, glass3d: Segmenter, tmp_path: Path
) -> None:
    path = save_nifti(tmp_path / "in" / "scan.nii.gz", make_volume())
    job = post(client, ("scan.nii.gz", path.read_bytes()), model="scan").json()
    assert job["state"] == "done", job
    predict_files(glass3d, path, tmp_path / "out")
    assert _fetch(client, job, "mask.nii.gz") == (tmp_path / "out" / "masks" / "scan.nii.gz").read_bytes()
    assert _fetch(client, job, "image.nii.gz") == path.read_bytes()
    row = json.loads((tmp_path / "out" / "predictions.json").read_text())["files"][0]
    result = job["result"]
    assert [each["volume_ml"] for each in result["classes"]] == [row["volumes_ml"]["1"]]
    assert [result["slices"], result["height"], result["width"]] == row["size"]
    np.testing.assert_allclose(result["spacing"], (3.0, 0.8, 1.1), rtol=1e-6)
    assert job["progress"]["done"] == job["progress"]["total"] > 1


def test_other_volumes_are_shown_as_nifti(client: TestClient, tmp_path: Path) -> None:
    save_nifti(tmp_path / "scan.nii", make_volume())
    job = post(client, ("scan.nii", (tmp_path / "scan.nii").read_bytes()), model="scan").json()
    (tmp_path / "shown.nii.gz").write_bytes(_fetch(client, job, "image.nii.gz"))
    (tmp_path / "mask.nii.gz").write_bytes(_fetch(client, job, "mask.nii.gz"))
    shown, sent = read_volume(tmp_path / "shown.nii.gz"), read_volume(tmp_path / "scan.nii")
    np.testing.assert_array_equal(shown.array, sent.array)
    np.testing.assert_allclose(shown.affine, sent.affine, atol=1e-5)
    assert read_label(tmp_path / "mask.nii.gz").array.shape == sent.array.shape[1:]


@pytest.mark.parametrize("form", ["zip", "files"])
def test_a_series_comes_back_as_a_segmentation(
    client: TestClient, glass3d: Segmenter, tmp_path: Path, form: str
) -> None:
    pytest.importorskip("highdicom")
    from dinoseg.data.dicom import read_segmentation, read_series

    folder = draw_series(tmp_path / "ct", array=ARRAY) or tmp_path / "ct"
    files = [(path.name, path.read_bytes()) for path in sorted((tmp_path / "ct").iterdir())]
    sent = [("ct.zip", pack_folder(tmp_path / "ct"))] if form == "zip" else files
    job = post(client, *sent, model="scan").json()
    assert job["state"] == "done", (job, folder)
    assert job["result"]["outputs"] == [
        "mask.nii.gz",
        "image.nii.gz",
        "overlay.png",
        "seg.dcm",
        "measures.json",
    ]
    (tmp_path / "seg.dcm").write_bytes(_fetch(client, job, "seg.dcm"))
    series = read_series(tmp_path / "ct")
    label = read_segmentation(tmp_path / "seg.dcm", series.reference)
    np.testing.assert_array_equal(label.array, predict(glass3d, tmp_path / "ct").mask)


def test_what_is_uploaded_is_gone_when_the_job_is_done(client: TestClient) -> None:
    job = post(client, ("secret-name.png", draw_png()), model="glass").json()
    assert job["state"] == "done"
    assert [name for name in list_left(client) if "secret-name" in name or name.endswith("input")] == []
    assert client.delete(f"/api/v1/jobs/{job['id']}").status_code == 200
    assert client.get(f"/api/v1/jobs/{job['id']}/outputs/mask.png").status_code == 404


def test_a_reader_says_what_is_wrong_and_not_where(client: TestClient) -> None:
    cut = draw_png(200, 300)[:-3000]
    job = post(client, ("cut.png", cut), model="glass").json()
    assert (job["state"], job["result"]) == ("failed", None)
    assert job["error"].startswith("cut.png is truncated")
    answer = post(client, ("cut.png", cut), model="glass", query="output=mask.png")
    assert (answer.status_code, answer.json()) == (422, {"detail": job["error"]})
    assert not [name for name in list_left(client) if "cut" in name]


@pytest.mark.parametrize(
    ("model", "name", "content", "detail"),
    [
        ("glass", "a.nii.gz", b"volume", "a.nii.gz is a volume, and the model was trained on images"),
        ("scan", "a.png", draw_png(), "a.png is an image, and the model was trained on volumes"),
        ("glass", "a.png", b"some text", "a.png is text, not a PNG, JPEG, TIFF or BMP image"),
        ("glass", "a.pdf", b"%PDF-1.4", "the upload holds no images; accepted are .png"),
        ("none", "a.png", draw_png(), "the model 'none' is unknown; models of this server: glass, scan"),
        ("", "a.png", draw_png(), "model is missing; models of this server: glass, scan"),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_one_line(
    client: TestClient, model: str, name: str, content: bytes, detail: str
) -> None:
    before = list_left(client)
    answer = post(client, (name, content), model=model)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(detail)
    assert "\n" not in answer.json()["detail"]
    assert list_left(client) == before


def test_several_models_are_told_with_their_classes(client: TestClient) -> None:
    glass, scan = client.get("/api/v1/models").json()
    assert [each["name"] for each in glass["classes"]] == ["lesion", "instrument"]
    assert (glass["volumes"], scan["volumes"], scan["size"]) == (False, True, [12, 12])
    assert client.get("/api/v1/info").json()["models"] == ["glass", "scan"]
    assert client.get("/ready").json() == {"ready": True, "models": ["glass", "scan"]}


def test_a_window_that_does_not_fit_is_refused(client: TestClient) -> None:
    assert post(client, ("a.png", draw_png()), model="glass", window="0").status_code == 422
    answer = post(client, ("a.png", draw_png()), model="glass", series="1.2.3")
    assert answer.json()["detail"] == "series is for volumes, and no volume was given; leave it out"


def test_a_server_without_models_is_not_ready() -> None:
    with serving({}) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").status_code == 503
        assert post(client, ("a.png", draw_png())).status_code == 503


def test_channels_of_a_volume_are_sent_side_by_side(tmp_path: Path) -> None:
    two = make_glass(size=12, intensity=RangeIntensity(minimum=0, maximum=1000), channels=2)
    files = []
    for channel in range(2):
        path = save_nifti(tmp_path / f"scan_000{channel}.nii.gz", make_volume((3, 12, 12), seed=channel))
        files.append((path.name, path.read_bytes()))
    with serving({"two": two}) as client:
        job = post(client, *files).json()
    assert job["state"] == "done", job
    assert job["result"]["slices"] == 3
    assert ADDRESS not in json.dumps(job)


def test_an_address_with_nothing_says_where_something_is(client: TestClient) -> None:
    answer = client.get("/teach;")
    assert answer.status_code == 404
    assert "the page is at /" in answer.json()["detail"]
