"""3D Slicer and OHIF find what they expect: MONAI Label's own client against a real server."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
from PIL import Image as PillowImage
from starlette.testclient import TestClient

from dinoseg.data.volumes import read_label, read_volume
from dinoseg.inference import predict
from dinoseg.model.segmenter import Segmenter
from dinoseg.serving import viewer_sessions
from dinoseg.serving.app import create_app
from dinoseg.serving.models import Models, Served
from dinoseg.serving.options import WIDEST, ServeOptions
from dinoseg.serving.viewer_masks import MaskWishes, find_centroids
from tests.data.dicom.drawn import draw_series
from tests.inference.volumes import make_volume, save_nifti
from tests.serving.servers import draw_png, list_left, listening, serving

HEAD = "head.nii.gz"
TOKEN = "a-token-of-many-letters"
# The client closes neither its connections nor the files that it sends.
careless = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def load_client() -> Any:
    """The class that Slicer's module uses; its file alone, because its package wants torch and MONAI."""
    if sys.version_info >= (3, 13):
        pytest.skip("MONAI Label's client needs the module cgi, which Python 3.13 removed")
    found = importlib.util.find_spec("monailabel")
    if found is None or found.origin is None:
        pytest.skip("monailabel is not installed; pip install --no-deps monailabel==0.8.5")
    pytest.importorskip("requests")
    path = Path(found.origin).parent / "client" / "client.py"
    spec = importlib.util.spec_from_file_location("monailabel_client", path)
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'cgi' is deprecated", DeprecationWarning)
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    save_nifti(folder / HEAD, make_volume())
    save_nifti(folder / "chest" / "a.nii.gz", make_volume(seed=1))
    return folder


@pytest.fixture
def viewer(glass: Segmenter, glass3d: Segmenter, studies: Path) -> Iterator[TestClient]:
    with serving({"scan": glass3d, "glass": glass}, studies=studies) as client:
        yield client


def _app(model: Segmenter, **options: Any) -> Any:
    return create_app(Models([Served("scan", model)]), options=ServeOptions(**options))


@careless
def test_the_client_of_monai_label_works_unchanged(glass3d: Segmenter, studies: Path, tmp_path: Path) -> None:
    """One session of Slicer: connect, next sample, segment, correct, save, fetch again."""
    client_module = load_client()
    with listening(_app(glass3d, studies=studies)) as address:
        (tmp_path / "slicer").mkdir()
        client = client_module.MONAILabelClient(address, str(tmp_path / "slicer"), "me")
        info = client.info()
        assert info["models"]["scan"]["type"] == "segmentation"
        assert info["models"]["scan"]["labels"] == {"lesion": 1}
        assert (info["models"]["scan"]["dimension"], info["labels"]) == (3, ["lesion"])
        assert info["datastore"]["total"] == 2
        sample = client.next_sample("first", {})
        assert (sample["id"], sample["name"]) == ("head", "head.nii.gz")

        path, params = client.infer("scan", "head", {"result_extension": ".nrrd", "result_dtype": "uint8"})
        array, header = nrrd.read(path)
        expected = predict(glass3d, studies / HEAD)
        np.testing.assert_array_equal(array.T, expected.mask)
        assert header["space"] == "left-posterior-superior"
        assert params["label_names"] == {"lesion": 1}
        path, _ = client.infer("scan", "head", {})
        assert path.endswith(".nii.gz")
        np.testing.assert_array_equal(nibabel.load(path).affine, nibabel.load(studies / HEAD).affine)

        corrected = array.T.copy()
        corrected[0, 0, :5] = 1
        _save_label(tmp_path / "label.nii.gz", corrected, studies / HEAD)
        saved = client.save_label(
            "head", str(tmp_path / "label.nii.gz"), params={"label_info": [{"name": "lesion", "idx": 1}]}
        )
        assert saved == {"image": "head", "label": "head"}
        kept = read_label(studies / "labels" / "final" / HEAD)
        np.testing.assert_array_equal(kept.array, corrected)
        assert client.info()["datastore"]["completed"] == 1
        assert client.datastore()["objects"]["head"]["labels"]["final"]["info"]["name"] == HEAD
        assert read_label(client.download_label("head", "final")).array.sum() == corrected.sum()
        sample = client.next_sample("random", {})
        assert (sample["id"], sample["name"]) == ("chest/a", "a.nii.gz")


