"""The Dockerfile: what it promises is in it, and its steps work in a fresh environment."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dinoseg.data.images import write_image
from dinoseg.data.phantoms.phantoms import draw_phantom
from dinoseg.export import export
from tests.export.environment import ABSENT, list_modules
from tests.export.runs import make_run

ROOT = Path(__file__).parents[2]
HERE = "/opt/dinoseg"  # of the image


def _read() -> Iterator[tuple[str, str]]:
    """Instructions in their order, with what they are given."""
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest


def test_it_is_slim_and_runs_as_nobody_in_particular() -> None:
    lines = list(_read())
    assert all(":3.12-slim" in rest for word, rest in lines if word == "FROM")
    last = max(index for index, (word, _) in enumerate(lines) if word == "FROM")
    final = lines[last:]
    assert not any("pip" in rest for word, rest in final if word == "RUN")
    (user,) = [rest for word, rest in final if word == "USER"]
    assert user not in ("root", "0")
    assert any(f"useradd --create-home --uid 1000 {user}" in rest for word, rest in final if word == "RUN")
    assert ("ENV", "HF_HUB_OFFLINE=1") in final
    assert [rest for word, rest in final if word == "ENTRYPOINT"] == ['["dinoseg"]']
    (install,) = [rest for word, rest in lines if "pip install" in rest]
    assert install.endswith("'.[runtime,dicom,serve]'")


def test_what_it_leaves_out_is_not_needed() -> None:
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not {"src", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "NOTICE"} & set(left_out)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first stage builds, in a folder instead of an image."""
    root = tmp_path_factory.mktemp("image")
    source, built = root / "source", root / "dinoseg"
    left_out = shutil.ignore_patterns(*(ROOT / ".dockerignore").read_text(encoding="utf-8").split())

    def ignore(folder: str, names: list[str]) -> set[str]:
        return left_out(folder, names) if Path(folder) == ROOT else set()  # as docker does: of the top only

    shutil.copytree(ROOT, source, ignore=ignore)
    lines = list(_read())
    second = [index for index, (word, _) in enumerate(lines) if word == "FROM"][1]
    for word, rest in lines[:second]:
        if word == "RUN":
            words = shlex.split(rest.replace(HERE, str(built)))
            words[0] = shutil.which("python3") if words[0] == "python" else words[0]
            ended = subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)
            if ended.returncode != 0 and "pip" in rest:
                pytest.skip(f"needs a package index: {ended.stderr.strip().splitlines()[-1]}")
            assert ended.returncode == 0, ended.stderr
    return built


@pytest.mark.slow
def test_its_steps_give_what_predicts_without_a_network(image: Path, tmp_path: Path) -> None:
    assert list_modules(image / "bin" / "python", ABSENT) == set()
    bundle = tmp_path / "bundle"
    export(make_run(tmp_path / "run", "linear"), bundle)
    write_image(tmp_path / "in" / "a.png", draw_phantom("endoscopy", size=(60, 80), seed=0).image)
    assigned = dict(rest.split("=", 1) for word, rest in _read() if word == "ENV")
    assigned |= {"PATH": f"{image / 'bin'}:{os.environ['PATH']}", "DINOSEG_HOME": str(tmp_path / "home")}
    command = ["dinoseg", "predict", str(bundle), str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    apart = ["unshare", "--net", "--map-root-user"]  # no network at all
    tried = subprocess.run([*apart, "true"], capture_output=True, check=False)
    command = [*apart, *command] if tried.returncode == 0 else command
    ended = subprocess.run(command, env=assigned, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "masks" / "a.png").is_file()
