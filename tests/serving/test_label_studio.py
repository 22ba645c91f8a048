"""Label Studio gets brush labels for its tasks, and no task makes the server ask anybody else."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from starlette.testclient import TestClient

from dinoseg.config import RangeIntensity
from dinoseg.errors import UsageError
from dinoseg.inference import predict
from dinoseg.model.segmenter import Segmenter
from dinoseg.serving.brushes import encode_brush
from dinoseg.serving.options import ServeOptions
from tests.inference.models import make_glass
from tests.serving.servers import draw_png, list_left, serving

CONFIG = """<View>
  <!-- what annotators see -->
  <Image name="img" value="$picture" zoom="true"/>
  <BrushLabels name="tag" toName="img"><Label value="Lesion"/><Label value="polyp"/></BrushLabels>
</View>"""
PNG = draw_png()


def _send(address: Any, **more: Any) -> dict[str, Any]:
    tasks = [
        {"id": 1, "data": {"picture": each}} for each in ([address] if isinstance(address, str) else address)
    ]
    return {"tasks": tasks, "label_config": CONFIG, "project": "1.2", "params": {"login": None}, **more}


def _to_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _decode(rle: list[int]) -> np.ndarray:
    """The values of a brush, by a reader that takes bits one by one, as the published format says."""
    bits = iter("".join(f"{byte:08b}" for byte in rle))

    def read(count: int) -> int:
        return int("".join(next(bits) for _ in range(count)), 2)

    total, width = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        is_run = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(width)] * length if is_run else [read(width) for _ in range(length)]
    return np.array(values, np.uint8)


@pytest.fixture(scope="module")
def backend(glass: Segmenter) -> Iterator[TestClient]:
    with serving({"glass": glass}) as client:
        yield client


def test_a_brush_is_read_back_by_the_published_format() -> None:
    rng = np.random.default_rng(0)
    for mask in (
        rng.random((7, 9)) < 0.5,
        np.zeros((3, 5), bool),
        np.ones((200, 150), bool),  # longer than one run may be
        np.eye(40, dtype=bool),
    ):
        values = _decode(encode_brush(mask)).reshape(*mask.shape, 4)
        np.testing.assert_array_equal(values, np.repeat(mask[..., None] * np.uint8(255), 4, axis=2))


def test_a_task_gets_the_mask_of_the_model(backend: TestClient, glass: Segmenter, tmp_path: Path) -> None:
    answer = backend.post("/predict", json=_send(_to_uri(PNG))).json()
    (tmp_path / "a.png").write_bytes(PNG)
    expected = predict(glass, tmp_path / "a.png")
    (result,) = answer["results"]
    assert result["score"] == pytest.approx(expected.confidence.expected_dice)
    (region,) = result["result"]  # the class "instrument" has no label
    assert (region["type"], region["from_name"], region["to_name"]) == ("brushlabels", "tag", "img")
    assert (region["original_width"], region["original_height"]) == (32, 24)
    assert region["value"]["brushlabels"] == ["Lesion"]
    found = _decode(region["value"]["rle"]).reshape(24, 32, 4)[..., 3]
    np.testing.assert_array_equal(found > 0, expected.mask == 1)
    assert list_left(backend) == []


def test_a_project_connects_where_its_labels_are_classes(backend: TestClient) -> None:
    answer = backend.post("/setup", json={"project": "1.2", "schema": CONFIG, "hostname": "http://x"})
    assert answer.json()["model_version"].startswith("glass-")
    assert backend.get("/health").json()["status"] == "ok"
    for config, detail in [
        (CONFIG.replace("Lesion", "cat"), "no label is called like a class of the model; name labels lesion"),
        ("<View/>", "the labeling interface has no <BrushLabels>"),
        ("<View", "the labeling interface is no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + CONFIG, "the labeling interface declares a document type"),
    ]:
        refused = backend.post("/setup", json={"schema": config})
        assert refused.status_code == 422
        assert refused.json()["detail"].startswith(detail)


def test_several_models_have_addresses_of_their_own(glass: Segmenter) -> None:
    scan = make_glass(size=12, intensity=RangeIntensity(minimum=0, maximum=1000))
    with serving({"glass": glass, "scan": scan}) as client:
        assert client.post("/predict", json=_send(_to_uri(PNG))).status_code == 422
        assert client.post("/label-studio/glass/predict", json=_send(_to_uri(PNG))).status_code == 200
        assert client.get("/label-studio/glass/health").status_code == 200
        assert client.get("/label-studio/none/health").status_code == 422
        answer = client.post("/label-studio/scan/setup", json={"schema": CONFIG})
        assert answer.json()["detail"] == "scan was trained on volumes, and Label Studio shows images"


def test_a_task_that_fails_does_not_stop_the_others(backend: TestClient) -> None:
    broken = _to_uri(PNG[:200])
    answer = backend.post("/predict", json=_send([_to_uri(PNG), broken, "data:text/plain,a"])).json()
    good, cut, text = answer["results"]
    assert good["error"] is None
    assert len(good["result"]) == 1
    assert cut["result"] == text["result"] == []
    assert "truncated" in cut["error"]
    assert "is not accepted; send data:image/png" in text["error"]
    alone = backend.post("/predict", json=_send(broken))
    assert alone.status_code == 422
    assert alone.json()["detail"] == cut["error"]


@pytest.fixture(scope="module")
def studio() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A stand-in for Label Studio: its address, and what was asked, with the token."""
    asked: list[tuple[str, str | None]] = []

    class Studio(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            if "redirect" in self.path:
                self.send_response(302)
                self.send_header("Location", "/data/upload/1/a.png")
                self.end_headers()
                return
            self.send_response(404 if "missing" in self.path else 200)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            self.wfile.write(PNG)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Studio)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def connected(
    glass: Segmenter, studio: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "in").mkdir()
    (folder / "in" / "a b.png").write_bytes(PNG)
    (folder.parent / "outside.png").write_bytes(PNG)
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    options = {"label_studio": f"{studio[0]}/studio", "label_studio_token": "secret", "studies": folder}
    with serving({"glass": glass}, **options) as client:
        yield client