def _save_label(path: Path, array: np.ndarray, like: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(array.T.astype(np.uint8), nibabel.load(like).affine), path)


@careless
def test_the_client_sends_images_of_its_own(glass3d: Segmenter, studies: Path, tmp_path: Path) -> None:
    client_module = load_client()
    own = save_nifti(tmp_path / "own.nii.gz", make_volume(seed=5))
    with listening(_app(glass3d, studies=studies)) as address:
        client = client_module.MONAILabelClient(address, str(tmp_path))
        session = client.create_session(str(own))["session_id"]
        assert client.get_session(session)["image"] == "own.nii.gz"
        path, _ = client.infer("scan", "unknown here", {"result_extension": ".nrrd"}, session_id=session)
        np.testing.assert_array_equal(nrrd.read(path)[0].T, predict(glass3d, own).mask)
        client.remove_session(session)
        with pytest.raises(client_module.MONAILabelClientException) as caught:
            client.get_session(session)
        assert caught.value.status_code == 404
        path, _ = client.infer("scan", "", {}, file=str(own))
        np.testing.assert_array_equal(read_label(path).array, predict(glass3d, own).mask)
        assert client.upload_image(str(own), "my head") == {"image": "my_head"}
        np.testing.assert_array_equal(read_volume(studies / "my_head.nii.gz").array, read_volume(own).array)
        assert client.save_label("my head", path)["label"] == "my_head"


@careless
def test_the_client_gives_the_token_as_a_password(glass3d: Segmenter, tmp_path: Path) -> None:
    client_module = load_client()
    with listening(_app(glass3d, token=TOKEN)) as address:
        client = client_module.MONAILabelClient(address, str(tmp_path))
        assert client.auth_enabled()
        assert not client.auth_valid_token()
        with pytest.raises(client_module.MONAILabelClientException):
            client.info()
        with pytest.raises(client_module.MONAILabelClientException):
            client.auth_token("me", "wrong")
        client.update_auth(client.auth_token("me", TOKEN))
        assert client.auth_valid_token()
        assert client.info()["name"] == "dinoseg"


def test_a_program_may_send_the_token_as_basic_authentication(glass3d: Segmenter) -> None:
    with serving({"scan": glass3d}, token=TOKEN) as client:
        assert client.get("/info/", auth=("any", TOKEN)).status_code == 200
        assert client.get("/info/", auth=("any", "wrong")).status_code == 401
        assert client.get("/info/", headers={"Authorization": "Basic !"}).status_code == 401


def test_ohif_reads_the_answer_as_text(viewer: TestClient) -> None:
    """Its parser decodes the body as text, and looks for headers spelled as here and for centroids."""
    params = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False}
    answer = viewer.post("/infer/scan?image=head&output=all", files={"params": (None, json.dumps(params))})
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    parts = [part for part in answer.content.decode().split(f"--{boundary}") if part.strip()]
    facts = next(part for part in parts if "Content-Type: application/json" in part)
    facts = json.loads(facts[facts.index("{") : facts.rindex("}") + 1])
    mask = next(part for part in parts if "Content-Type: application/octet-stream" in part)
    mask = mask.split("\r\n\r\n")[1]
    header, _, voxels = mask[: mask.rindex("\r\n")].partition("\n\n")
    assert "encoding: raw" in header
    assert "type: unsigned short" in header
    array = np.frombuffer(voxels.encode("latin-1"), "<u2").reshape(5, 20, 24)
    places = np.argwhere(array == 1).mean(axis=0)[::-1]
    assert facts["centroids"]["lesion"] == ["1", *(str(round(place, 1)) for place in places)]


