"""Slicer labels the images of a teaching project: it learns from them, and is trained from there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage
from starlette.testclient import TestClient

from dinoseg.data.volumes import read_label
from dinoseg.serving import teaching
from dinoseg.serving.app import create_app
from dinoseg.serving.jobs import CancelledError
from dinoseg.teaching.project import Project
from tests.inference.volumes import make_volume, orientations, save_nifti
from tests.serving.servers import ADDRESS, listening, serving, wait_until
from tests.serving.test_monai_label import careless, load_client
from tests.teaching.scenes import draw_disc, measure_dice, open_project, write_discs


@pytest.fixture
def discs(tmp_path: Path) -> Iterator[Project]:
    write_discs(tmp_path / "discs", 4)
    project = open_project(tmp_path / "discs", classes=["disc"])
    yield project
    project.close()


@pytest.fixture
def viewer(discs: Project) -> Iterator[TestClient]:
    with TestClient(create_app(teaching=discs), base_url=ADDRESS) as client:
        yield client


def _send(client: TestClient, image: str, path: Path, **params: Any) -> Any:
    files = {"label": (path.name, path.read_bytes()), "params": (None, json.dumps(params))}
    return client.put("/datastore/label", params={"image": image}, files=files)


def test_a_label_from_a_viewer_is_learned_from(viewer: TestClient, discs: Project, tmp_path: Path) -> None:
    info = viewer.get("/info/").json()
    assert info["labels"] == ["disc"]
    assert info["models"]["teaching"]["labels"] == {"disc": 1}
    assert (info["datastore"]["total"], info["datastore"]["completed"]) == (4, 0)
    assert "segdino-v2" in info["trainers"]
    first = viewer.post("/activelearning/first").json()
    assert first["name"] == "disc-0.png"
    early = viewer.post(f"/infer/teaching?image={first['id']}")
    assert early.status_code == 422
    assert early.json()["detail"] == (
        "disc-0.png has no prediction yet; paint on the page or save a label, and wait for its features"
    )
    PillowImage.fromarray(draw_disc(0)[1]).save(tmp_path / "label.png")
    assert _send(viewer, first["id"], tmp_path / "label.png", label_info=[{"name": "disc"}]).is_success
    assert discs.wait(30)
    (tmp_path / "kept.png").write_bytes(viewer.get(f"/datastore/label?label={first['id']}").content)
    np.testing.assert_array_equal(PillowImage.open(tmp_path / "kept.png"), draw_disc(0)[1])
    wait_until(lambda: all(discs.prediction(each.id) is not None for each in discs.subjects))
    following = viewer.post("/activelearning/least sure").json()
    assert following["id"] == discs.state().next != first["id"]
    answer = viewer.post(f"/infer/teaching?image={following['id']}&output=image")
    (tmp_path / "found.png").write_bytes(answer.content)
    number = int(following["name"].removesuffix(".png")[-1])
    assert measure_dice(np.asarray(PillowImage.open(tmp_path / "found.png")), draw_disc(number)[1]) > 0.8
    assert viewer.get("/info/").json()["datastore"]["completed"] == 1


def test_what_a_project_does_not_take_is_refused(viewer: TestClient, discs: Project, tmp_path: Path) -> None:
    PillowImage.fromarray(draw_disc(0)[1]).save(tmp_path / "label.png")
    image = discs.subjects[0].id
    files = {"label": ("l.png", (tmp_path / "label.png").read_bytes())}
    refused = viewer.put("/datastore/label", params={"image": image, "tag": "second"}, files=files)
    assert refused.json()["detail"] == "labels of a project have the tag final, given 'second'"
    added = viewer.put("/datastore/image", files={"file": ("a.png", (tmp_path / "label.png").read_bytes())})
    assert added.status_code == 422
    assert viewer.get("/datastore/image?image=../disc-0.png").status_code == 404
    assert viewer.get(f"/datastore/label?label={image}").status_code == 404
    assert viewer.post("/infer/teaching").status_code == 422


def test_a_volume_keeps_the_grid_of_its_file(tmp_path: Path) -> None:
    turned = [*orientations(make_volume((3, 20, 24)))][17]  # another order and directions of axes
    path = save_nifti(tmp_path / "scans" / "a.nii.gz", turned)
    mask = (np.asarray(nibabel.load(path).dataobj) > 500).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(mask, nibabel.load(path).affine), tmp_path / "label.nii.gz")
    project = open_project(tmp_path / "scans", classes=["box"])
    try:
        with TestClient(create_app(teaching=project), base_url=ADDRESS) as client:
            image = project.subjects[0].id
            assert _send(client, image, tmp_path / "label.nii.gz").is_success
            for name, address in [
                ("kept", f"/datastore/label?label={image}"),
                ("shown", f"/infer/teaching?image={image}&output=image"),
            ]:
                answer = client.get(address) if name == "kept" else client.post(address)
                (tmp_path / f"{name}.nii.gz").write_bytes(answer.content)
                found = nibabel.load(tmp_path / f"{name}.nii.gz")
                np.testing.assert_array_equal(np.asarray(found.dataobj), mask)
                np.testing.assert_allclose(found.affine, nibabel.load(path).affine, atol=1e-5)
            nrrd = client.post(
                f"/infer/teaching?image={image}&output=image",
                files={"params": (None, '{"result_extension": ".nrrd"}')},
            )
            (tmp_path / "shown.nrrd").write_bytes(nrrd.content)
            assert read_label(tmp_path / "shown.nrrd").array.sum() == mask.sum()
    finally:
        project.close()


@careless
def test_the_client_of_monai_label_trains(
    discs: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The protocol alone: what trains is a stand-in that ends when it is told to."""
    client_module = load_client()
    plans: list[Any] = []

    def train(project: Project, plan: Any, *, report: Any, is_cancelled: Any) -> Path:
        plans.append(plan)
        report(3, 10)
        while not is_cancelled():
            time.sleep(0.01)
        raise CancelledError

    monkeypatch.setattr(teaching, "train_fully", train)
    with listening(create_app(teaching=discs)) as address:
        client = client_module.MONAILabelClient(address, str(tmp_path))
        assert not client.train_status(check_if_running=True)
        with pytest.raises(client_module.MONAILabelClientException, match="there was no training"):
            client.train_status()
        started = client.train_start("linear", {"preset": "paper", "max_epochs": 10})
        assert started["status"] in ("SUBMITTED", "RUNNING")
        while "training" not in client.info()["train_stats"]:
            time.sleep(0.01)
        assert client.info()["train_stats"]["training"] == {"epoch": 3, "total_epochs": 10, "best_metric": 0}
        assert client.train_status(check_if_running=True)
        assert client.train_status()["status"] == "RUNNING"
        with pytest.raises(client_module.MONAILabelClientException, match="a training runs"):
            client.train_start(None, {})
        assert client.train_stop()["details"]
        while client.train_status()["status"] != "CANCELED":
            time.sleep(0.01)
        with pytest.raises(client_module.MONAILabelClientException, match="no training runs"):
            client.train_stop()
        with pytest.raises(client_module.MONAILabelClientException, match="epochs: Input should be"):
            client.train_start("linear", {"max_epochs": -1})
    assert [(plan.method, plan.preset, plan.epochs) for plan in plans] == [("linear", "paper", 10)]


def test_a_server_of_models_trains_nothing(glass: Any) -> None:
    with serving({"glass": glass}) as client:
        assert client.get("/info/").json()["trainers"] == {}
        assert client.post("/train/linear").json()["detail"] == (
            "this server trains nothing; start dinoseg teach FOLDER"
        )
        assert client.delete("/train/").status_code == 404
