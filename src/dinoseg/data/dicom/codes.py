"""Coded terms for names of classes: SNOMED CT for common anatomy and findings, else a general term."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dinoseg.data.dicom.libraries import load_highdicom


@dataclass(frozen=True)
class Term:
    """A term of SNOMED CT.

    Attributes:
        code: its number.
        meaning: its name.
    """

    code: str
    meaning: str

    def as_concept(self) -> Any:
        """The term as highdicom wants it.

        Raises:
            DinosegError: highdicom is not installed.
        """
        return load_highdicom("highdicom.sr").CodedConcept(self.code, "SCT", self.meaning)


@dataclass(frozen=True)
class SegmentCode:
    """What a segment shows, for programs.

    Attributes:
        category: anatomy, tissue or abnormality.
        kind: what it is.
        side: left or right, or None.
    """

    category: Term
    kind: Term
    side: Term | None = None


ANATOMY = Term("91723000", "Anatomical Structure")
TISSUE = Term("85756007", "Tissue")
ABNORMALITY = Term("49755003", "Morphologically Abnormal Structure")
SIDES = {"left": Term("7771000", "Left"), "right": Term("24028007", "Right")}

_ANATOMY = {
    "adrenal gland": "23451007",
    "aorta": "15825003",
    "bladder": "89837001",
    "bone": "272673000",
    "brain": "12738006",
    "brain stem": "119238007",
    "breast": "76752008",
    "cerebellum": "113305005",
    "clavicle": "51299004",
    "colon": "71854001",
    "duodenum": "38848004",
    "esophagus": "32849002",
    "eye": "81745001",
    "femur": "71341001",
    "gallbladder": "28231008",
    "heart": "80891009",
    "hippocampus": "5366008",
    "humerus": "85050009",
    "inferior vena cava": "64131007",
    "kidney": "64033007",
    "left atrium": "82471001",
    "left ventricle": "87878005",
    "liver": "10200004",
    "lung": "39607008",
    "lymph node": "59441001",
    "mandible": "91609006",
    "myocardium": "74281007",
    "optic nerve": "18234004",
    "optic nerve head": "81016008",
    "ovary": "15497006",
    "pancreas": "15776009",
    "parotid gland": "45289007",
    "pericardium": "76848001",
    "portal vein": "32764006",
    "prostate": "41216001",
    "pulmonary artery": "81040000",
    "rectum": "34402009",
    "retina": "5665001",
    "rib": "113197003",
    "right atrium": "73829009",
    "right ventricle": "53085002",
    "sacrum": "54735007",
    "scapula": "79601000",
    "seminal vesicle": "64739004",
    "skin": "39937001",
    "skull": "89546000",
    "small intestine": "30315005",
    "spinal cord": "2748008",
    "spleen": "78961009",
    "splenic vein": "35819009",
    "sternum": "56873002",
    "stomach": "69695003",
    "testis": "40689003",
    "thalamus": "42695009",
    "thyroid": "69748006",
    "trachea": "44567001",
    "uterus": "35039007",
    "vertebra": "51282000",
}
_TISSUE = {
    "artery": "51114001",
    "blood vessel": "59820001",
    "cartilage": "309312004",
    "gray matter": "389081007",
    "muscle": "71616004",
    "tissue": "85756007",
    "vein": "29092000",
    "white matter": "389080008",
}
_ABNORMALITY = {
    "abscess": "44132006",
    "cyst": "367643001",
    "edema": "79654002",
    "hemorrhage": "50960005",
    "lesion": "52988006",
    "necrosis": "6574001",
    "neoplasm": "108369006",
    "nodule": "27925004",
    "polyp": "41329004",
}
_ALIASES = {
    "adrenal": "adrenal gland",
    "brainstem": "brain stem",
    "gall bladder": "gallbladder",
    "grey matter": "gray matter",
    "haemorrhage": "hemorrhage",
    "ivc": "inferior vena cava",
    "kidneys": "kidney",
    "lungs": "lung",
    "oedema": "edema",
    "oesophagus": "esophagus",
    "optic disc": "optic nerve head",
    "optic disk": "optic nerve head",
    "postcava": "inferior vena cava",
    "suprarenal gland": "adrenal gland",
    "tumor": "neoplasm",
    "tumour": "neoplasm",
    "urinary bladder": "bladder",
    "vessel": "blood vessel",
}
_KINDS = ((_ANATOMY, ANATOMY), (_TISSUE, TISSUE), (_ABNORMALITY, ABNORMALITY))


def find_code(name: str) -> SegmentCode:
    """Coded terms for the name of a class; "anatomical structure" where the name is not in the table.

    "left kidney", "kidney_left" and "Kidney (left)" are the kidney with the side left.

    Args:
        name: of the class, in English.
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    whole = _look_up(" ".join(words))
    if whole is not None:
        return whole
    sides = [word for word in words if word in SIDES]
    if len(sides) == 1:
        part = _look_up(" ".join(word for word in words if word not in SIDES))
        if part is not None:
            return SegmentCode(part.category, part.kind, SIDES[sides[0]])
    return SegmentCode(ANATOMY, ANATOMY)


def _look_up(phrase: str) -> SegmentCode | None:
    phrase = _ALIASES.get(phrase, phrase)
    for table, category in _KINDS:
        if phrase in table:
            return SegmentCode(category, Term(table[phrase], phrase.capitalize()))
    return None
