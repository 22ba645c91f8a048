"""What `doctor` finds, and the fixes it names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dinoseg.cli import findings
from dinoseg.cli.findings import examine
from tests.cli.conftest import Run


def _find(subject: str) -> findings.Finding:
    (found,) = [finding for finding in examine(network=False) if finding.subject == subject]
    return found


def _break_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "raise RuntimeError('operator nms does not exist')\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_this_machine_is_fine(run: Run) -> None:
    ended = run("doctor", "--json")
    assert ended.code == 0, ended.out
    found = {finding["subject"]: finding for finding in ended.json["findings"]}
    assert ended.json["problems"] == 0
    assert found["python"]["text"].startswith(".".join(map(str, sys.version_info[:2])))
    assert {"extra train", "processor", "accelerators", "home folder", "disk", "hub", "torchvision"} <= set(
        found
    )
    assert "not asked" in found["hub"]["text"]


def test_broken_torchvision_is_found_with_its_fix(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_torchvision(tmp_path, monkeypatch)
    ended = run("doctor")
    assert ended.code == 1
    assert "operator nms does not exist" in ended.out
    assert "pip uninstall torchvision" in ended.out


def test_missing_package_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "PACKAGES", ("a-package-that-nobody-wrote",))
    found = _find("a-package-that-nobody-wrote")
    assert (found.state, found.fix) == ("problem", "pip install a-package-that-nobody-wrote")


def test_folder_that_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(findings.tempfile, "TemporaryFile", refuse)
    found = _find("home folder")
    assert found.state == "problem"
    assert "DINOSEG_HOME" in found.fix


def test_hub_is_asked_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "not asked" in _find("hub").text
    (found,) = [finding for finding in examine(network=True) if finding.subject == "hub"]
    assert found.state == "note"
    assert "cannot be reached" in found.text


def test_size_of_what_is_kept(home: Path) -> None:
    folder = home / "dinoseg" / "features" / "ab"
    folder.mkdir(parents=True)
    (folder / "entry").write_bytes(bytes(250_000_000))
    assert "features 0.2 GB" in _find("kept on disk").text
