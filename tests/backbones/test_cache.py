from __future__ import annotations

import multiprocessing
import os
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

import dinoseg.backbones.cache as cache_module
from dinoseg.backbones.cache import EntryStore, FeatureCache, entry_key
from dinoseg.backbones.features import Features
from dinoseg.errors import OutputError
from dinoseg.outputs import name_temporary


class Counting:
    """A stand-in backbone: two levels and class tokens, counting its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, pixels: Tensor) -> Features:
        self.calls += 1
        level = pixels[:, :, ::4, ::4]
        cls = (level.mean((2, 3)), level.amax((2, 3)))
        return Features((level, level * 3), (4, 4), tuple(pixels.shape[-2:]), tuple(pixels.shape[-2:]), cls)


def open_cache(folder: Path, *, limit_gb: float = 1.0, dtype: str = "float32") -> FeatureCache:
    return FeatureCache(Counting(), "digest", EntryStore(folder, limit_gb=limit_gb), dtype=dtype)  # type: ignore[arg-type]


IMAGES = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def ask(cache: FeatureCache) -> Features:
    return cache.features([cache.key(str(i)) for i in range(3)], lambda i: IMAGES[i])


def entry_file(folder: Path) -> Path:
    return sorted(folder.glob("??/*.safetensors"))[0]


def test_remembered_features_equal_fresh_ones(tmp_path: Path) -> None:
    fresh = Counting()(IMAGES)
    first = ask(open_cache(tmp_path))
    cache = open_cache(tmp_path)
    again = ask(cache)
    assert cache.backbone.calls == 0  # type: ignore[attr-defined]
    for features in (first, again):
        assert all(torch.equal(a, b) for a, b in zip(features.levels, fresh.levels, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(features.cls or (), fresh.cls or (), strict=True))
        assert (features.size, features.padded, features.strides) == (fresh.size, fresh.padded, fresh.strides)


def test_bfloat16_is_what_comes_back_the_first_time_too(tmp_path: Path) -> None:
    first = ask(open_cache(tmp_path, dtype="bfloat16"))
    again = ask(open_cache(tmp_path, dtype="bfloat16"))
    assert torch.equal(first.levels[0], again.levels[0])
    assert again.levels[0].dtype == torch.float32
    assert 0 < (again.levels[0] - Counting()(IMAGES).levels[0]).abs().max() < 0.01


def test_every_part_of_a_key_counts(tmp_path: Path) -> None:
    cache, other = open_cache(tmp_path), open_cache(tmp_path, dtype="bfloat16")
    keys = {
        cache.key("a", "b"),
        cache.key("ab", ""),
        cache.key("a", "c"),
        other.key("a", "b"),
        entry_key("a", "b"),
    }
    assert len(keys) == 5


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_damaged_entries_are_found_and_rebuilt(tmp_path: Path, damage: str) -> None:
    ask(open_cache(tmp_path))
    path = entry_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 0xFF
    path.write_bytes(
        {"truncate": bytes(data[: len(data) // 2]), "flip": bytes(data), "empty": b"", "text": b"no tensors"}[
            damage
        ]
    )
    cache = open_cache(tmp_path)
    features = ask(cache)
    assert cache.backbone.calls == 1  # type: ignore[attr-defined]
    assert torch.equal(features.levels[0], Counting()(IMAGES).levels[0])
    after = open_cache(tmp_path)
    ask(after)
    assert after.backbone.calls == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("damage", ["truncate", "empty", "remove", "replace"])
def test_an_open_entry_that_is_damaged_is_rebuilt_too(tmp_path: Path, damage: str) -> None:
    cache = open_cache(tmp_path)
    ask(cache), ask(cache)
    path = entry_file(tmp_path)
    if damage == "remove":
        path.unlink()
    elif damage == "replace":
        other = path.with_name("other")
        other.write_bytes(b"no tensors" * 20)
        other.replace(path)
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "truncate" else b"")
    features = ask(cache)
    assert cache.backbone.calls == 4  # type: ignore[attr-defined]
    assert torch.equal(features.levels[0], Counting()(IMAGES).levels[0])
    ask(cache)
    assert cache.backbone.calls == 4  # type: ignore[attr-defined]


def count_openings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    opened = []
    original = cache_module.safe_open

    def note(path: Path, framework: str) -> object:
        opened.append(path)
        return original(path, framework)

    monkeypatch.setattr(cache_module, "safe_open", note)
    return opened


def test_an_entry_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = count_openings(monkeypatch)
    cache = open_cache(tmp_path)
    ask(cache)  # computes; looks for each entry
    opened.clear()
    for _ in range(3):
        ask(cache)
    assert len(opened) == len(set(opened)) == 3


def test_the_first_entries_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "KEPT_OPEN", 2)
    store = EntryStore(tmp_path, limit_gb=1)
    for name in ("aa0", "bb0", "cc0"):
        store.put(name, {"value": torch.zeros(3)})
    opened = count_openings(monkeypatch)
    for name in ("aa0", "bb0", "aa0", "cc0", "aa0", "cc0", "bb0"):
        assert store.get(name) is not None
    assert [path.parent.name for path in opened] == ["aa", "bb", "cc", "cc"]


def test_entries_are_opened_ahead_as_far_as_they_stay_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "KEPT_OPEN", 2)
    store = EntryStore(tmp_path, limit_gb=1)
    names = ("aa0", "bb0", "cc0")
    for name in names:
        store.put(name, {"value": torch.zeros(3)})
    opened = count_openings(monkeypatch)
    store.open_ahead(["missing", *names])
    assert [path.parent.name for path in opened if path.is_file()] == ["aa", "bb"]
    assert all(store.get(name) is not None for name in names[:2])
    assert len([path for path in opened if path.is_file()]) == 2


def test_the_store_stays_within_its_limit_and_drops_the_longest_unused(tmp_path: Path) -> None:
    store = EntryStore(tmp_path, limit_gb=1)
    for name, age in (("aa0", 300), ("bb0", 200), ("cc0", 100)):
        store.put(name, {"value": torch.zeros(1000)})
        path = tmp_path / name[:2] / f"{name[2:]}.safetensors"
        os.utime(path, (1e9 - age, 1e9 - age))
    size = path.stat().st_size
    bounded = EntryStore(tmp_path, limit_gb=3.5 * size / 1e9)
    assert bounded.get("aa0") is not None  # used now, so the last to go
    assert bounded.put("dd0", {"value": torch.ones(1000)})
    kept = {path.parent.name for path in tmp_path.glob("??/*.safetensors")}
    assert kept == {"aa", "cc", "dd"}


def test_what_does_not_fit_is_computed_each_time(tmp_path: Path) -> None:
    cache = open_cache(tmp_path, limit_gb=1e-9)
    assert torch.equal(ask(cache).levels[0], ask(cache).levels[0])
    assert cache.backbone.calls == 6  # type: ignore[attr-defined]
    assert not list(tmp_path.glob("??/*"))


def test_an_entry_removed_by_another_process_is_computed_again(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    ask(cache)
    entry_file(tmp_path).unlink()
    assert torch.equal(ask(cache).levels[1], Counting()(IMAGES).levels[1])


def test_what_killed_writers_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    new = name_temporary(tmp_path / "aa" / "0.safetensors")
    old = new.with_name(new.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-"))
    new.parent.mkdir()
    old.write_bytes(b"half"), new.write_bytes(b"being written")
    EntryStore(tmp_path, limit_gb=1)
    assert not old.exists()
    store = EntryStore(tmp_path, limit_gb=1e-9)
    assert not store.put("bb0", {"value": torch.zeros(100)})  # no room: nothing of its own to remove
    assert new.exists()


def test_a_full_store_is_scanned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EntryStore(tmp_path, limit_gb=1e-6)
    assert store.put("aa0", {"value": torch.zeros(100)})
    scans = []
    monkeypatch.setattr(store, "_scan", lambda: scans.append(1) or [])
    store._size = store.limit
    monkeypatch.setattr(store, "limit", 10)
    assert [store.put(f"bb{i}", {"value": torch.zeros(100)}) for i in range(5)] == [False] * 5
    assert len(scans) == 1


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"No space left.*cache\.folder"):
        ask(open_cache(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def fill(folder: Path, start: int) -> None:
    store = EntryStore(folder, limit_gb=1)
    for index in range(200):
        number = (index + start) % 200
        store.put(entry_key(str(number)), {"value": torch.full((64,), float(number))})
        found = store.get(entry_key(str((index * 7) % 200)))
        if found is not None and found["value"].unique().numel() != 1:
            raise SystemExit(1)


def test_two_processes_share_one_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=fill, args=(tmp_path, start)) for start in (0, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    store = EntryStore(tmp_path, limit_gb=1)
    values = [store.get(entry_key(str(number))) for number in range(200)]
    assert all(value is not None and value["value"][0] == number for number, value in enumerate(values))
    assert not list(tmp_path.rglob("*.tmp"))