def test_an_answer_can_be_the_mask_or_the_facts_alone(viewer: TestClient) -> None:
    form = {"params": (None, json.dumps({"result_extension": ".nrrd", "result_compress": True}))}
    answer = viewer.post("/infer/scan?image=head&output=image", files=form)
    assert answer.content.startswith(b"NRRD0004")
    assert ".nrrd" in answer.headers["content-disposition"]
    facts = viewer.post("/infer/scan?image=head&output=json").json()
    assert facts["label_names"] == {"lesion": 1}
    assert list_left(viewer) == []


def test_an_image_is_segmented_into_a_png(viewer: TestClient, glass: Segmenter, studies: Path) -> None:
    (studies / "photo.png").write_bytes(draw_png())
    answer = viewer.post("/infer/glass?image=photo&output=image")
    (studies.parent / "mask.png").write_bytes(answer.content)
    found = np.asarray(PillowImage.open(studies.parent / "mask.png"))
    np.testing.assert_array_equal(found, predict(glass, studies / "photo.png").mask)
    refused = viewer.post(
        "/infer/glass?image=photo", files={"params": (None, '{"result_extension": ".nrrd"}')}
    )
    assert refused.status_code == 422


def test_a_dicom_series_is_known_by_its_uid(viewer: TestClient, glass3d: Segmenter, studies: Path) -> None:
    pytest.importorskip("highdicom")
    from dinoseg.data.dicom import find_series, read_segmentation, read_series

    array = np.zeros((4, 12, 10), np.uint16)
    array[1:3, 2:7, 3:9] = 1000
    draw_series(studies / "ct", array=array)
    uid = find_series(studies / "ct")[0].uid
    answer = viewer.post(f"/infer/scan?image={uid}&output=dicom_seg")
    assert answer.headers["content-type"] == "application/dicom"
    (studies.parent / "seg.dcm").write_bytes(answer.content)
    label = read_segmentation(studies.parent / "seg.dcm", read_series(studies / "ct").reference)
    np.testing.assert_array_equal(label.array, predict(glass3d, studies / "ct").mask)
    (studies.parent / "ct.nii.gz").write_bytes(viewer.get(f"/datastore/image?image={uid}").content)
    np.testing.assert_array_equal(read_volume(studies.parent / "ct.nii.gz").array[0], array)
    assert list_left(viewer) == []
    _save_label(studies.parent / "label.nii.gz", array > 0, studies.parent / "ct.nii.gz")
    assert _send_label(viewer, uid, studies.parent / "label.nii.gz").status_code == 200
    assert viewer.get(f"/datastore/label?label={uid}").status_code == 200


def _send_label(client: TestClient, image: str, path: Path, tag: str = "final", **params: Any) -> Any:
    files = {"label": (path.name, path.read_bytes()), "params": (None, json.dumps(params))}
    return client.put("/datastore/label", params={"image": image, "tag": tag}, files=files)


def test_segments_that_a_viewer_numbered_get_the_ids_of_the_classes(tmp_path: Path, glass: Segmenter) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "a.png").write_bytes(draw_png(4, 4))
    mask = np.zeros((4, 4), np.uint8)
    mask[0], mask[1] = 1, 2
    PillowImage.fromarray(mask).save(tmp_path / "mask.png")
    turned = [{"name": "instrument", "idx": 2}, {"name": "lesion", "idx": 3}]
    with serving({"glass": glass}, studies=tmp_path / "studies") as client:
        assert _send_label(client, "a", tmp_path / "mask.png", label_info=turned).status_code == 200
        kept = np.asarray(PillowImage.open(tmp_path / "studies" / "labels" / "final" / "a.png"))
        np.testing.assert_array_equal(kept[:2], [[2] * 4, [1] * 4])
        for info, detail in [
            ([{"name": "tumour"}], "the segment 'tumour' is no class of this server; rename it to one of"),
            ([{"name": "lesion"}], "the value 2 of the label means nothing; accepted are [0, 1]"),
        ]:
            answer = _send_label(client, "a", tmp_path / "mask.png", label_info=info)
            assert answer.status_code == 422
            assert answer.json()["detail"].startswith(detail)
        PillowImage.fromarray(mask[:3]).save(tmp_path / "small.png")
        assert "4 × 4" in _send_label(client, "a", tmp_path / "small.png").json()["detail"]


