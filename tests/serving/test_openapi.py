"""The interface is what its document says: schemathesis finds no 5xx and no answer that is not described."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dinoseg.model.segmenter import Segmenter
from dinoseg.serving.answers import JobAnswer, ModelAnswer, PredictionAnswer
from dinoseg.serving.app import create_app
from dinoseg.serving.options import ServeOptions
from tests.serving.contract import DOCUMENT, SERVER, check_operations
from tests.serving.plain import Grey
from tests.serving.servers import draw_png, list_left, post, serving
from tests.teaching.scenes import open_project, write_discs

OURS = ("/api/v1", "/health", "/ready", "/metrics")  # the protocols of other programs have tests of their own


@pytest.fixture
def client() -> Iterator[TestClient]:
    with serving({"grey": Grey()}, names=(SERVER,), kept=5000) as client:
        yield client


def _about_something(client: TestClient) -> Any:
    """Every other case is about a job that is there, or brings a picture; deletions take others' jobs."""
    turns, pictures = itertools.count(), itertools.count()
    job = post(client, ("a.png", draw_png())).json()["id"]
    spare = [post(client, ("a.png", draw_png())).json()["id"] for _ in range(5)]

    def change(case: Any) -> None:
        if next(turns) % 2:
            return
        if case.operation.path.endswith("/predict"):
            drawn = case.body if isinstance(case.body, dict) and next(pictures) else {}  # the first: no more
            case.body = {**drawn, "files": [draw_png()]}
            case.body.pop("model", None)
        if "id" in case.path_parameters:
            if case.operation.method.lower() != "delete":
                case.path_parameters["id"] = job
            elif spare:
                case.path_parameters["id"] = spare.pop()
        if "name" in case.path_parameters:
            case.path_parameters["name"] = "mask.png"

    return change


def _check(client: TestClient, examples: int) -> dict[str, Counter[int]]:
    found = check_operations(client.app, examples=examples, change=_about_something(client), only=OURS)
    assert len(found) == 10
    for label, statuses in found.items():
        assert max(statuses) < 500, (label, statuses)
        assert min(statuses) < 300, (label, statuses)
    return found


def test_every_operation_keeps_its_word(client: TestClient) -> None:
    _check(client, 2)


@pytest.mark.slow
def test_every_operation_keeps_its_word_for_long(client: TestClient) -> None:
    found = _check(client, 60)
    assert sum(found["POST /api/v1/predict"].values()) >= 100
    assert [name for name in list_left(client) if name.endswith("/input")] == []


@pytest.mark.slow
def test_teaching_keeps_its_word(tmp_path: Path) -> None:
    write_discs(tmp_path, 2)
    with closing(open_project(tmp_path, classes=["disc"])) as project:
        image = project.subjects[0].id
        app = create_app(teaching=project, options=ServeOptions(names=(SERVER,)))

        def change(case: Any) -> None:
            if "/images/" in case.operation.path:
                case.path_parameters["id"] = image

        with TestClient(app):
            found = check_operations(
                app, examples=25, change=change, only="/api/v1/teach", without=("/events", "/train")
            )
    assert len(found) >= 12
    assert all(max(statuses) < 500 for statuses in found.values()), found


def test_the_document_is_complete(client: TestClient) -> None:
    document = client.get(DOCUMENT).json()
    names = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(names) == len({*names})
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
            assert operation["tags"], path
            assert {"400", "401", "403", "421", "431"} <= operation["responses"].keys(), path
            for status, answer in operation["responses"].items():
                assert answer["content"], (path, status)
                if int(status) >= 400:
                    assert answer["content"]["application/json"]["schema"]["title"] == "Problem", (
                        path,
                        status,
                    )
    schemas = document["components"]["schemas"]
    assert not [name for name in schemas if "ValidationError" in name]
    for name in ("JobAnswer", "ModelAnswer", "Info"):
        assert schemas[name]["examples"], name
    assert "securitySchemes" not in document["components"]


def test_examples_of_the_document_are_answers(client: TestClient, glass: Segmenter) -> None:
    schemas = client.get(DOCUMENT).json()["components"]["schemas"]
    job = post(client, ("a.png", draw_png())).json()
    (example,) = schemas["JobAnswer"]["examples"]
    assert isinstance(JobAnswer.model_validate(example).result, PredictionAnswer)
    assert example["result"].keys() < job["result"].keys()  # FastAPI leaves out what is null
    assert example["result"]["classes"][0].keys() < job["result"]["classes"][0].keys()
    (model,) = client.get("/api/v1/models").json()
    (example,) = schemas["ModelAnswer"]["examples"]
    assert ModelAnswer.model_validate(example).model_dump().keys() == model.keys()


def test_a_token_is_in_the_document(glass: Segmenter) -> None:
    token = "a-token-that-nobody-guesses"
    with serving({"glass": glass}, token=token) as client:
        document = client.get(DOCUMENT, headers={"authorization": f"Bearer {token}"}).json()
    assert document["components"]["securitySchemes"] == {"HTTPBearer": {"type": "http", "scheme": "bearer"}}
    assert document["paths"]["/api/v1/predict"]["post"]["security"] == [{"HTTPBearer": []}]


def test_metrics_count_what_happens(client: TestClient) -> None:
    post(client, ("a.png", draw_png()))
    client.get("/no/such/path")
    client.get("/api/v1/jobs/no-job")
    text = client.get("/metrics").text
    assert 'dinoseg_requests_total{method="POST",route="/api/v1/predict",status="200"} 1.0' in text
    assert 'dinoseg_requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert 'dinoseg_requests_total{method="GET",route="/api/v1/jobs/{id}",status="422"} 1.0' in text
    assert 'dinoseg_prediction_seconds_count{model="grey"} 1.0' in text
    assert 'dinoseg_jobs{state="done"} 1.0' in text
    assert "dinoseg_models 1.0" in text
    assert "process_resident_memory_bytes" in text
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
