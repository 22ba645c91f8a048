"""Views: replayable, the same for image and label, and drawn as often and as far as the settings say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from dinoseg.config import AugmentationSettings
from dinoseg.data.tensors.augmentation import LUMA, View, apply_to_image, apply_to_label, draw_view

ALWAYS = AugmentationSettings(
    horizontal_flip=0.5,
    vertical_flip=0.5,
    rotation_probability=1,
    zoom=0.3,
    zoom_probability=1,
    colour_probability=1,
)
NEVER = AugmentationSettings(
    horizontal_flip=0, vertical_flip=0, rotation_probability=0, zoom_probability=0, colour_probability=0
)
SETTINGS = AugmentationSettings(zoom=0.2, zoom_probability=0.3)


def draw_many(settings: AugmentationSettings | None, count: int = 500) -> list[View]:
    return [draw_view(settings, case=f"image {index}", index=1, seed=0) for index in range(count)]


def random_image(height: int = 24, width: int = 40, *, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def square(height: int = 60, width: int = 80) -> Tensor:
    label = torch.zeros(height, width, dtype=torch.uint8)
    label[15:40, 20:45] = 1
    return label


def iou(first: Tensor, second: Tensor) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_the_first_view_is_the_image_itself() -> None:
    view = draw_view(ALWAYS, case="a", index=0, seed=3)
    image, label = random_image(), square()
    assert view == View()
    assert torch.equal(apply_to_image(view, image), image)
    assert torch.equal(apply_to_label(view, label), label)


def test_without_settings_every_view_is_the_image_itself() -> None:
    assert {draw_view(None, case="a", index=index, seed=0) for index in range(5)} == {View()}


def test_the_same_arguments_give_the_same_view_and_others_another() -> None:
    view = draw_view(ALWAYS, case="a", index=1, seed=0)
    assert draw_view(ALWAYS, case="a", index=1, seed=0) == view
    others = [
        draw_view(ALWAYS, case="b", index=1, seed=0),
        draw_view(ALWAYS, case="a", index=2, seed=0),
        draw_view(ALWAYS, case="a", index=1, seed=1),
        draw_view(ALWAYS, case="a:1", index=1, seed=0),
    ]
    assert len({view, *others}) == 5


def test_drawing_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    draw_view(ALWAYS, case="a", index=1, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_view_is_the_same_on_every_machine() -> None:
    """Cached features are named by the view: the draw may not change between versions unnoticed."""
    view = draw_view(ALWAYS, case="a", index=1, seed=0)
    expected = View(
        horizontal_flip=True,
        vertical_flip=True,
        rotation=2.181252145801831,
        zoom=1.2185396198682832,
        brightness=1.0467102636282228,
        contrast=0.8116373947799188,
        saturation=0.9759983629043274,
        hue=-0.0444496171187444,
    )
    assert asdict(view) == pytest.approx(asdict(expected), abs=1e-12)


def test_probability_zero_and_one() -> None:
    assert set(draw_many(NEVER)) == {View()}
    for view in draw_many(ALWAYS, 50):
        assert view.rotation != 0
        assert view.zoom != 1
        assert all(value != 1 for value in (view.brightness, view.contrast, view.saturation))
        assert view.hue != 0


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"horizontal_flip": 1}, {"horizontal_flip"}),
        ({"vertical_flip": 1}, {"vertical_flip"}),
        ({"rotation_probability": 1}, {"rotation"}),
        ({"zoom_probability": 1, "zoom": 0.2}, {"zoom"}),
        ({"colour_probability": 1}, {"brightness", "contrast", "saturation", "hue"}),
    ],
)
def test_each_group_has_its_own_probability(changes: dict[str, float], changed: set[str]) -> None:
    for view in draw_many(NEVER.model_copy(update=changes), 20):
        different = {name for name, value in asdict(view).items() if value != asdict(View())[name]}
        assert different == changed


def _share(values: list[bool]) -> float:
    return sum(values) / len(values)


def test_views_are_drawn_as_often_as_the_settings_say() -> None:
    """500 draws: five standard deviations of a share of 1/2 are 0.11."""
    views = draw_many(SETTINGS)
    assert _share([view.horizontal_flip for view in views]) == pytest.approx(0.5, abs=0.11)
    assert _share([view.vertical_flip for view in views]) == pytest.approx(0.5, abs=0.11)
    assert _share([view.rotation != 0 for view in views]) == pytest.approx(0.5, abs=0.11)
    assert _share([view.zoom != 1 for view in views]) == pytest.approx(0.3, abs=0.11)
    assert _share([view.hue != 0 for view in views]) == pytest.approx(0.5, abs=0.11)
    both = _share([view.horizontal_flip and view.vertical_flip for view in views])
    assert both == pytest.approx(0.25, abs=0.1)


@pytest.mark.parametrize(
    ("get", "width"),
    [
        (lambda view: view.rotation, ALWAYS.rotation),
        (lambda view: view.zoom - 1, ALWAYS.zoom),
        (lambda view: view.brightness - 1, ALWAYS.brightness),
        (lambda view: view.contrast - 1, ALWAYS.contrast),
        (lambda view: view.saturation - 1, ALWAYS.saturation),
        (lambda view: view.hue, ALWAYS.hue),
    ],
    ids=["rotation", "zoom", "brightness", "contrast", "saturation", "hue"],
)
def test_views_go_as_far_as_the_settings_say(get: Callable[[View], float], width: float) -> None:
    """Uniform either way: mean 0, deviation width / sqrt(3), never beyond, nearly reaching both ends."""
    values = torch.tensor([get(view) for view in draw_many(ALWAYS)], dtype=torch.float64) / width
    assert float(values.abs().max()) <= 1 + 1e-9
    assert float(values.max()) > 0.97
    assert float(values.min()) < -0.97
    assert float(values.mean()) == pytest.approx(0, abs=0.13)
    assert float(values.std()) == pytest.approx(1 / math.sqrt(3), abs=0.06)


def test_draws_do_not_depend_on_each_other() -> None:
    """Rotation, zoom and colour of one view have nothing to do with each other."""
    views = draw_many(ALWAYS)
    numbers = [[v.rotation, v.zoom, v.brightness, v.contrast, v.saturation, v.hue] for v in views]
    correlation = torch.corrcoef(torch.tensor(numbers, dtype=torch.float64).T)
    assert float((correlation - torch.eye(6)).abs().max()) < 0.22


def test_flips_are_exact() -> None:
    image, label = random_image(), square()
    assert torch.equal(apply_to_image(View(horizontal_flip=True), image), image.flip(-1))
    assert torch.equal(apply_to_image(View(vertical_flip=True), image), image.flip(-2))
    assert torch.equal(apply_to_label(View(horizontal_flip=True), label), label.flip(-1))
    assert torch.equal(apply_to_label(View(vertical_flip=True), label), label.flip(-2))
    both = View(horizontal_flip=True, vertical_flip=True)
    assert torch.equal(apply_to_image(both, image), image.rot90(2, (-2, -1)))


def test_rotation_is_counter_clockwise() -> None:
    image, label = random_image(32, 32), square(64, 64)
    for turns in (1, 2, 3):
        view = View(rotation=90.0 * turns)
        expected = image.rot90(turns, (-2, -1))  # torch turns counter-clockwise as seen
        torch.testing.assert_close(apply_to_image(view, image), expected, atol=1e-4, rtol=0)
        assert iou(apply_to_label(view, label), label.rot90(turns, (-2, -1))) > 0.99


def test_rotation_by_an_angle_moves_a_point_along_its_circle() -> None:
    """In an image that is not square, too: a dot 30 px right of the centre goes up by 30 sin."""
    label = torch.zeros(101, 161, dtype=torch.uint8)
    label[48:53, 108:113] = 1  # centre (50, 80), dot at (50, 110)
    for angle in (15.0, -40.0, 60.0):
        rows, columns = torch.nonzero(apply_to_label(View(rotation=angle), label), as_tuple=True)
        assert float(rows.float().mean()) == pytest.approx(50 - 30 * math.sin(math.radians(angle)), abs=0.5)
        assert float(columns.float().mean()) == pytest.approx(
            80 + 30 * math.cos(math.radians(angle)), abs=0.5
        )
        assert len(rows) == pytest.approx(25, abs=6)


@pytest.mark.parametrize("zoom", [0.8, 1.25])
def test_zoom_scales_about_the_centre(zoom: float) -> None:
    label = torch.zeros(100, 140, dtype=torch.uint8)
    label[40:60, 50:90] = 1  # 20 x 40 about the centre
    rows, columns = torch.nonzero(apply_to_label(View(zoom=zoom), label), as_tuple=True)
    assert int(rows.max() - rows.min()) + 1 == pytest.approx(20 * zoom, abs=1)
    assert int(columns.max() - columns.min()) + 1 == pytest.approx(40 * zoom, abs=1)
    assert float(rows.float().mean()) == pytest.approx(49.5, abs=0.6)
    assert float(columns.float().mean()) == pytest.approx(69.5, abs=0.6)


@pytest.mark.parametrize("index", range(1, 13))
def test_image_and_label_move_together(index: int) -> None:
    settings = ALWAYS.model_copy(update={"rotation": 180.0, "colour_probability": 0.0})
    view = draw_view(settings, case="a", index=index, seed=1)
    label = square()
    image = label.float().expand(3, -1, -1)
    moved, drawn = apply_to_label(view, label), apply_to_image(view, image)
    assert moved.shape == label.shape
    assert iou(moved, (drawn[0] > 0.5).to(torch.uint8)) > 0.95
    assert iou(moved, label) < 0.95


def test_labels_hold_no_other_ids() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.tensor([0, 7, 255], dtype=torch.uint8)[torch.randint(3, (40, 50), generator=generator)]
    for view in draw_many(ALWAYS, 20):
        moved = apply_to_label(view, label)
        assert moved.dtype == torch.uint8
        assert set(moved.unique().tolist()) == {0, 7, 255}


def test_colour_does_not_move_the_label() -> None:
    view = View(brightness=1.2, contrast=0.8, saturation=0.9, hue=0.1)
    assert torch.equal(apply_to_label(view, square()), square())


def test_outside_is_mirrored_not_black() -> None:
    white = torch.ones(3, 30, 50)
    for view in (View(zoom=0.5), View(rotation=45.0), View(rotation=-160.0, zoom=0.7)):
        torch.testing.assert_close(apply_to_image(view, white), white, atol=1e-5, rtol=0)


def test_colour_keeps_the_range() -> None:
    image = random_image()
    image[:, :4], image[:, 4:8] = 0.0, 1.0
    strong = AugmentationSettings(brightness=1, contrast=1, saturation=1, hue=0.5, colour_probability=1)
    for view in draw_many(strong, 40):
        changed = apply_to_image(view, image)
        assert float(changed.min()) >= 0.0
        assert float(changed.max()) <= 1.0
        assert changed.shape == image.shape
        assert changed.dtype == torch.float32


def grey_of(image: Tensor) -> Tensor:
    return (image * torch.tensor(LUMA).view(3, 1, 1)).sum(dim=0)


def test_colour_by_hand() -> None:
    image = 0.25 + 0.5 * random_image()  # nothing is cut off
    torch.testing.assert_close(apply_to_image(View(brightness=1.1), image), image * 1.1)
    mean = grey_of(image).mean()
    torch.testing.assert_close(apply_to_image(View(contrast=0.5), image), mean + (image - mean) * 0.5)
    grey = grey_of(image)
    torch.testing.assert_close(apply_to_image(View(saturation=0.0), image), grey.expand(3, -1, -1))
    less = apply_to_image(View(saturation=0.7), image)
    torch.testing.assert_close(grey_of(less), grey)
    torch.testing.assert_close(less, grey + (image - grey) * 0.7)


def test_hue_turns_red_to_green_to_blue() -> None:
    red = torch.tensor([0.8, 0.2, 0.2]).view(3, 1, 1)
    third = apply_to_image(View(hue=1 / 3), red)
    torch.testing.assert_close(third.flatten(), torch.tensor([0.2, 0.8, 0.2]))
    torch.testing.assert_close(apply_to_image(View(hue=-1 / 3), red).flatten(), torch.tensor([0.2, 0.2, 0.8]))
    image = 0.4 + 0.2 * random_image()
    there_and_back = apply_to_image(View(hue=-0.2), apply_to_image(View(hue=0.2), image))
    torch.testing.assert_close(there_and_back, image)


def test_grey_has_no_hue_and_no_saturation() -> None:
    grey = random_image()[:1].expand(3, -1, -1)
    for view in (View(hue=0.3), View(hue=-0.5), View(saturation=1.9)):
        torch.testing.assert_close(apply_to_image(view, grey), grey, atol=1e-6, rtol=1e-5)


def test_the_image_that_went_in_stays_as_it_is() -> None:
    image, label = random_image(), square()
    before, before_label = image.clone(), label.clone()
    for view in draw_many(ALWAYS, 5):
        apply_to_image(view, image)
        apply_to_label(view, label)
    assert torch.equal(image, before)
    assert torch.equal(label, before_label)
