"""Plain formulations of the decoders: slow, literal, the oracles of the rewritten ones.

They run on the parameters of the real decoders, so that outputs and gradients compare one to one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.backbones.features import Features
from dinoseg.methods.dino_augseg.cg_fuse import CrossAttention, rotate
from dinoseg.methods.dino_augseg.decoder import DinoAugSeg
from dinoseg.methods.dino_unet.decoder import DinoUNet
from dinoseg.methods.dino_unet.deformable import POINTS, DeformableAttention
from dinoseg.methods.dino_unet.fapm import Projection
from dinoseg.methods.segdino_v1.decoder import SegDINOv1
from dinoseg.methods.segdino_v2.decoder import SegDINOv2


def plain_v1(decoder: SegDINOv1, features: Features) -> Tensor:
    maps = [
        mix(project(level))
        for project, mix, level in zip(decoder.project, decoder.mix, features.levels, strict=True)
    ]
    if decoder.enlarge is not None:
        maps[0] = decoder.enlarge(maps[0])
    size = maps[0].shape[-2:]
    maps[1:] = [F.interpolate(m, size=size, mode="bilinear", align_corners=True) for m in maps[1:]]
    logits = decoder.classify(torch.cat(maps, dim=1))
    full = F.interpolate(logits, size=features.padded, mode="bilinear", align_corners=True)
    return full[..., : features.size[0], : features.size[1]]


def plain_v2(decoder: SegDINOv2, features: Features) -> Tensor:
    scales = []
    for index, (level, scale) in enumerate(zip(features.levels, (8, 4, 2, 1), strict=True)):
        projected = decoder.tpa.project[index](level)
        size = (projected.shape[-2] * scale, projected.shape[-1] * scale)
        resized = F.interpolate(projected, size=size, mode="bilinear", align_corners=False)
        scales.append(decoder.sad.intra[index](decoder.tpa.mix[index](resized)))
    fused = decoder.sad.inter[3](scales[3])
    for index in (2, 1, 0):
        up = F.interpolate(fused, size=scales[index].shape[-2:], mode="bilinear", align_corners=False)
        fused = decoder.sad.inter[index](up + scales[index])
    logits = decoder.classify(fused)
    full = F.interpolate(logits, size=features.padded, mode="bilinear", align_corners=False)
    return full[..., : features.size[0], : features.size[1]]


def plain_dino_unet(decoder: DinoUNet, features: Features, image: Tensor) -> Tensor:
    """Of an image whose sides are multiples of 32, and maps of one width and stride 16."""
    skips = []
    for scale, (level, enlarge) in enumerate(
        zip(plain_adapter(decoder, features, image), decoder.enlarge, strict=True)
    ):
        skip = plain_projection(decoder.fapm.scales[scale], level, decoder.fapm.shared(level))
        skips.append(enlarge.twice(enlarge.twice(skip)))
    maps = skips[3]
    for stage, skip in enumerate(reversed(skips[:3])):
        maps = torch.cat([decoder.unet.up[stage](maps), skip], dim=1)
        for block in decoder.unet.stages[stage]:
            maps = plain_norm_act(block.conv(maps), block.norm)
    return decoder.unet.classify["2"](maps)


def plain_adapter(decoder: DinoUNet, features: Features, image: Tensor) -> list[Tensor]:
    adapter = decoder.adapter
    size = image.shape[-2:]
    prior = [adapter.spm.stem(image)]
    for down in adapter.spm.down:
        prior.append(down(prior[-1]))
    prior = [project(level) for project, level in zip(adapter.spm.project, prior, strict=True)]
    grids = [level.shape[-2:] for level in prior[1:]]
    queries = torch.cat([_flat(level) + adapter.level_embed[i] for i, level in enumerate(prior[1:])], dim=1)
    centres = torch.cat([_centres(grid) for grid in grids])
    for interaction, level in zip(adapter.interactions, features.levels, strict=True):
        for block in interaction.extractors:
            tokens = block.feature_norm(_flat(level))
            asked = block.query_norm(queries)
            queries = queries + plain_deformable(block.attention, asked, centres, tokens, level.shape[-2:])
            reduced = block.ffn.reduce(block.ffn_norm(queries))
            hidden = [_flat(block.ffn.depthwise(maps)) for maps in _maps(reduced, grids)]
            queries = queries + block.ffn.expand(F.gelu(torch.cat(hidden, dim=1)))
    pyramid = _maps(queries, grids)
    levels = [prior[0] + adapter.up(pyramid[0]), *pyramid]
    sizes = [[side // stride for side in size] for stride in (4, 8, 16, 32)]
    return [
        norm(level + F.interpolate(frozen, size=tuple(target), mode="bilinear", align_corners=False))
        for norm, level, frozen, target in zip(adapter.norms, levels, features.levels, sizes, strict=True)
    ]


def plain_deformable(
    attention: DeformableAttention, queries: Tensor, centres: Tensor, tokens: Tensor, grid: tuple[int, int]
) -> Tensor:
    batch, count, _ = queries.shape
    heads, (height, width) = attention.heads, grid
    values = attention.value(tokens).transpose(1, 2).reshape(batch * heads, -1, height, width)
    offsets = attention.offsets(queries).view(batch, count, heads, POINTS, 2)
    places = centres.view(1, count, 1, 1, 2) + offsets / offsets.new_tensor([width, height])
    places = (2 * places - 1).transpose(1, 2).reshape(-1, count, POINTS, 2)
    sampled = F.grid_sample(values, places, padding_mode="zeros", align_corners=False)
    weights = attention.weights(queries).view(batch, count, heads, POINTS).softmax(dim=-1)
    weights = weights.transpose(1, 2).reshape(-1, 1, count, POINTS)
    mixed = (sampled * weights).sum(dim=-1)
    return attention.project(mixed.view(batch, -1, count).transpose(1, 2))


def plain_projection(scale: Projection, level: Tensor, shared: Tensor) -> Tensor:
    gamma, beta = scale.film(shared).chunk(2, dim=1)
    modulated = gamma * scale.specific(level) + beta
    refined = plain_norm_act(scale.project(modulated), scale.norm)
    separable = scale.separable
    refined = plain_norm_act(separable.pointwise(separable.depthwise(refined)), separable.norm)
    mixed = scale.mix(refined)
    factors = scale.se.excite(F.relu(scale.se.squeeze(mixed.mean(dim=(2, 3), keepdim=True)))).sigmoid()
    return mixed * factors + scale.shortcut(modulated)


def plain_norm_act(maps: Tensor, norm: torch.nn.InstanceNorm2d) -> Tensor:
    return F.leaky_relu(F.instance_norm(maps, weight=norm.weight, bias=norm.bias, eps=norm.eps), 0.01)


def plain_dino_augseg(decoder: DinoAugSeg, features: Features) -> Tensor:
    """Of the maps of a ConvNeXt."""
    maps = features.levels[3]
    for fuse, level in zip(reversed(decoder.cg_fuse), reversed(features.levels[:3]), strict=True):
        maps = fuse.mix(torch.cat([level, plain_attention(fuse.attention, fuse.up(maps), level)], dim=1))
    logits = decoder.classify(decoder.mix(decoder.up(maps)))
    full = F.interpolate(logits, size=features.padded, mode="bilinear", align_corners=False)
    return full[..., : features.size[0], : features.size[1]]


def plain_attention(attention: CrossAttention, maps: Tensor, level: Tensor) -> Tensor:
    """With the matrix, one row per query and one column per key."""
    asking = attention.norm_query(_flat(maps))
    known = attention.norm_key(_flat(F.avg_pool2d(level, attention.pool)))

    def split(tokens: Tensor) -> Tensor:  # (B, N, C) -> (B, heads, N, d)
        return tokens.unflatten(2, (attention.heads, -1)).transpose(1, 2)

    query, key = rotate(split(attention.query(asking))), rotate(split(attention.key(known)))
    matrix = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=-1)
    attended = (matrix @ split(attention.value(known))).transpose(1, 2).flatten(2)
    joined = attention.project(attended) + asking
    return joined.transpose(1, 2).reshape(maps.shape)


def _flat(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


def _maps(queries: Tensor, grids: list[tuple[int, int]]) -> list[Tensor]:
    parts = torch.split(queries, [height * width for height, width in grids], dim=1)
    return [
        part.transpose(1, 2).reshape(len(part), -1, *grid) for part, grid in zip(parts, grids, strict=True)
    ]


def _centres(grid: tuple[int, int]) -> Tensor:
    y, x = torch.meshgrid(*((torch.arange(side) + 0.5) / side for side in grid), indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=-1)
