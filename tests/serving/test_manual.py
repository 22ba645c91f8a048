"""docs/serving.md is true: its curl lines run, and its tables are those of the program."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from dinoseg.config import RangeIntensity
from dinoseg.data.images import read_label
from dinoseg.data.volumes import read_label as read_label_volume
from dinoseg.serving.app import create_app
from dinoseg.serving.models import Models, Served
from dinoseg.serving.options import MIB, ServeOptions
from dinoseg.serving.security import HEAD_BYTES
from dinoseg.serving.server import name_address, take_address
from tests.data.dicom.drawn import draw_series
from tests.inference.volumes import make_volume, save_nifti
from tests.serving.plain import Grey
from tests.serving.servers import draw_png, pack_folder, wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
OURS = ("/api/v1/", "/health", "/ready", "/metrics")  # the others are the protocols of other programs
REST = PAGE.partition("## REST\n")[2].partition("\n## ")[0]


@pytest.fixture
def app() -> FastAPI:
    models = Models(
        [
            Served("kvasir", Grey()),
            Served("spleen", Grey(12, intensity=RangeIntensity(minimum=0, maximum=1000))),
        ]
    )
    return create_app(models)


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    with take_address(ServeOptions(port=0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        wait_until(lambda: server.started)
        yield name_address(listening).rstrip("/")
        server.should_exit = True
        thread.join(10)


def test_curl_lines_run(address: str, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "frame.jpg").write_bytes(draw_png(kind="JPEG"))
    save_nifti(tmp_path / "scan.nii.gz", make_volume())
    array = np.zeros((4, 12, 10), np.uint16)
    array[1:3, 2:7, 3:9] = 1000
    draw_series(tmp_path / "ct", array=array)
    (tmp_path / "ct.zip").write_bytes(pack_folder(tmp_path / "ct"))
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```$", REST, re.MULTILINE | re.DOTALL))
    assert lines.count("curl") == 7
    script = f"set -eu\n{lines}".replace("http://127.0.0.1:8000", address)
    ended = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert '"state":"done"' in ended.stdout
    assert read_label(tmp_path / "mask.png").shape == (24, 32)
    assert '"state":"done"' in (tmp_path / "job.json").read_text()
    assert read_label_volume(tmp_path / "mask.nii.gz").array.any()
    assert (tmp_path / "seg.dcm").read_bytes()[128:132] == b"DICM"


def test_the_table_of_requests_is_the_interface(app: FastAPI) -> None:
    shown = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", PAGE, re.MULTILINE))
    paths = {path: found for path, found in app.openapi()["paths"].items() if path.startswith(OURS)}
    app.state.service.jobs.close()
    app.state.service.scratch.remove()
    assert shown == {f"{method.upper()} {path}" for path, found in paths.items() for method in found}


def test_the_table_of_limits_is_that_of_the_options() -> None:
    options = ServeOptions()
    table = PAGE.partition("| limit |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| ([a-z][^|]*) \| ([^|]+) \|", table, re.MULTILINE))
    assert rows == {
        "bytes of a request": f"{options.upload_bytes // MIB} MiB",
        "pixels of an image": f"{options.pixels:,}",
        "voxels of a volume": f"{options.voxels:,}",
        "bytes of a zip, unpacked": f"{options.unpacked_bytes // MIB} MiB",
        "files in a zip": f"{options.members:,}",
        "predictions that wait": str(options.queue),
        "uploads at once": str(options.uploads),
        "connections": str(options.connections),
        "headers of a request": f"{HEAD_BYTES >> 10} KiB, {options.head_seconds:g} s",
        "silence within a body": f"{options.body_seconds:g} s",
        "speed of a body": f"{options.body_rate} bytes/s after {options.body_seconds:g} s",
        "seconds of a prediction": f"{options.job_seconds:g}",
        "results that are kept": f"{options.kept}, of {options.kept_bytes // MIB} MiB, "
        f"for {options.kept_seconds / 60:g} min",
    }
