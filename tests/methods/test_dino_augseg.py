from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.errors import UsageError
from dinoseg.methods.dino_augseg.cg_fuse import CrossAttention, rotate
from dinoseg.methods.dino_augseg.decoder import DinoAugSeg
from tests.methods.released import difference, features_of, load, read


def test_equals_the_released_program() -> None:
    case = read("dino_augseg_c4")
    features = features_of(case, DinoAugSeg.released_backbone)
    decoder = DinoAugSeg(
        features.channels,
        case.settings["num_classes"],
        final_width=case.settings["final_channels"],
        heads=case.settings["heads"],
    )
    load(decoder, case, DinoAugSeg.released_backbone)
    assert difference(decoder(features), case.outputs["logits"]) <= 1e-4
    assert case.outputs["logits"].std() > 1e-2


@pytest.mark.parametrize(
    ("channels", "millions"),
    [((96, 192, 384, 768), 7.7), ((128, 256, 512, 1024), 13.5), ((192, 384, 768, 1536), 30.3)],
)
def test_published_sizes(channels: tuple[int, ...], millions: float) -> None:
    with torch.device("meta"):
        decoder = DinoAugSeg(channels, 2)
    count = sum(weight.numel() for weight in decoder.parameters())
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize("grid", [(4, 6), (5, 3)])
def test_attention_equals_the_explicit_matrix(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    attention = CrossAttention(16, heads=2, pool=2)
    maps, level = torch.randn(2, 16, *grid), torch.randn(2, 16, *grid)
    torch.testing.assert_close(attention(maps, level), explicit(attention, maps, level), rtol=1e-4, atol=1e-5)


def explicit(attention: CrossAttention, maps: Tensor, level: Tensor) -> Tensor:
    """Softmax of a matrix, positions as complex numbers, one head after the other."""
    batch, channels, height, width = maps.shape
    # the last window of an odd grid averages the cells that exist
    rows, columns = (F.pad(torch.ones(n), (0, n % 2)).view(-1, 2).sum(1) for n in (height, width))
    padded = F.pad(level, (0, width % 2, 0, height % 2))
    sums = padded.view(batch, channels, len(rows), 2, len(columns), 2).sum(dim=(3, 5))
    pooled = sums / (rows[:, None] * columns)
    asking = attention.norm_query(maps.flatten(2).transpose(1, 2))
    known = attention.norm_key(pooled.flatten(2).transpose(1, 2))
    size = channels // attention.heads
    heads = []
    for head in range(attention.heads):
        part = slice(head * size, (head + 1) * size)
        query, key = turn(attention.query(asking)[..., part]), turn(attention.key(known)[..., part])
        matrix = (query @ key.transpose(1, 2) / size**0.5).softmax(dim=-1)
        heads.append(matrix @ attention.value(known)[..., part])
    result = attention.project(torch.cat(heads, dim=-1)) + asking
    return result.transpose(1, 2).reshape(maps.shape)


def turn(tokens: Tensor) -> Tensor:
    """(B, N, d): pairs of channels as complex numbers, turned."""
    count, width = tokens.shape[-2:]
    pairs = torch.view_as_complex(tokens.reshape(*tokens.shape[:-1], -1, 2).contiguous())
    for index in range(width // 2):
        angles = torch.arange(count) / 10000 ** (2 * index / width)
        pairs = pairs.clone()
        pairs[..., index] = pairs[..., index] * torch.polar(torch.ones(count), angles)
    return torch.view_as_real(pairs).flatten(-2)


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(8), torch.randn(8)
    queries, keys = rotate(query.expand(1, 1, 40, 8))[0, 0], rotate(key.expand(1, 1, 40, 8))[0, 0]
    torch.testing.assert_close(queries.norm(dim=-1), query.norm().expand(40))
    torch.testing.assert_close(queries[5] @ keys[2], queries[35] @ keys[32])
    assert abs(float(queries[5] @ keys[2] - queries[5] @ keys[20])) > 1e-2


def test_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="heads 4 do not fit features of width 12"):
        DinoAugSeg((12, 24, 48, 96), 1, heads=4)
