from __future__ import annotations

import pytest

from dinoseg.methods.segdino_v1.decoder import SegDINOv1
from dinoseg.methods.segdino_v2.decoder import SegDINOv2
from tests.methods.released import difference, features_of, load, read

TOLERANCE = 1e-4


@pytest.mark.parametrize("name", ["segdino_v1_c1", "segdino_v1_c4"])
def test_first_version_equals_the_released_program(name: str) -> None:
    case = read(name)
    features = features_of(case, "backbone.")
    decoder = SegDINOv1(
        features.channels,
        case.settings["num_classes"],
        features=case.settings["features"],
        widths=case.settings["out_channels"],
    )
    load(decoder, case, "backbone.")
    assert difference(decoder.head(features), case.outputs["head"]) <= TOLERANCE
    assert difference(decoder(features), case.outputs["logits"]) <= TOLERANCE
    assert case.outputs["logits"].std() > 100 * TOLERANCE  # so that the tolerance means something


@pytest.mark.parametrize("name", ["segdino_v2_c1_gn", "segdino_v2_c4_bn"])
def test_second_version_equals_the_released_program(name: str) -> None:
    case = read(name)
    features = features_of(case, "backbone.")
    decoder = SegDINOv2(
        features.channels,
        case.settings["num_classes"],
        width=case.settings["decoder_channels"],
        norm=case.settings["norm"],
    )
    load(decoder, case, "backbone.")
    assert difference(decoder.head(features), case.outputs["decoder"]) <= TOLERANCE
    assert difference(decoder(features), case.outputs["logits"]) <= TOLERANCE
    assert case.outputs["logits"].std() > 100 * TOLERANCE