def test_a_label_on_another_grid_is_refused(viewer: TestClient, studies: Path, tmp_path: Path) -> None:
    save_nifti(tmp_path / "other.nii.gz", make_volume((4, 20, 24)))
    answer = _send_label(viewer, "head", tmp_path / "other.nii.gz")
    assert answer.status_code == 422
    assert "does not lie on the grid of its image head" in answer.json()["detail"]
    assert str(studies) not in answer.json()["detail"]
    assert not (studies / "labels").exists()


def test_a_label_is_saved_again_but_nobody_elses_is_replaced(
    viewer: TestClient, studies: Path, tmp_path: Path
) -> None:
    _save_label(tmp_path / "l.nii.gz", np.ones((5, 20, 24)), studies / HEAD)
    for _ in range(2):
        assert _send_label(viewer, "head", tmp_path / "l.nii.gz").status_code == 200
    kept = studies / "labels" / "final" / HEAD
    _save_label(kept, np.zeros((5, 20, 24)), studies / HEAD)  # by a person
    before = kept.read_bytes()
    answer = _send_label(viewer, "head", tmp_path / "l.nii.gz")
    assert answer.status_code == 409
    assert kept.read_bytes() == before
    assert _send_label(viewer, "head", tmp_path / "l.nii.gz", "second").status_code == 200
    assert viewer.get("/datastore/").json()["label_tags"] == {"final": 1, "second": 1}


def test_an_image_is_added_but_none_is_replaced(viewer: TestClient, studies: Path, tmp_path: Path) -> None:
    new = save_nifti(tmp_path / "new.nii.gz", make_volume(seed=9)).read_bytes()

    def add(name: str, content: bytes, image: str = "") -> Any:
        return viewer.put("/datastore/image", params={"image": image}, files={"file": (name, content)})

    before = (studies / HEAD).read_bytes()
    assert add("new.nii.gz", new, "head").status_code == 409
    assert (studies / HEAD).read_bytes() == before
    assert add("new.nii.gz", new).json() == {"image": "new"}
    assert add("new.nii.gz", new).json() == {"image": "new"}
    assert add("new.txt", b"text").status_code == 422
    assert add("broken.nii.gz", b"not one").status_code == 422
    assert not [path for path in studies.rglob("*") if "broken" in path.name]
    assert viewer.head("/datastore/image?image=new").status_code == 200
    assert viewer.get("/datastore/image?image=new").content == new
    assert viewer.get("/datastore/image/info?image=new").json() == {"name": "new.nii.gz", "dimension": 3}
    assert list_left(viewer) == []


HOSTILE = ("../secret", "/etc/passwd", "..%2fsecret", "head/../../secret", "chest\\..\\..\\secret", "a\x00b")


def test_names_lead_nowhere_else(viewer: TestClient, studies: Path, tmp_path: Path) -> None:
    save_nifti(studies.parent / "secret.nii.gz", make_volume())
    _save_label(tmp_path / "l.nii.gz", np.ones((5, 20, 24)), studies / HEAD)
    before = sorted(tmp_path.rglob("*"))
    for name in HOSTILE:
        assert viewer.get("/datastore/image", params={"image": name}).status_code == 404
        assert viewer.post("/infer/scan", params={"image": name}).status_code == 404
        assert viewer.get("/datastore/label", params={"label": "head", "tag": name}).status_code == 404
        assert _send_label(viewer, name, tmp_path / "l.nii.gz").status_code == 404
        assert _send_label(viewer, "head", tmp_path / "l.nii.gz", tag=name).status_code == 422
    assert sorted(tmp_path.rglob("*")) == before
    for name in HOSTILE:
        viewer.put("/datastore/image", params={"image": name}, files={"file": ("x.png", draw_png())})
    assert {path.parent for path in tmp_path.rglob("*.png")} == {studies}


