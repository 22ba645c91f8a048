"""The protocols of other programs are in the OpenAPI document, and answer what it says, whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.inference.volumes import make_volume, save_nifti
from tests.serving.contract import DOCUMENT, SERVER, check_operations
from tests.serving.plain import Grey
from tests.serving.servers import draw_png, list_left, serving

PATHS = (
    "/info",
    "/infer",
    "/datastore",
    "/activelearning",
    "/train",
    "/session",
    "/logs",
    "/auth",
    "/setup",
    "/predict",
    "/label-studio",
)
ODD = ("", "a", "../../etc/passwd", "a\x00b", "'\"<>&\r\nX: y", "\U0001f600", "-1", "9" * 400)
PARAMS = ("model", "image", "label", "session_id", "tag", "output", "strategy", "lines", "expiry")
BODIES: tuple[dict[str, Any], ...] = (
    {},
    {"content": b"\xff\x00", "headers": {"content-type": "multipart/form-data; boundary=x"}},
    {"content": b"{", "headers": {"content-type": "application/json"}},
    {"json": [1, None]},
    {"json": {"tasks": [{"data": {"image": {}}}], "label_config": "<", "schema": 7}},
    {
        "files": {
            "file": ("../x.nii.gz", b"\x1f\x8b"),
            "label": ("x.png", draw_png()),
            "params": (None, "[1]"),
        }
    },
)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    (tmp_path / "a.png").write_bytes(draw_png())
    save_nifti(tmp_path / "scan.nii.gz", make_volume((3, 8, 8)))
    studio = "http://127.0.0.1:9"
    with serving({"grey": Grey()}, names=(SERVER,), studies=tmp_path, label_studio=studio) as client:
        yield client


def test_odd_requests_get_documented_refusals(client: TestClient, tmp_path: Path) -> None:
    paths = client.get(DOCUMENT).json()["paths"]
    operations = [
        (path, method, {*operation["responses"]})
        for path, each in paths.items()
        if path.startswith(PATHS)
        for method, operation in each.items()
    ]
    assert len(operations) >= 26
    for number, (path, method, documented) in enumerate(operations):
        turns = len(BODIES) if method in ("put", "post") else 2
        for turn in range(turns):
            odd = ODD[(number + turn) % len(ODD)]
            place = path
            for name in ("{model}", "{strategy}", "{session_id}"):
                place = place.replace(name, ("grey", "first")[turn % 2] if turn < 2 else "x%00%2e%2e")
            body = BODIES[turn] if turns > 2 else {}
            answer = client.request(method, place, params=dict.fromkeys(PARAMS, odd), **body)
            assert str(answer.status_code) in documented, (method, place, odd, answer.text)
            if answer.status_code >= 400 and method != "head":
                assert "\n" not in answer.json()["detail"]
    assert {path.name for path in tmp_path.iterdir()} <= {"a.png", "scan.nii.gz", "labels"}
    assert list_left(client) == []


def _about_something(case: Any) -> None:
    """Every path and query names something that is there."""
    known = {"model": "grey", "strategy": "first"}
    case.path_parameters.update({name: known[name] for name in known if name in case.path_parameters})
    if case.query:
        case.query.update({name: "a" for name in ("image", "label") if name in case.query})


@pytest.mark.slow
def test_no_request_makes_the_server_fail(client: TestClient) -> None:
    for change in (None, _about_something):
        found = check_operations(client.app, examples=10, change=change, only=PATHS)
        assert not {label: each for label, each in found.items() if max(each, default=200) >= 500}
