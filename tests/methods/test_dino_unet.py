from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.backbones.catalog import find_spec
from dinoseg.backbones.features import Features
from dinoseg.errors import UsageError
from dinoseg.methods import decoder_settings
from dinoseg.methods.assembly import create_decoder
from dinoseg.methods.dino_unet.adapter import DropPath, cell_centres, reach
from dinoseg.methods.dino_unet.decoder import DinoUNet
from dinoseg.methods.dino_unet.deformable import POINTS, DeformableAttention
from tests.methods.released import Released, difference, features_of, load, read

TOLERANCE = 1e-4
TINY: dict[str, Any] = {"features_per_stage": (4, 6, 8, 10), "fapm_rank": 8, "spm_width": 4, "heads": 2}


def create(case: Released, features: Features) -> DinoUNet:
    decoder = DinoUNet(
        features.channels,
        case.settings["num_classes"],
        features_per_stage=case.settings["features_per_stage"],
        fapm_rank=case.settings["fapm_rank"],
        spm_width=case.settings["spm_width"],
        heads=case.settings["deform_heads"],
        deep_supervision=True,  # the released program keeps these classifiers, used or not
    )
    load(decoder, case, DinoUNet.released_backbone)
    return decoder


def random_features(size: tuple[int, int], *, patch: int = 16, batch: int = 1, width: int = 8) -> Features:
    generator = torch.Generator().manual_seed(4)
    rows, columns = (-(-side // patch) for side in size)
    levels = tuple(torch.randn(batch, width, rows, columns, generator=generator) for _ in range(4))
    return Features(levels, (patch,) * 4, size, (rows * patch, columns * patch))


@pytest.mark.parametrize("name", ["dino_unet_c3", "dino_unet_c2_ds"])
def test_equals_the_released_program(name: str) -> None:
    case = read(name)
    features, image = features_of(case, DinoUNet.released_backbone), case.inputs["pixels"]
    decoder = create(case, features)
    for index, maps in enumerate(decoder.adapt(features, image)):
        assert difference(maps, case.outputs[f"adapter{index + 1}"]) <= TOLERANCE
    for index, maps in enumerate(decoder.project(features, image)):
        assert difference(decoder.enlarge[index](maps), case.outputs[f"skip{index}"]) <= TOLERANCE
    finest = "logits0" if case.settings["deep_supervision"] else "logits"
    assert difference(decoder(features, image), case.outputs[finest]) <= TOLERANCE
    assert case.outputs[finest].std() > 100 * TOLERANCE
    if case.settings["deep_supervision"]:
        for index, logits in enumerate(decoder.decode_all(features, image)):
            assert difference(logits, case.outputs[f"logits{index}"]) <= TOLERANCE


@pytest.mark.parametrize(("width", "millions"), [(384, 6.2), (768, 13.2), (1024, 20.0)])
def test_published_sizes(width: int, millions: float) -> None:
    with torch.device("meta"):
        decoder = DinoUNet((width,) * 4, 2, deep_supervision=True)
    count = sum(weight.numel() for weight in decoder.parameters())
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("name", "layers", "width"),
    [
        ("dinov3_vits16", (2, 5, 8, 11), 384),
        ("dinov3_vitb16", (2, 5, 8, 11), 768),
        ("dinov3_vitl16.lvd1689m", (4, 11, 17, 23), 1024),
        ("dinov3_vith16plus", (7, 15, 23, 31), 1280),
        ("dinov3_vit7b16.lvd1689m", (9, 19, 29, 39), 4096),
    ],
)
def test_every_published_vit(name: str, layers: tuple[int, ...], width: int) -> None:
    """Layers and default widths fit, at a size that is no multiple of 32."""
    spec = find_spec(name)
    assert (spec.layers, spec.channels) == (layers, (width,) * 4)
    with torch.device("meta"):
        decoder = create_decoder(decoder_settings("dino-unet"), spec.channels, 2)
        levels = tuple(torch.empty(1, width, 5, 4) for _ in layers)
        logits = decoder(Features(levels, spec.strides, (75, 50), (80, 64)), torch.empty(1, 3, 75, 50))
    assert logits.shape == (1, 2, 75, 50)


@torch.no_grad()
@pytest.mark.parametrize("grid", [(3, 5), (1, 1)])
def test_deformable_attention_equals_sampling_by_hand(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    attention = DeformableAttention(8, 2)
    with torch.no_grad():
        for weight in attention.parameters():
            weight.normal_(std=0.5)
    queries, tokens = torch.randn(2, 4, 8), torch.randn(2, grid[0] * grid[1], 8)
    centres = torch.rand(4, 2)
    result = attention(queries, centres, tokens, grid)
    torch.testing.assert_close(
        result, by_hand(attention, queries, centres, tokens, grid), rtol=1e-4, atol=1e-5
    )


def by_hand(
    attention: DeformableAttention, queries: Tensor, centres: Tensor, tokens: Tensor, grid: tuple[int, int]
) -> Tensor:
    height, width = grid
    values = attention.value(tokens).view(len(tokens), height, width, attention.heads, -1)
    mixed = torch.zeros(*queries.shape[:2], attention.heads, values.shape[-1])
    for batch in range(queries.shape[0]):
        for query in range(queries.shape[1]):
            offsets = attention.offsets(queries[batch, query]).view(attention.heads, POINTS, 2)
            weights = attention.weights(queries[batch, query]).view(attention.heads, POINTS).softmax(dim=-1)
            for head in range(attention.heads):
                for point in range(POINTS):
                    x = float(centres[query, 0]) * width + float(offsets[head, point, 0]) - 0.5
                    y = float(centres[query, 1]) * height + float(offsets[head, point, 1]) - 0.5
                    sample = bilinear(values[batch, :, :, head], y, x)
                    mixed[batch, query, head] += weights[head, point] * sample
    return attention.project(mixed.flatten(2))


def bilinear(values: Tensor, y: float, x: float) -> Tensor:
    """Value of (h, w, d) at cell coordinates; zero outside."""
    total = torch.zeros(values.shape[-1])
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            share = max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - column))
            total = total + share * values[row, column]
    return total


