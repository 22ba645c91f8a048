"""Codes agree with pydicom's dictionary; names of classes find them."""

from __future__ import annotations

import pytest
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dinoseg.data.dicom import codes as table
from dinoseg.data.dicom.codes import ABNORMALITY, ANATOMY, SIDES, TISSUE, find_code

# Not in pydicom's dictionary; looked up in SNOMED CT.
LOOKED_UP = {"myocardium": "74281007", "polyp": "41329004"}


def known_codes() -> dict[str, set[str]]:
    """Code -> words that pydicom has for it."""
    found: dict[str, set[str]] = {}
    for code in (getattr(codes.SCT, name) for name in dir(codes.SCT)):
        if not isinstance(code, Code):
            continue
        found.setdefault(code.value, set()).add(code.meaning.lower())
    return found


def test_every_code_is_the_one_of_its_name() -> None:
    known = known_codes()
    names = table._ANATOMY | table._TISSUE | table._ABNORMALITY
    assert len(names) > 70
    for name, code in names.items():
        if name in LOOKED_UP:
            assert code == LOOKED_UP[name]
        else:
            assert name in known[code]
    for term in (ANATOMY, TISSUE, ABNORMALITY, *SIDES.values()):
        assert term.meaning.lower() in known[term.code]


def test_every_alias_leads_somewhere() -> None:
    names = table._ANATOMY | table._TISSUE | table._ABNORMALITY
    assert set(table._ALIASES.values()) <= set(names)


@pytest.mark.parametrize(
    ("name", "code", "side", "category"),
    [
        ("Liver", "10200004", None, ANATOMY),
        ("left kidney", "64033007", "Left", ANATOMY),
        ("kidney_right", "64033007", "Right", ANATOMY),
        ("Kidney (left)", "64033007", "Left", ANATOMY),
        ("left-ventricle", "87878005", None, ANATOMY),
        ("tumour", "108369006", None, ABNORMALITY),
        ("optic disc", "81016008", None, ANATOMY),
        ("white matter", "389080008", None, TISSUE),
        ("left right kidney", "91723000", None, ANATOMY),
        ("class 3", "91723000", None, ANATOMY),
        ("left", "91723000", None, ANATOMY),
    ],
)
def test_names(name: str, code: str, side: str | None, category: object) -> None:
    found = find_code(name)
    assert found.kind.code == code
    assert (found.side.meaning if found.side else None) == side
    assert found.category == category