def test_what_is_not_there_is_said_in_one_line(viewer: TestClient, glass3d: Segmenter) -> None:
    assert viewer.post("/activelearning/magic").json()["detail"] == (
        "the strategy 'magic' is unknown; there are first, random"
    )
    assert viewer.post("/infer/none?image=head").status_code == 422
    wrong = viewer.post("/infer/scan?image=head", files={"params": (None, '{"result_dtype": "float"}')})
    assert wrong.json()["detail"].startswith("params: result_dtype")
    wide = {"params": (None, f'{{"window": {WIDEST + 1}}}')}  # as much as the interface of our own takes
    assert viewer.post("/infer/scan?image=head", files=wide).status_code == 422
    assert viewer.post("/infer/scan?image=head", files={"params": (None, "{")}).status_code == 422
    assert viewer.head("/datastore/label?image=head&tag=final").status_code == 404
    with serving({"scan": glass3d}) as bare:
        assert bare.get("/info/").json()["datastore"] == {}
        assert bare.get("/datastore/").json()["detail"] == (
            "this server has no images; start it with --studies FOLDER"
        )


def test_the_pairs_to_train_on_are_listed(viewer: TestClient, studies: Path, tmp_path: Path) -> None:
    _save_label(tmp_path / "l.nii.gz", np.ones((5, 20, 24)), studies / HEAD)
    _send_label(viewer, "head", tmp_path / "l.nii.gz")
    assert viewer.get("/datastore/?output=train").json() == [{"image": "head", "label": "head"}]
    assert viewer.get("/datastore/label/info?label=head").json()["params"] == {
        "label_names": {"lesion": 1, "instrument": 2}
    }


def test_sessions_are_few_and_end(viewer: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_sessions, "MOST_SESSIONS", 2)

    def begin(expiry: int = 0) -> str:
        answer = viewer.put(f"/session/?expiry={expiry}", files=[("files", ("a.png", draw_png()))])
        return answer.json()["session_id"]

    first, second, third = begin(), begin(), begin()
    assert viewer.get(f"/session/{first}").status_code == 404
    answer = viewer.post(f"/infer/glass?session_id={second}&output=image")
    assert answer.content.startswith(b"\x89PNG")
    fourth = begin()
    assert viewer.get(f"/session/{third}").status_code == 404  # the second was used since
    assert len([name for name in list_left(viewer) if name.endswith(".png")]) == 2
    short = begin(5)
    now = time.time()
    monkeypatch.setattr(viewer_sessions.time, "time", lambda: now + 6)
    assert viewer.get(f"/session/{short}").status_code == 404
    assert viewer.delete(f"/session/{fourth}").status_code == 200
    assert list_left(viewer) == []


def test_the_log_lists_jobs(viewer: TestClient) -> None:
    viewer.post("/api/v1/predict?wait=30", files={"files": ("a.png", draw_png())}, data={"model": "glass"})
    line = viewer.get("/logs/?lines=5").text.strip().splitlines()[-1]
    assert line.split()[1:3] == ["predict", "done"]


def test_centres_are_told_first_axis_of_the_file_first() -> None:
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[1, 2, 3] = mask[1, 2, 4] = 1
    assert find_centroids(mask, {0: "background", 1: "lesion", 2: "other"}) == {
        "lesion": ["1", "3.5", "2.0", "1.0"]
    }


@pytest.mark.parametrize(
    ("sent", "flips"),
    [
        *(({"flips": each}, None) for each in ("model", ["model", "yes", "no"], None)),
        *(({"flips": each}, True) for each in ("yes", True)),
        *(({"flips": each}, False) for each in ("no", False)),
        ({}, None),
    ],
)
def test_a_viewer_says_how_a_model_looks_or_leaves_it_to_the_model(
    sent: dict[str, Any], flips: bool | None
) -> None:
    """Slicer sends the chosen word, or the whole list where nobody chose."""
    assert MaskWishes.model_validate(sent).to_inference(None).flips is flips
