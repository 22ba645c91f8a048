"""Checkpoints that are damaged, hostile or of another kind: refused in one line, or as good as new."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dinoseg.errors import DinosegError, WeightsError
from dinoseg.methods import METHODS
from dinoseg.methods.decoder import Decoder
from dinoseg.releases import import_checkpoint
from dinoseg.releases.checkpoints import read_checkpoint
from tests.releases.files import Release, open_release, write
from tests.releases.test_checkpoints import STATE

CASES = ("segdino_v1_c1", "segdino_v2_c4_bn", "dino_unet_c3", "dino_augseg_c4")


def quantize(tensor: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.quint8)


def compress(tensor: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tensor.flatten(1).to_sparse_csr() if tensor.ndim > 1 else tensor.to_sparse()


def expand(tensor: Tensor) -> Tensor:
    """Claims a terabyte in four bytes."""
    return torch.zeros(1).expand(2**38)


ODD: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sparse": (Tensor.to_sparse, "are sparse"),
    "compressed": (compress, "are sparse"),
    "quantized": (quantize, "are quantized"),
    "complex": (lambda tensor: tensor.to(torch.complex64), "are complex"),
    "float8": (lambda tensor: tensor.to(torch.float8_e4m3fn), "are of another kind of number"),
    "empty": (lambda tensor: tensor[:0], "are empty"),
    "meta": (lambda tensor: tensor.to("meta"), "are without values"),
    "repeated": (expand, "are larger than their memory"),
}
WRONG: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "whole numbers": (lambda tensor: tensor.to(torch.int64), "whole numbers|another kind of number"),
    "flags": (lambda tensor: tensor > 0, "whole numbers|another kind of number"),
    "nan": (lambda tensor: tensor * float("nan"), "not finite"),
    "one infinity": (lambda tensor: torch.full_like(tensor, float("inf")), "not finite"),
    "beyond float32": (lambda tensor: tensor.double() + 1e300, "not finite"),
    "another shape": (lambda tensor: torch.cat([tensor, tensor]), "shape|channels|does not fit|width"),
    "a number": (lambda tensor: torch.tensor(1.0), "shape"),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_tensors_are_named(tmp_path: Path, kind: str, recwarn: pytest.WarningsRecorder) -> None:
    change, words = ODD[kind]
    path = write(tmp_path / "a.pth", {"model": {**STATE, "head.weight": change(STATE["head.weight"])}})
    before = len(recwarn)
    with pytest.raises(WeightsError, match=rf"1 tensors {words} \(head\.weight: ") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert len(recwarn) == before  # torch warns about some of them


def bring_in(folder: Path, release: Release, path: Path) -> Decoder:
    if not (folder / "other").exists():
        release.save_other_backbone(folder / "other")
    model = import_checkpoint(
        path, method=release.method, backbone=str(folder / "other"), out=folder / "run", overwrite=True
    )
    return model.decoder


def one_of_each_part(release: Release) -> list[str]:
    backbone = [name for name in release.state if name.startswith(release.prefix)]
    decoder = METHODS[release.method].load_decoder()
    names = [
        name
        for name in release.decoder
        if release.state[name].ndim > 1 and name.startswith(tuple(decoder.released.values()))
    ]
    weights = [name for name in backbone if release.state[name].ndim > 1]
    return [names[len(names) // 2], names[-1], weights[len(weights) // 2]]


@pytest.mark.parametrize("kind", [*ODD, *WRONG])
@pytest.mark.parametrize("case", CASES)
def test_an_import_refuses_them_by_their_released_names(
    tmp_path: Path, case: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    release = open_release(case)
    change, words = (ODD | WRONG)[kind]
    for name in one_of_each_part(release):
        state = {**release.state, name: change(release.state[name])}
        with pytest.raises(DinosegError, match=words) as caught:
            bring_in(tmp_path, release, write(tmp_path / "a.pth", state))
        assert "\n" not in str(caught.value)
        if not name.startswith(release.prefix) and kind in {**ODD, "nan": 0, "flags": 0}:
            assert name in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "run").exists()


def test_a_flipped_bit_of_a_number_is_found_by_the_check_sum(tmp_path: Path) -> None:
    """torch reads it as it is: another weight, and nothing said."""
    path = write(tmp_path / "a.pth", STATE)
    content = bytearray(path.read_bytes())
    place = content.find(np.arange(6, dtype=np.float32).tobytes())
    content[place + 9] ^= 64
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["head.weight"], STATE["head.weight"])
    with pytest.raises(
        WeightsError, match=r"damaged \(the check sum of a/data/\d is wrong\); fetch it again"
    ):
        read_checkpoint(path)


def test_a_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    plain = io.BytesIO()
    torch.save({"head.weight": torch.zeros(2_000_000)}, plain)
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for record in source.infolist():
            target.writestr(record.filename, source.read(record.filename))
    assert path.stat().st_size < 50_000
    with pytest.raises(WeightsError, match=r"records are compressed or overlap \(archive/"):
        read_checkpoint(path)


def contained() -> dict[str, tuple[Any, str]]:
    deep: dict[str, Any] = STATE
    for _ in range(12):
        deep = {"model": deep}
    itself: dict[str, Any] = {}
    itself["model"] = itself
    return {
        "deep": (deep, "more than 8 deep"),
        "in itself": (itself, "more than 8 deep"),
        "nothing": ({}, r"no table \(\)"),
        "numbers": ({"head.weight": 1.0}, "no table"),
        "a list of tensors": ({"model": [torch.ones(2)]}, "no table"),
        "a table by module": ({"model": {"head": {"weight": torch.ones(2)}}}, r"no table \(head\)"),
        "a tensor alone": (torch.ones(2), "no table"),
    }


@pytest.mark.parametrize("name", contained())
def test_containers_that_hold_no_table(tmp_path: Path, name: str) -> None:
    content, words = contained()[name]
    with pytest.raises(WeightsError, match=words) as caught:
        read_checkpoint(write(tmp_path / "a.pth", content))
    assert "\n" not in str(caught.value)


def fuzz(folder: Path, case: str, seeds: range, capfd: pytest.CaptureFixture[str]) -> int:
    """Import mutated files; return how many were refused. Those that were not must be as good as new."""
    release = open_release(case)
    original = bring_in(folder, release, write(folder / "whole.pth", release.state)).state_dict()
    save_file(release.state, folder / "whole.safetensors")
    sources = {
        "pth": (folder / "whole.pth").read_bytes(),
        "safetensors": (folder / "whole.safetensors").read_bytes(),
    }
    capfd.readouterr()
    refused = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        suffix = ("pth", "safetensors")[seed % 2]
        path = folder / f"mutated.{suffix}"
        path.write_bytes(mutate(sources[suffix], rng, header_only=suffix == "safetensors"))
        said = ""
        try:
            found = bring_in(folder, release, path).state_dict()
        except DinosegError as error:
            said = str(error)
            refused += 1
        same = said or all(torch.equal(found[name], value) for name, value in original.items())
        assert same, seed
        assert "\n" not in said, seed
        assert len(said) < 1000, seed
        shown = capfd.readouterr()
        assert (shown.out, shown.err) == ("", ""), seed
    return refused


def mutate(content: bytes, rng: np.random.Generator, *, header_only: bool) -> bytes:
    """Flip, cut, repeat or overwrite. Numbers of a safetensors file have no check sum: only its header."""
    mutated = bytearray(content)
    end = 8 + int.from_bytes(content[:8], "little") if header_only else len(content)
    place = int(rng.integers(0, end))
    kind = rng.integers(0, 4)
    if kind == 0:
        mutated[place] ^= 1 << int(rng.integers(0, 8))
    elif kind == 1:
        for index in rng.integers(0, end, 8):
            mutated[int(index)] = int(rng.integers(0, 256))
    elif kind == 2:
        del mutated[place : place + int(rng.integers(1, 64))]
    else:
        mutated[place:place] = content[place : place + int(rng.integers(1, 64))]
    return bytes(mutated)


@pytest.mark.parametrize("case", ["segdino_v1_c1", "dino_augseg_c4"])
def test_mutated_files(tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz(tmp_path, case, range(24), capfd) > 12


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_many_mutated_files(tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz(tmp_path, case, range(100, 1600), capfd) > 700
