"""CVAT's own driver takes what the function says: its checks of labels and shapes run here."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from scipy import ndimage

from dinoseg.config import Inference, RangeIntensity
from dinoseg.errors import UsageError
from dinoseg.inference import predict
from dinoseg.integrations.cvat import Annotator, create, list_parts
from dinoseg.integrations.outlines import trace_outline
from tests.inference.models import THREE, make_glass, make_vit

cvat = pytest.importorskip("cvat_sdk.auto_annotation")
driver = pytest.importorskip("cvat_sdk.auto_annotation.driver")


def _picture(height: int = 32, width: int = 40) -> PillowImage.Image:
    """Dark, with a grey box with a hole and a bright box beside it."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[2:20, 3:15] = 127
    pixels[8:12, 6:10] = 0
    pixels[22:30, 20:36] = 255
    return PillowImage.fromarray(pixels)


def _annotate(function: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[Any]:
    """What `cvat-cli task auto-annotate` would upload: the task is a stand-in, the driver is CVAT's."""
    labels = [
        SimpleNamespace(name=name, id=70 + index, type="any", attributes=[], sublabels=[])
        for index, name in enumerate(("instrument", "lesion"))
    ]
    sample = SimpleNamespace(frame_name="a.png", frame_index=5, media=SimpleNamespace(load_image=_picture))
    monkeypatch.setattr(
        driver, "TaskDataset", lambda *_, **__: SimpleNamespace(labels=labels, samples=[sample])
    )
    sent: list[Any] = []
    api = SimpleNamespace(
        partial_update_annotations=lambda *_, patched_labeled_data_request: sent.append(
            patched_labeled_data_request
        )
    )
    client = SimpleNamespace(logger=logging.getLogger("test"), tasks=SimpleNamespace(api=api))
    cvat.annotate_task(client, 7, function, **options)
    return list(sent[0].shapes)


@pytest.fixture(scope="module")
def function() -> Annotator:
    return Annotator(make_glass(THREE), how=Inference())


def test_the_labels_are_the_classes_in_our_colours(function: Annotator) -> None:
    assert isinstance(function.spec, cvat.DetectionFunctionSpec)
    assert [(each.id, each.name, each.type, each.color) for each in function.spec.labels] == [
        (1, "lesion", "mask", "#00beff"),
        (2, "instrument", "mask", function.spec.labels[1].color),
    ]


def test_masks_are_those_of_the_model(function: Annotator, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvat_sdk.masks import decode_mask

    shapes = _annotate(function, monkeypatch)
    expected = predict(make_glass(THREE), _picture()).mask
    assert [(each.label_id, each.frame, each.type.value, each.source) for each in shapes] == [
        (71, 5, "mask", "auto"),
        (70, 5, "mask", "auto"),
    ]
    for shape, index in zip(shapes, (1, 2), strict=True):
        found = decode_mask(shape.points, image_width=40, image_height=32)
        np.testing.assert_array_equal(found, expected == index)
    assert {1, 2} <= {*expected.ravel().tolist()}


def test_polygons_cover_the_same_pixels_but_for_holes(
    function: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = _annotate(function, monkeypatch, conv_mask_to_poly=True)
    expected = predict(make_glass(THREE), _picture()).mask
    assert {each.type.value for each in shapes} == {"polygon"}
    for label, index in ((71, 1), (70, 2)):
        covered = np.zeros(expected.shape, bool)
        for shape in shapes:
            if shape.label_id == label:
                covered |= _fill(np.array(shape.points).reshape(-1, 2), expected.shape)
        np.testing.assert_array_equal(covered, ndimage.binary_fill_holes(expected == index))


def _fill(corners: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels whose centres lie inside, by counting crossings of a ray to the right."""
    ys, xs = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
        if x0 == x1:
            inside ^= (min(y0, y1) < ys) & (ys < max(y0, y1)) & (xs < x0)
    return inside


def test_an_outline_stays_with_its_pixels() -> None:
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(20):
        mask = (rng.random((9, 11)) < 0.6).astype(np.uint8)
        for _, part in list_parts(mask, separate=True):
            holes_by_corners_are_outside = np.ones((3, 3))
            expected = ndimage.binary_fill_holes(part, holes_by_corners_are_outside)
            np.testing.assert_array_equal(_fill(trace_outline(part), part.shape), expected)
            seen += 1
    assert seen > 50
    single = np.zeros((3, 3), bool)
    single[1, 2] = True
    assert trace_outline(single).tolist() == [[2, 1], [3, 1], [3, 2], [2, 2]]


def test_parts_can_be_masks_of_their_own() -> None:
    mask = np.array([[1, 0, 1, 2], [0, 1, 0, 2]], np.uint8)
    assert [index for index, _ in list_parts(mask, separate=False)] == [1, 2]
    assert [(index, int(part.sum())) for index, part in list_parts(mask, separate=True)] == [
        (1, 1),
        (1, 1),
        (1, 1),
        (2, 2),
    ]


def test_create_loads_what_the_command_names(tmp_path: Path) -> None:
    make_vit().save(tmp_path / "run" / "model")
    function = create(str(tmp_path / "run"), separate=True)
    context = SimpleNamespace(conv_mask_to_poly=False, conf_threshold=None, frame_name="a.png")
    shapes = function.detect(context, _picture())
    assert {each.label_id for each in shapes} <= {1, 2}


def test_a_model_for_volumes_is_refused() -> None:
    model = make_glass(size=12, intensity=RangeIntensity(minimum=0, maximum=1000))
    with pytest.raises(UsageError, match="was trained on volumes, and CVAT shows images"):
        Annotator(model, how=Inference())
