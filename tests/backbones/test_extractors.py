from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dinoseg.backbones import create_backbone
from dinoseg.backbones.backbone import Precision
from dinoseg.backbones.catalog import BACKBONES
from dinoseg.backbones.extractors import Extractor, pad_to_multiple
from dinoseg.backbones.untrained import draw_weights
from dinoseg.errors import UsageError
from tests.backbones.oracle import build_oracle, take_weights
from tests.backbones.tiny import FAMILIES, make_extractor, random_images, tiny_spec, vit_spec

UNTRAINED_DIGEST = "b22d1c40a6fcbfa8b07ed3d17c5c3936e744527e88fb51ae47272353ef7ea61d"


def make(
    family: str, *, layers: tuple[int, ...] | None = None, precision: Precision = "float32"
) -> Extractor:
    return make_extractor(tiny_spec(family), layers=layers, precision=precision)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (14, 16), (33, 47), (64, 64), (70, 15), (97, 3)])
def test_any_size_is_padded_and_covered(family: str, size: tuple[int, int]) -> None:
    backbone = make(family)
    features = backbone(random_images(2, 3, *size))
    assert features.size == size
    for side, padded in zip(size, features.padded, strict=True):
        assert padded % backbone.stride == 0
        assert side <= padded < max(side + backbone.stride, backbone.spec.smallest + 1)
    for level, stride, width in zip(features.levels, backbone.strides, backbone.channels, strict=True):
        expected = (2, width, features.padded[0] // stride, features.padded[1] // stride)
        assert level.shape == expected
        assert level.dtype == torch.float32
        assert level.is_contiguous()
        assert torch.isfinite(level).all()
    assert features.strides == backbone.strides
    assert features.channels == backbone.channels


def test_every_small_size_works() -> None:
    backbone = make("dinov3_vit")
    for side in range(1, 35):
        assert backbone(random_images(1, 3, side, 35 - side)).padded == (
            -(-side // 16) * 16,
            -(-(35 - side) // 16) * 16,
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_last_row_and_column_matter(family: str) -> None:
    backbone = make(family)
    image = random_images(1, 3, 33, 47)
    plain = backbone(image)
    for edge in ((slice(-1, None), slice(None)), (slice(None), slice(-1, None))):
        changed = image.clone()
        changed[:, :, edge[0], edge[1]] += 3.0
        other = backbone(changed)
        for before, after in zip(plain.levels, other.levels, strict=True):
            assert (before - after).abs().max() > 1e-2


def test_padding_repeats_the_edge() -> None:
    image = random_images(1, 3, 5, 3)
    padded = pad_to_multiple(image, 4)
    assert padded.shape == (1, 3, 8, 4)
    assert torch.equal(padded[:, :, :5, :3], image)
    assert torch.equal(padded[:, :, 7, :3], image[:, :, 4])
    assert torch.equal(padded[:, :, :5, 3], image[:, :, :, 2])
    assert pad_to_multiple(padded, 4) is padded


@pytest.mark.parametrize("family", FAMILIES)
def test_grey_is_repeated_and_alpha_dropped(family: str) -> None:
    backbone = make(family)
    image = random_images(1, 3, 32, 28)
    alpha = torch.cat([image, random_images(1, 1, 32, 28, seed=5)], dim=1)
    assert equal(backbone(alpha).levels, backbone(image).levels)
    grey = image[:, :1]
    assert equal(backbone(grey).levels, backbone(grey.repeat(1, 3, 1, 1)).levels)


def equal(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_train_keeps_eval_and_nothing_learns(family: str) -> None:
    backbone = make(family)
    whole = nn.Sequential(backbone)
    whole.train()
    assert whole.training
    assert not any(part.training for part in backbone.modules())
    assert backbone.train() is backbone
    assert not any(weight.requires_grad for weight in backbone.parameters())
    image = random_images(1, 3, 32, 32).requires_grad_()
    assert not any(level.requires_grad for level in backbone(image).levels)


def test_features_feed_a_decoder_that_learns() -> None:
    decoder = nn.Conv2d(32, 1, 1)
    features = make("dinov3_vit")(random_images(1, 3, 32, 32))
    decoder(features.levels[-1]).mean().backward()
    assert decoder.weight.grad is not None
    assert decoder.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("family", "special"), [("dinov3_vit", 5), ("dinov2", 1), ("dinov2_registers", 5)])
def test_levels_are_normed_blocks_without_special_tokens(family: str, special: int) -> None:
    spec = tiny_spec(family)
    module = build_oracle(spec)
    backbone = Extractor(take_weights(module, spec), spec, source="test")
    image = random_images(2, 3, 2 * spec.stride, 3 * spec.stride)
    with torch.no_grad():
        final = module(image).last_hidden_state  # (B, special + N, C)
    features = backbone(image)
    expected = final[:, special:].transpose(1, 2).reshape(2, 32, 2, 3)
    assert torch.allclose(features.levels[-1], expected, atol=1e-5)
    assert features.cls is not None
    assert torch.allclose(features.cls[-1], final[:, 0], atol=1e-5)
    assert len(features.cls) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_work_alike(family: str) -> None:
    backbone = make(family)
    image = random_images(1, 3, 32, 32)
    features = backbone(image)
    copied = copy.deepcopy(backbone)
    assert equal(copied(image).levels, features.levels)
    assert pickle.loads(pickle.dumps(backbone.spec)) == backbone.spec


@pytest.mark.parametrize("family", FAMILIES)
def test_only_blocks_up_to_the_deepest_tap_are_kept(family: str) -> None:
    everything, some = make(family), make(family, layers=(0, 2))
    image = random_images(1, 3, 40, 40)
    assert equal(some(image).levels, tuple(everything(image).levels[layer] for layer in (0, 2)))
    assert some.strides == tuple(everything.strides[layer] for layer in (0, 2))
    assert some.channels == tuple(everything.channels[layer] for layer in (0, 2))
    assert some.stride == everything.stride
    assert sum(w.numel() for w in some.parameters()) < sum(w.numel() for w in everything.parameters())


@pytest.mark.parametrize("layers", [(), (2, 1), (1, 1), (-1, 2), (0, 4)])
def test_layers_that_do_not_fit_are_refused(layers: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="give ascending numbers from 0 to 3"):
        make("dinov3_vit", layers=layers)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 2, 8, 8), (1, 5, 8, 8), (1, 3, 0, 8), (1, 3, 8, 0)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="accepted is"):
        make("dinov3_vit")(torch.zeros(shape))


def test_integers_are_refused() -> None:
    with pytest.raises(UsageError, match=r"uint8.*normalise"):
        make("dinov3_vit")(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_near_and_returns_float32(family: str) -> None:
    exact, fast = make(family), make(family, precision="bfloat16")
    image = random_images(1, 3, 40, 40)
    for before, after in zip(exact(image).levels, fast(image).levels, strict=True):
        assert after.dtype == torch.float32
        error = (before - after).abs().mean() / before.abs().mean()
        assert 0 < error < 0.05
    assert exact.digest != fast.digest


def test_autocast_around_a_float32_backbone_changes_nothing() -> None:
    backbone = make("dinov3_vit")
    image = random_images(1, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = backbone(image.bfloat16().float())
    assert equal(inside.levels, backbone(image.bfloat16().float()).levels)


def test_float16_is_refused() -> None:
    with pytest.raises(UsageError, match="float32 and bfloat16"):
        make("dinov3_vit", precision="float16")  # type: ignore[arg-type]


def test_the_mask_token_is_not_in_the_digest() -> None:
    """No image reaches it, and timm's copies of the same weights leave it out."""
    spec = vit_spec()
    module = build_oracle(spec)
    before = Extractor(take_weights(module, spec), spec, source="a").digest
    with torch.no_grad():
        module.embeddings.mask_token.add_(1.0)
    assert Extractor(take_weights(module, spec), spec, source="a").digest == before


def test_digest_follows_what_changes_the_features_and_nothing_else() -> None:
    one = make_extractor(vit_spec())
    assert one.digest == make_extractor(vit_spec("other-name"), source="b").digest
    assert one.digest != make_extractor(vit_spec(), seed=1).digest
    assert one.digest != make_extractor(vit_spec(), layers=(0, 1)).digest
    assert one.digest != make_extractor(vit_spec(rope_theta=50.0)).digest
    assert one.digest != make_extractor(vit_spec(num_attention_heads=4)).digest


def test_batches_equal_single_images() -> None:
    backbone = make("dinov2")
    images = random_images(3, 3, 30, 50)
    together = backbone(images).levels
    for index in range(3):
        alone = backbone(images[index : index + 1]).levels
        assert all(torch.allclose(t[index], a[0], atol=1e-5) for t, a in zip(together, alone, strict=True))


def test_untrained_is_the_same_everywhere_and_leaves_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    backbone = create_backbone("untrained-vitt16")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(4)
    assert create_backbone("untrained-vitt16").digest == backbone.digest == UNTRAINED_DIGEST
    assert backbone.name == "untrained-vitt16"
    assert (backbone.license, backbone.source) == ("none", "random numbers, seed 0")
    assert (backbone.layers, backbone.channels) == ((2, 5, 8, 11), (192,) * 4)
    assert len(backbone.weights_sha256) == 64


def test_untrained_seed_matters() -> None:
    spec = BACKBONES["untrained-vitt16"]
    first, second = (draw_weights(spec, seed=seed).tensors["embeddings.cls_token"] for seed in (0, 1))
    assert not torch.equal(first, second)


def test_untrained_features_carry_image_content() -> None:
    # Left half dark and smooth, right half bright and striped: a line through the features parts them.
    image = torch.zeros(1, 3, 64, 128)
    image[..., 64:] = 1.0
    image[..., 64::4] = -1.0
    backbone = create_backbone("untrained-vitt16")
    for level in backbone(image).levels:
        left, right = level[0, :, :, :4].mean((1, 2)), level[0, :, :, 4:].mean((1, 2))
        scores = torch.einsum("chw,c->hw", level[0], right - left)
        assert scores[:, 4:].min() > scores[:, :4].max()


def test_a_file_for_the_untrained_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="random by design"):
        create_backbone("untrained-vitt16", weights=tmp_path / "x.pth")
