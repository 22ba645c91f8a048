"""The protocols of other programs are in the OpenAPI document, and answer what it says, whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.inference.volumes import make_volume, save_nifti
from tests.serving.contract import SERVER, check_operations
from tests.serving.plain import Grey
from tests.serving.servers import draw_png, serving

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


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    (tmp_path / "a.png").write_bytes(draw_png())
    save_nifti(tmp_path / "scan.nii.gz", make_volume())
    with serving(
        {"grey": Grey()}, names=(SERVER,), studies=tmp_path, label_studio="http://127.0.0.1:9"
    ) as client:
        yield client


def _about_something(case: Any) -> None:
    """Every path and query names something that is there."""
    known = {"model": "grey", "strategy": "first"}
    case.path_parameters.update({name: known[name] for name in known if name in case.path_parameters})
    if case.query:
        case.query.update({name: "a" for name in ("image", "label") if name in case.query})


def _check(client: TestClient, examples: int) -> None:
    for change in (None, _about_something):
        found = check_operations(client.app, examples=examples, change=change, only=PATHS)
        assert len(found) >= 26
        assert not {label: each for label, each in found.items() if max(each, default=200) >= 500}


def test_no_request_makes_the_server_fail(client: TestClient) -> None:
    _check(client, 1)


@pytest.mark.slow
def test_no_request_makes_the_server_fail_for_long(client: TestClient) -> None:
    _check(client, 40)