def test_images_are_fetched_from_the_label_studio_that_was_named(connected: TestClient, studio: Any) -> None:
    address, asked = studio
    for image, path in [
        ("/data/upload/1/a.png", "/studio/data/upload/1/a.png"),
        (f"{address}/studio/tasks/1/resolve/?fileuri=czM=", "/studio/tasks/1/resolve/?fileuri=czM="),
        ("/data/upload/1/a%20b.png", "/studio/data/upload/1/a%20b.png"),
    ]:
        asked.clear()
        answer = connected.post("/predict", json=_send(image))
        assert answer.status_code == 200, answer.text
        assert asked == [(path, "Token secret")]


def test_local_files_are_read_in_the_folder_of_the_studies(connected: TestClient, studio: Any) -> None:
    studio[1].clear()
    for image in ("/data/local-files/?d=in/a%20b.png", "/data/local-files/?d=in%2Fa%20b.png"):
        assert connected.post("/predict", json=_send(image)).status_code == 200
    assert studio[1] == []


@pytest.mark.parametrize(
    "image",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:1/a.png",
        "https://{host}/studio/a.png",
        "http://{host}@169.254.169.254/studio/a.png",
        "http://{host}.evil.example/studio/a.png",
        "http://{host}/elsewhere/a.png",
        "http://{host}/studio/../admin/a.png",
        "http://{host}/studio/%2e%2e/admin/a.png",
        "//169.254.169.254/a.png",
        "\\\\169.254.169.254\\a.png",
        "file:///etc/passwd",
        "s3://bucket/a.png",
        "/data/local-files/?d=../outside.png",
        "/data/local-files/?d=/etc/passwd",
        "/data/local-files/?d=link.png",
        "/data/upload/1/a.png\r\nHost: evil",
        "relative.png",
        "",
        7,
        None,
    ],
)
def test_nothing_else_is_opened_or_asked(connected: TestClient, studio: Any, image: Any) -> None:
    address, asked = studio
    asked.clear()
    host = address.removeprefix("http://")
    if isinstance(image, str):
        image = image.replace("{host}", host)
    answer = connected.post("/predict", json=_send([image]))
    assert answer.status_code == 422, answer.text
    assert "\n" not in answer.json()["detail"]
    assert asked == []


def test_what_label_studio_does_not_give_is_said(connected: TestClient, studio: Any) -> None:
    answer = connected.post("/predict", json=_send("/data/upload/1/missing.png"))
    assert "did not give /studio/data/upload/1/missing.png: Not Found" in answer.json()["detail"]
    studio[1].clear()
    answer = connected.post("/predict", json=_send("/data/upload/1/redirect.png"))
    assert answer.status_code == 422
    assert [path for path, _ in studio[1]] == ["/studio/data/upload/1/redirect.png"]
    assert list_left(connected) == []


def test_an_image_that_is_too_large_is_read_no_further(glass: Segmenter, studio: Any) -> None:
    with serving({"glass": glass}, label_studio=studio[0], upload_bytes=600) as client:
        answer = client.post("/predict", json=_send("/data/upload/1/a.png"))
        assert answer.json()["detail"].startswith("an image of a task is larger than 600 bytes")


def test_an_address_is_checked_at_the_start() -> None:
    for address in ("127.0.0.1:8080", "ftp://a", "http://user@a"):
        with pytest.raises(UsageError, match="is no address; give one such as"):
            ServeOptions(label_studio=address)


def test_sixteen_bits_and_colour_are_read(backend: TestClient) -> None:
    file = io.BytesIO()
    PillowImage.fromarray(np.full((8, 8), 40_000, np.uint16)).save(file, "PNG")
    assert backend.post("/predict", json=_send(_to_uri(file.getvalue()))).status_code == 200