def test_deformable_attention_starts_around_its_own_cell() -> None:
    attention = DeformableAttention(32, 16)
    offsets = attention.offsets(torch.randn(1, 32)).view(16, POINTS, 2)
    reached = offsets.abs().amax(dim=-1)
    torch.testing.assert_close(reached, torch.arange(1.0, POINTS + 1).expand(16, POINTS))
    assert len({tuple(torch.round(each[0], decimals=3).tolist()) for each in offsets}) == 16


@pytest.mark.parametrize(("stride", "target"), [(16, 4), (16, 8), (16, 16), (16, 32), (4, 4), (32, 32)])
def test_reach_is_plain_resizing_where_sizes_fit(stride: int, target: int) -> None:
    maps = torch.randn(1, 3, 128 // stride, 192 // stride, generator=torch.Generator().manual_seed(0))
    grid = (128 // target, 192 // target)
    expected = F.interpolate(maps, size=grid, mode="bilinear", align_corners=False)
    torch.testing.assert_close(reach(maps, stride, target, grid), expected)


@pytest.mark.parametrize("target", [4, 8, 16, 32])
@pytest.mark.parametrize("stride", [14, 16])
def test_reach_keeps_positions_in_pixels(stride: int, target: int) -> None:
    cells = 5
    ramp = (torch.arange(cells) + 0.5) * stride  # each cell's centre in pixels
    count = -(-96 // target)
    reached = reach(ramp.view(1, 1, 1, cells).expand(1, 1, cells, cells), stride, target, (count, count))
    centres = (torch.arange(count) + 0.5) * target
    inside = (centres >= ramp[0]) & (centres <= ramp[-1])
    torch.testing.assert_close(reached[0, 0, 0][inside], centres[inside])
    assert reached.shape[-2:] == (count, count)


def test_cell_centres_count_in_the_area_of_the_features() -> None:
    centres = cell_centres([(2, 1)], [32], (48, 40))
    torch.testing.assert_close(centres, torch.tensor([[16 / 40, 16 / 48], [16 / 40, 48 / 48]]))


@pytest.mark.parametrize("size", [(1, 1), (33, 70), (64, 96)])
@pytest.mark.parametrize("patch", [14, 16])
def test_deep_supervision_gives_every_scale_of_the_image(size: tuple[int, int], patch: int) -> None:
    decoder = DinoUNet((8,) * 4, 3, deep_supervision=True, **TINY).eval()
    features = random_features(size, patch=patch)
    image = torch.randn(1, 3, *size)
    logits = decoder.decode_all(features, image)
    rounded_up = [(-(-size[0] // step), -(-size[1] // step)) for step in (1, 2, 4)]
    assert [each.shape for each in logits] == [(1, 3, *each) for each in rounded_up]
    assert torch.equal(logits[0], decoder(features, image))


def test_without_deep_supervision_one_classifier_is_left() -> None:
    decoder = DinoUNet((8,) * 4, 3, **TINY).eval()
    assert [name for name in decoder.state_dict() if "classify" in name] == [
        "unet.classify.2.weight",
        "unet.classify.2.bias",
    ]
    assert len(decoder.decode_all(random_features((32, 32)), torch.randn(1, 3, 32, 32))) == 1


def test_the_image_counts_up_to_its_last_row_and_column() -> None:
    torch.manual_seed(0)
    decoder = DinoUNet((8,) * 4, 1, **TINY).eval()
    features, image = random_features((37, 50)), torch.randn(1, 3, 37, 50)
    other = image.clone()
    other[..., -1, -1] += 5
    changed = (decoder(features, other) - decoder(features, image)).abs()
    assert changed[..., -3:, -3:].max() > 1e-4


def test_the_image_is_needed_and_must_be_the_features_own() -> None:
    decoder = DinoUNet((8,) * 4, 1, **TINY)
    with pytest.raises(UsageError, match="given no image"):
        decoder(random_features((32, 32)))
    with pytest.raises(UsageError, match=r"given an image of \(32, 33\) px"):
        decoder(random_features((32, 32)), torch.zeros(1, 3, 32, 33))


def test_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="heads 5 do not fit features of width 8"):
        DinoUNet((8,) * 4, 1, **{**TINY, "heads": 5})


def test_drop_path_drops_whole_images_in_training_only() -> None:
    branch = torch.ones(2000, 2, 3)
    drop = DropPath(0.3)
    torch.manual_seed(1)
    first = drop(branch)
    torch.manual_seed(1)
    assert torch.equal(first, drop(branch))
    per_image = first.flatten(1)
    assert torch.equal(per_image.amin(dim=1), per_image.amax(dim=1))
    assert abs(float((per_image[:, 0] == 0).float().mean()) - 0.3) < 0.04
    torch.testing.assert_close(per_image[:, 0].unique(), torch.tensor([0, 1 / 0.7]))
    assert drop.eval()(branch) is branch
