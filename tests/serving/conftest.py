"""Models that are made once for all tests of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from dinoseg.config import RangeIntensity
from dinoseg.model.segmenter import Segmenter
from tests.inference.models import THREE, make_glass
from tests.serving.servers import serving


@pytest.fixture(scope="session")
def glass() -> Segmenter:
    return make_glass(THREE)


@pytest.fixture(scope="session")
def glass3d() -> Segmenter:
    return make_glass(size=12, intensity=RangeIntensity(minimum=0, maximum=1000))


@pytest.fixture(scope="module")
def client(glass: Segmenter, glass3d: Segmenter) -> Iterator[TestClient]:
    with serving({"glass": glass, "scan": glass3d}) as client:
        yield client
