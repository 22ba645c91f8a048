from __future__ import annotations

from pathlib import Path

import pytest

from dinoseg.backbones.catalog import BACKBONES
from dinoseg.backbones.licenses import DINOV3_LICENSE_URL, is_accepted, needs_acceptance, require_license
from dinoseg.errors import LicenseError
from tests.backbones.tiny import Notes

SPEC = BACKBONES["dinov3_vits16"]


def test_shown_once_accepted_once_remembered(home: Path) -> None:
    notes = Notes()
    with pytest.raises(LicenseError, match="--accept-license") as caught:
        require_license(SPEC, accept=False, progress=notes)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4
    assert not is_accepted(SPEC.license)
    assert any(DINOV3_LICENSE_URL in note for note in notes.notes)

    require_license(SPEC, accept=True, progress=Notes())
    assert is_accepted(SPEC.license)
    assert (home / "dinoseg" / "licenses.json").is_file()
    later = Notes()
    require_license(BACKBONES["dinov3_convnext_tiny"], accept=False, progress=later)
    assert later.notes == []


def test_the_summary_names_the_duties() -> None:
    notes = Notes()
    require_license(SPEC, accept=True, progress=notes)
    text = " ".join(notes.notes)
    for duty in ("same agreement", "copy", "acknowledge", "military", "nuclear", "weapons", "commercially"):
        assert duty in text


def test_accepting_is_per_home(tmp_path: Path) -> None:
    require_license(SPEC, accept=True, home=tmp_path / "a")
    assert is_accepted(SPEC.license, home=tmp_path / "a")
    assert not is_accepted(SPEC.license, home=tmp_path / "b")


@pytest.mark.parametrize("name", ["dinov2_vits14", "untrained-vitt16"])
def test_open_licences_need_nothing(name: str, home: Path) -> None:
    assert not needs_acceptance(BACKBONES[name])
    require_license(BACKBONES[name], accept=False)
    assert not (home / "dinoseg" / "licenses.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00"])
def test_a_damaged_memory_asks_again(content: str, tmp_path: Path) -> None:
    (tmp_path / "licenses.json").write_text(content)
    with pytest.raises(LicenseError):
        require_license(SPEC, accept=False, home=tmp_path)
    require_license(SPEC, accept=True, home=tmp_path)
    assert is_accepted(SPEC.license, home=tmp_path)
