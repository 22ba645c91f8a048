"""What run folders and caches know a backbone by stays what it was when transformers ran it."""

from __future__ import annotations

import pytest
import torch

from dinoseg.backbones import create_backbone
from dinoseg.backbones.architecture import read_settings
from dinoseg.backbones.catalog import BackboneSpec
from dinoseg.backbones.extractors import Extractor
from dinoseg.backbones.published import PublishedWeights, list_shapes, load_weights
from tests.backbones.tiny import convnext_spec, dinov2_spec, read_parity, vit_spec

# Computed by dinoseg 0.1.0 over the state of transformers' modules: (identity, weights_sha256, digest of the
# taps 1 and 3 in bfloat16).
RECORDED: list[tuple[BackboneSpec, str, str, str]] = [
    (
        vit_spec(),
        "51c5e6e15e51c755d71ffee57347aa296d03a68a371827d786d54b1c6627cb88",
        "ca9ba062502b4b4321ab68856fe4e121d7d89da2cb226cc8b9b34062a72a22bd",
        "84f60f710f594703c81fc94cb136b8bcb45cfb4f45263754dcc05506ae609cb1",
    ),
    (
        vit_spec(use_gated_mlp=True, hidden_act="silu"),
        "d487711ec4424fbc0216b74d37938ca6d30b482eb6cae76b50a4015509248113",
        "3475c65bd867c3076ce6f91f1468b9a920ae8988513174923cb87f0e02a31258",
        "9c3813138dd8d0e0a242d90b6f6ccaa4b4195a90bb32692a5267c67a5933ce8a",
    ),
    (
        vit_spec(key_bias=True, query_bias=False, value_bias=False, proj_bias=False, mlp_bias=False),
        "df14e3515a477d1d58abb3434ecb9d2b3f384efcf826560121bbd4b704486b06",
        "a96440f9d6f47361fa2834a21e4cc7f55f3924facc00f387a5587cf837ed9570",
        "e9ea90e3d5652fd2feca9d188e952f83044ba149785f65334213e6a62297bff5",
    ),
    (
        vit_spec(num_register_tokens=0),
        "b0c108b497d80271f751dfcda2e705f89fbdfb2be29b29c7123d11a66c6fa387",
        "b6be20195ac899f71a11456126df4523fdec5d8217d5491fc301d25bbde5f2de",
        "89bc6ad5db08c2e218a4505060ad366f05e95351d32ebb744e9ea9dbda77a889",
    ),
    (
        vit_spec(patch_size=[16, 16], rope_theta=50.0),
        "e1d208f7a53548e69dc8da801a18b6e6d518b29404169c0e698099b88634a454",
        "ca9ba062502b4b4321ab68856fe4e121d7d89da2cb226cc8b9b34062a72a22bd",
        "ab5522a95af0a793bb66ca46d503f0e9714983a3adafc271197a8d8edc9461a9",
    ),
    (
        convnext_spec(),
        "691e942e4ed126361bd1701f660034720c762454282caf7d6c953f230dad3d3d",
        "a2e892e800369c6e0752ca9a7a2511c22c4c843bea6381e15d0b1a5714065fd9",
        "f3b6f0f181a72a3a3c8139f2eb3f4208b5ce8bddfabc9248d5ebd1487dcf8f40",
    ),
    (
        dinov2_spec(),
        "bc2d927d35f5737307f4cd611cf30373e0f08381ad5694371fa629d2bc15ff86",
        "d94a95eee3dbe22415ecaebbca0a2c1adec27833ce70c1b76dfebdbac1d028b6",
        "bb22c90daf9bd7f0980daf48dcec73800d47c576c9c1383d3374963048ea1482",
    ),
    (
        dinov2_spec(use_swiglu_ffn=True, use_mask_token=False),
        "43df31705b07b79b1e7c2882a5bca1d4a1e0ab439a123709d666edb2346b58c3",
        "cdddd160f8dc2c1d01c8094f067a44cebd3e04db0490a294b6ea334169f48e14",
        "daa4e8b5f8be8508640b83ab9c98ddafd99ef5677d6ea77c61ba6251efa537e2",
    ),
    (
        dinov2_spec(qkv_bias=False, mlp_ratio=2),
        "147599202e549e324555ba901ec38ec7b416916e6e38a99fd3e66fa0600ad7db",
        "0f5bc64c328680ff1b1fb1ebe306595afb06cab8e0c4cfab609cb9e9f7c8f4e0",
        "b11eb4c9b5d42fdad4745633f424ead29444b12bb7cb352699bdfc9c85996045",
    ),
    (
        dinov2_spec("dinov2_registers"),
        "bc976beada51c670bde3a691bfbd7ffe45d80a3efdff0ff5d1c3df229819ce90",
        "6e53eb064e4930e257b5045481aefc1fe38ee00de3e69b824509b31686e969bc",
        "ae1dbf91c40d580857774461549769efb1fce9076551ce85c897c2f7155866e4",
    ),
    (
        dinov2_spec("dinov2_registers", use_swiglu_ffn=True, num_register_tokens=2),
        "0dbce39141ef2feb1cd622418e1b55b29876e620b99fcf476d377c703b2a2930",
        "e2d6b428c7f03070ee50928f14ff75351ff3cc5e1860785c947f1702f96b3f87",
        "1e3059640948d74b646eaf02a6eaf28c579f5c15b45339b0978e10cd35d59fa8",
    ),
]
PARITY = {
    "dinov3_vit_mlp": "828eba078f5a858cef2ea50604c06ce52e139ab5925db3dbd3a0482f2e1986c5",
    "dinov3_vit_swiglu": "3dbd5a83ff1edebc142b5ae3b151642bdf25808f3bc0cc60b17a0ecf49d49882",
    "timm_vit_mlp": "80aab34ad86ddadb96faa15d101b5b211ea65ce8c03d2679bbce088d0c50795e",
    "timm_vit_swiglu": "08c46a29357637a7d704b4455719475260411b2fdab7f0d0a3ac347df0a923e9",
    "dinov3_convnext": "4efe544221138f380082d6fc3bf6997d9a56276d1c53f79c33a018a08875db57",
    "timm_convnext": "39f87dac2e7aa926cbfd00ca64e97b794fb33538c8a534a0879992a133e07423",
}
UNTRAINED = "b22d1c40a6fcbfa8b07ed3d17c5c3936e744527e88fb51ae47272353ef7ea61d"
UNTRAINED_FAST = "673dc87c83f4f50031b2d5d270e0a7ea84d7c699f6b758083eb709ef9872de38"
UNTRAINED_SHA = "416d962945dfed2eded198cb2fd416f777f67060a2fdb11f755011c3b510002b"


