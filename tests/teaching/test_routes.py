"""The routes of teaching: what the page asks for, and what is refused."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage
from starlette.testclient import TestClient

from dinoseg.serving.app import create_app
from tests.teaching.scenes import SIDE, draw_disc, measure_dice, open_project, wait_for_features, write_discs

ROOT = "/api/v1/teach"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("discs")
    write_discs(folder, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DINOSEG_HOME", str(tmp_path_factory.mktemp("home")))
        project = open_project(folder, classes=["disc"])
        wait_for_features(project)
    with TestClient(create_app(teaching=project), base_url="http://127.0.0.1:8000") as opened:
        yield opened
    project.close()


@pytest.fixture
def images(client: TestClient) -> list[str]:
    """Of a project in which nothing is painted."""
    found = client.get(f"{ROOT}/project").json()["images"]
    for image in found:
        client.post(f"{ROOT}/images/{image['id']}/reopen")
        for _ in range(image["strokes"]):
            left = client.post(f"{ROOT}/images/{image['id']}/undo").json()["strokes"]
        assert not image["strokes"] or left == 0
    return [image["id"] for image in found]


def paint(
    client: TestClient, image: str, class_id: int, x: float, y: float, /, **changes: object
) -> httpx.Response:
    stroke = {"client": uuid.uuid4().hex, "slice": 0, "class": class_id, "tool": "brush"}
    stroke |= {"radius": 8, "points": [[x, y]], **changes}
    return client.post(f"{ROOT}/images/{image}/strokes", json=stroke)


def teach(client: TestClient, image: str, number: int) -> None:
    rows, columns = np.nonzero(draw_disc(number)[1])
    assert paint(client, image, 1, float(columns.mean()), float(rows.mean())).status_code == 201
    corner = 4 if columns.mean() > SIDE / 2 else SIDE - 4
    for y in (10, SIDE / 2, SIDE - 10):
        assert paint(client, image, 0, corner, y).status_code == 201
    assert client.app.state.service.teaching.wait(60)


def read_png(response: httpx.Response) -> NDArray[np.uint8]:
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    return np.asarray(PillowImage.open(io.BytesIO(response.content)))


def wait_for_job(client: TestClient, response: httpx.Response) -> dict[str, object]:
    assert response.status_code == 202
    with client.stream("GET", f"/api/v1/jobs/{response.json()['id']}/events") as events:
        lines = [line for line in events.iter_lines() if line.startswith("data:")]
    return json.loads(lines[-1].removeprefix("data:"))


def test_strokes_become_a_prediction(client: TestClient, images: list[str]) -> None:
    assert client.get(f"{ROOT}/images/{images[2]}/prediction").status_code == 404
    teach(client, images[0], 0)
    teach(client, images[1], 1)
    response = client.get(f"{ROOT}/images/{images[2]}/prediction")
    assert measure_dice(read_png(response), draw_disc(2)[1]) > 0.8
    project = client.get(f"{ROOT}/project").json()
    assert int(response.headers["x-round"]) == project["round"] == project["images"][2]["round"]
    assert project["classes"] == [{"id": 1, "name": "disc", "colour": "#e69f00"}]
    assert project["features"] == {"done": 6, "total": 6, "eta_s": None}
    assert project["next"] in images[2:]
    labels = read_png(client.get(f"{ROOT}/images/{images[0]}/labels"))
    assert set(np.unique(labels)) == {0, 1, 255}


def test_the_same_stroke_is_one(client: TestClient, images: list[str]) -> None:
    first, again = (paint(client, images[3], 1, 20, 20, client="one").json() for _ in range(2))
    assert first["stroke"] == again["stroke"]
    assert client.post(f"{ROOT}/images/{images[3]}/undo").json() == {"strokes": 0}
    assert paint(client, images[3], 1, 20, 20, client="one").json()["stroke"] == first["stroke"]
    assert client.post(f"{ROOT}/images/{images[3]}/undo").json() == {"strokes": 0}  # it stayed undone
    assert client.post(f"{ROOT}/images/{images[3]}/redo").json() == {"strokes": 1}


def test_pictures_are_at_their_own_size_and_window(client: TestClient, images: list[str]) -> None:
    meta = client.get(f"{ROOT}/images/{images[0]}/meta").json()
    assert meta["window"] == [0, 255]
    assert meta["spacing"] is None
    picture = read_png(client.get(f"{ROOT}/images/{images[0]}/picture"))
    expected = np.rint(draw_disc(0)[0] * 255).astype(np.uint8).transpose(1, 2, 0)
    assert np.array_equal(picture, expected)
    dark = read_png(client.get(f"{ROOT}/images/{images[0]}/picture?low=0&high=510"))
    assert abs(dark.astype(float) * 2 - expected).max() <= 1.01
    assert client.get(f"{ROOT}/images/{images[0]}/picture?low=9&high=9").status_code == 422


def test_two_tabs_hear_of_each_other(client: TestClient, images: list[str]) -> None:
    import asyncio

    from dinoseg.serving.teaching import follow_project

    class Tab:
        async def is_disconnected(self) -> bool:
            return False

    async def listen() -> list[dict[str, object]]:
        service = client.app.state.service
        heard = []
        async for event in follow_project(Tab(), service.teaching, service):
            heard.append(event.model_dump())
            if len(heard) == 1:
                paint(client, images[4], 1, 33, 33)
            if any(each["strokes"] for each in event.project.model_dump()["images"]):
                return heard
        return heard

    first, *later = asyncio.run(asyncio.wait_for(listen(), 20))
    assert len(first["project"]["images"]) == 6
    assert [each["id"] for each in later[-1]["project"]["images"] if each["strokes"]] == [images[4]]


def test_what_is_accepted_is_exported_and_downloaded(client: TestClient, images: list[str]) -> None:
    teach(client, images[0], 0)
    for image in images[:2]:
        answer = client.post(f"{ROOT}/images/{image}/accept", json={"slice": None}).json()
        assert [each["state"] for each in answer["images"]] == ["accepted"]
    begun = client.post(f"{ROOT}/export", json={"format": "folder", "name": "first"})
    job = wait_for_job(client, begun)
    assert job["state"] == "done", job
    result = job["result"]
    assert (result["images"], result["left_out"]) == (2, 4)
    assert result["command"].startswith(f"dinoseg train {result['folder']} --out ")
    with zipfile.ZipFile(io.BytesIO(client.get(f"{ROOT}/exports/{job['id']}.zip").content)) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    assert names == {f"{part}/disc-{n}.png" for part in ("images", "masks") for n in (0, 1)} | {
        "dataset.yaml"
    }
    again = wait_for_job(client, client.post(f"{ROOT}/export", json={"format": "folder", "name": "first"}))
    assert again["state"] == "failed"
    assert "exists already" in str(again["error"])


def test_classes_can_be_changed_but_not_lost(client: TestClient, images: list[str]) -> None:
    two = [{"id": 1, "name": "disc", "colour": "#E69F00"}, {"id": 2, "name": "tool", "colour": "#000000"}]
    assert len(client.put(f"{ROOT}/classes", json=two).json()["classes"]) == 2
    paint(client, images[5], 2, 9, 9)
    answer = client.put(f"{ROOT}/classes", json=two[:1])
    assert answer.status_code == 409
    assert "class tool cannot vanish" in answer.json()["detail"]
    client.post(f"{ROOT}/images/{images[5]}/undo")
    assert client.put(f"{ROOT}/classes", json=two[:1]).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("images/ffffffffffff/labels", 404),
        ("images/..%2f..%2fetc/labels", 404),
        ("images/not-an-id/labels", 422),
        ("images/{}/labels?slice=7", 422),
        ("images/{}/prediction?slice=-1", 422),
        ("exports/000000000000000000000000.zip", 404),
    ],
)
def test_what_is_not_there_is_refused(client: TestClient, images: list[str], path: str, status: int) -> None:
    answer = client.get(f"{ROOT}/{path.format(images[0])}")
    assert answer.status_code == status
    assert "\n" not in answer.json()["detail"]


@pytest.mark.parametrize(
    "changes",
    [
        {"class": 7},
        {"class": 99},
        {"radius": 0},
        {"radius": None},
        {"points": []},
        {"points": [["a", 1]]},
        {"points": [[1e12, 1]]},
        {"tool": "spray"},
        {"client": ""},
        {"slice": 3},
        {"more": 1},
        {"tool": "fill", "runs": [[1, 4, 2]]},
    ],
)
def test_strange_strokes_leave_no_trace(
    client: TestClient, images: list[str], changes: dict[str, object]
) -> None:
    answer = paint(client, images[0], 1, 5, 5, **changes)
    assert answer.status_code == 422
    assert "\n" not in answer.json()["detail"]
    assert (read_png(client.get(f"{ROOT}/images/{images[0]}/labels")) == 255).all()


def test_a_server_that_teaches_nothing_says_so() -> None:
    with TestClient(create_app(), base_url="http://127.0.0.1:8000") as plain:
        assert plain.get(f"{ROOT}/project").status_code == 404
        assert plain.get("/api/v1/info").json()["teaching"] is False


def test_its_page_is_the_first_page(client: TestClient) -> None:
    answer = client.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/teach")
    assert client.get("/api/v1/info").json()["teaching"] is True
    assert client.get("/ready").json()["ready"] is True
    assert Path(client.app.state.service.teaching.folder).is_dir()