def draw(spec: BackboneSpec) -> PublishedWeights:
    settings = read_settings(spec)
    generator = torch.Generator().manual_seed(7)
    shapes = sorted(list_shapes(settings).items())
    return PublishedWeights(
        settings, {key: torch.rand(shape, generator=generator) - 0.5 for key, shape in shapes}
    )


@pytest.mark.parametrize(("spec", "identity", "sha256", "digest"), RECORDED)
def test_identities_are_those_that_were_recorded(
    spec: BackboneSpec, identity: str, sha256: str, digest: str
) -> None:
    backbone = Extractor(draw(spec), spec, source="test")
    assert (backbone.identity, backbone.weights_sha256) == (identity, sha256)
    other = Extractor(draw(spec), spec, layers=(1, 3), precision="bfloat16", source="test")
    if spec.family == "dinov3_convnext":  # its features have changed at sizes that are no multiple of 32
        assert backbone.digest != identity
        assert other.digest != digest
    else:
        assert backbone.digest == identity
        assert other.digest == digest


@pytest.mark.parametrize("name", PARITY)
def test_files_in_every_key_layout_have_the_recorded_identity(name: str) -> None:
    case = read_parity(name)
    weights = load_weights(case.spec, case.state, source="file")
    assert Extractor(weights, case.spec, source="file").identity == PARITY[name]


def test_untrained_is_the_recorded_one() -> None:
    exact, fast = (create_backbone("untrained-vitt16", precision=each) for each in ("float32", "bfloat16"))
    assert exact.identity == exact.digest == fast.identity == UNTRAINED
    assert fast.digest == UNTRAINED_FAST
    assert exact.weights_sha256 == fast.weights_sha256 == UNTRAINED_SHA
