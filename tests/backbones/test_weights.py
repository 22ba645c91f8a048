from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dinoseg.backbones import catalog, create_backbone, hub
from dinoseg.backbones.catalog import BACKBONES
from dinoseg.backbones.weights import check_weights, get_weights, list_weights
from dinoseg.backbones.weights_local import open_weights
from dinoseg.backbones.weights_settings import read_settings
from dinoseg.errors import LicenseError, UsageError, WeightsError
from tests.backbones.hub_server import COMMIT, Hub, run_hub
from tests.backbones.tiny import Notes, read_parity

NAME = "dinov3_vits16"
TIMM = "timm/vit_small_patch16_dinov3.lvd1689m"
GATED = "facebook/dinov3-vits16-pretrain-lvd1689m"
META = "dinov3_vits16_pretrain_lvd1689m-08c60483"
CONTENT = bytes(range(256)) * 4000  # 1 MB


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PAUSE", 0.01)
    for variable in ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with run_hub(Hub(files={TIMM: CONTENT})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


def refusal(name: str = NAME, **options: str) -> str:
    """Fetch, expecting a failure; return its message, which is one line and names the other ways."""
    with pytest.raises(WeightsError) as caught:
        get_weights(name, accept_license=True, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert f"`dinoseg weights get {name}`" in message
    assert "--weights FILE`" in message
    if name.startswith("dinov3"):
        assert "Meta's dinov3_vits16_pretrain_lvd1689m-08c60483.pth" in message
        assert f"HF_TOKEN of an account that {GATED}" in message
    return message


def folder() -> Path:
    return read_settings().weights / NAME


def test_download_is_recorded_and_reused(server: Hub) -> None:
    notes = Notes()
    found = get_weights(NAME, accept_license=True, progress=notes)
    assert found.path == folder() / "model.safetensors"
    assert found.path.read_bytes() == CONTENT
    assert (found.origin, found.sha256, found.size) == (TIMM, sha256(CONTENT), len(CONTENT))
    assert notes.steps == notes.total == 4
    assert json.loads((folder() / "record.json").read_text())["sha256"] == sha256(CONTENT)
    assert any(
        TIMM in note and sha256(CONTENT)[:16] in note and "dinov3-license" in note for note in notes.notes
    )
    asked = len(server.requests)
    assert get_weights(NAME) == found
    assert len(server.requests) == asked
    assert not list(folder().glob("*.part"))


def test_the_exact_version_is_fetched_without_a_token(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    get_weights(NAME, accept_license=True)
    assert server.asked("GET")[0].path == f"/{TIMM}/resolve/{COMMIT}/model.safetensors"
    assert {request.token for request in server.requests} == {None}


def test_resume_after_a_broken_connection(server: Hub) -> None:
    server.breaks = [300_000, 200_000]
    notes = Notes()
    found = get_weights(NAME, accept_license=True, progress=notes)
    assert found.sha256 == sha256(CONTENT)
    first, second, third = server.asked("GET")
    assert first.range is None
    assert second.range is not None
    assert third.range is not None
    assert 0 < second.range <= 300_000
    assert second.range < third.range <= 500_000
    assert notes.steps == notes.total


def test_resume_in_a_later_run(server: Hub) -> None:
    server.breaks = [400_000, 0, 0, 0, 0, 0]
    message = refusal()
    assert "broke" in message
    assert "goes on from" in message
    assert not (folder() / "model.safetensors").exists()
    part = next(folder().glob("*.part")).stat().st_size
    assert 0 < part <= 400_000
    server.breaks, server.requests = [], []
    assert get_weights(NAME).sha256 == sha256(CONTENT)
    assert [request.range for request in server.asked("GET")] == [part]


def test_a_server_that_ignores_range_starts_over(server: Hub) -> None:
    server.breaks, server.ignore_range = [300_000], True
    assert get_weights(NAME, accept_license=True).sha256 == sha256(CONTENT)
    assert len(server.asked("GET")) == 2


def test_a_busy_server_is_asked_again(server: Hub) -> None:
    server.get_statuses = [503, 429, 200]
    assert get_weights(NAME, accept_license=True).sha256 == sha256(CONTENT)
    assert len(server.asked("GET")) == 3


def test_wrong_checksum(server: Hub) -> None:
    server.fake_sha256 = "ab" * 32
    assert "arrived damaged" in refusal()
    assert not list(folder().glob("*.part"))
    assert not (folder() / "model.safetensors").exists()


@pytest.mark.parametrize("hidden", ["X-Repo-Commit", "ETag"])
def test_a_server_that_is_no_hub(server: Hub, hidden: str) -> None:
    server.hide = (hidden,)
    assert "does not state version, size and sha256" in refusal()


def test_not_found_anywhere(server: Hub) -> None:
    server.files = {}
    message = refusal()
    assert f"{TIMM} has no such file (404)" in message
    assert f"{GATED} has no such file (404)" in message


def test_gated_without_a_token(server: Hub) -> None:
    server.files, server.tokens = {GATED: CONTENT}, {GATED: "good"}
    assert f"{GATED} asks for a token (401)" in refusal()


def test_gated_with_a_token_that_was_not_granted_access(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files, server.tokens = {GATED: CONTENT}, {GATED: "good"}
    monkeypatch.setenv("HF_TOKEN", "bad")
    assert f"{GATED} has not granted access to this token (403)" in refusal()


@pytest.mark.parametrize("stored", [False, True])
def test_gated_with_a_good_token(server: Hub, home: Path, stored: bool) -> None:
    server.files, server.tokens = {GATED: CONTENT}, {GATED: "good"}
    server.redirect = True
    notes = Notes()
    if stored:
        place = home / ".cache" / "huggingface" / "token"
        place.parent.mkdir(parents=True)
        place.write_text("good\n")
    found = get_weights(NAME, accept_license=True, token=None if stored else "good", progress=notes)
    assert found.origin == GATED
    assert any(f"{TIMM} has no such file (404)" in note for note in notes.notes)
    sent = {(request.host, request.token) for request in server.requests if TIMM not in request.path}
    # The token goes to the hub, never to the host that stores the file.
    assert sent == {("127.0.0.1", "good"), ("localhost", None)}


def test_redirected_downloads_resume_too(server: Hub) -> None:
    server.redirect, server.breaks = True, [300_000]
    assert get_weights(NAME, accept_license=True).sha256 == sha256(CONTENT)
    stored = [request for request in server.asked("GET") if request.host == "localhost"]
    assert [request.range is None for request in stored] == [True, False]


def test_server_errors_are_named(server: Hub) -> None:
    server.statuses = {TIMM: 500, GATED: 500}
    assert "answered with status 500" in refusal()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_no_network_fails_at_once() -> None:
    start = time.monotonic()
    message = refusal(endpoint=f"http://127.0.0.1:{closed_port()}")
    assert time.monotonic() - start < 3
    assert "cannot be reached" in message


def test_an_unknown_host_fails_at_once() -> None:
    start = time.monotonic()
    assert "cannot be reached" in refusal(endpoint="http://hub.invalid")
    assert time.monotonic() - start < 5


def test_a_silent_server_does_not_hang(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(seconds <= 20 for seconds in hub.TIMEOUT)
    monkeypatch.setattr(hub, "TIMEOUT", (0.2, 0.2, 0.2, 0.2))
    server.delay = 1.0
    start = time.monotonic()
    assert "cannot be reached" in refusal()
    assert time.monotonic() - start < 3


def test_offline_is_respected(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE forbids fetching" in refusal()
    assert server.requests == []


def test_a_full_disk_is_noticed_before(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    assert "free some space or set DINOSEG_HOME" in refusal()
    assert server.asked("GET") == []


def test_two_at_once_fetch_once(server: Hub) -> None:
    server.delay = 0.1
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(get_weights(NAME, accept_license=True)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [file.sha256 for file in found] == [sha256(CONTENT)] * 2
    assert len(server.asked("GET")) == 1


def test_open_licence_needs_no_acceptance(server: Hub) -> None:
    server.files = {"facebook/dinov2-small": CONTENT}
    assert get_weights("dinov2_vits14").origin == "facebook/dinov2-small"
    server.files = {}
    assert "has no such file" in refusal("dinov2_vitb14")


def test_nothing_is_asked_before_the_licence_is_accepted(server: Hub) -> None:
    with pytest.raises(LicenseError, match="--accept-license"):
        get_weights(NAME)
    assert server.requests == []


def test_untrained_has_no_weights() -> None:
    with pytest.raises(WeightsError, match="random by design"):
        get_weights("untrained-vitt16")
    with pytest.raises(UsageError, match="did you mean"):
        get_weights("dinov3_vits")


def put_in_hub_cache(home: Path, content: bytes, *, promised: str | None = None) -> Path:
    """Lay a file out as the Hugging Face cache does: a snapshot linking to a blob named by its sha256."""
    repo = home / ".cache" / "huggingface" / "hub" / f"models--{TIMM.replace('/', '--')}"
    blob = repo / "blobs" / (promised or sha256(content))
    snapshot = repo / "snapshots" / COMMIT / "model.safetensors"
    for path in (blob, snapshot, repo / "refs" / "main"):
        path.parent.mkdir(parents=True)
    blob.write_bytes(content)
    snapshot.symlink_to(blob)
    (repo / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_the_hub_cache_is_used(home: Path, server: Hub) -> None:
    snapshot = put_in_hub_cache(home, CONTENT)
    found = get_weights(NAME, accept_license=True)
    assert (found.path, found.sha256) == (snapshot, sha256(CONTENT))
    assert "Hugging Face cache" in found.origin
    assert server.requests == []


def test_a_damaged_hub_cache_is_noticed(home: Path) -> None:
    put_in_hub_cache(home, CONTENT, promised="ab" * 32)
    with pytest.raises(WeightsError, match="has changed"):
        get_weights(NAME, accept_license=True)


def test_metas_file_in_the_cache_is_found(server: Hub) -> None:
    folder().mkdir(parents=True)
    (folder() / f"{META}.pth").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match="its name says 08c60483"):
        get_weights(NAME, accept_license=True)
    assert server.requests == []


def test_a_changed_file_is_noticed_when_loading(server: Hub) -> None:
    found = get_weights(NAME, accept_license=True)
    found.path.write_bytes(CONTENT[:-1] + b"x")
    os.utime(found.path, ns=(1, 1))
    with pytest.raises(WeightsError, match=f"has changed .*`dinoseg weights get {NAME}`"):
        get_weights(NAME)


def test_a_lost_record_is_written_again(server: Hub) -> None:
    found = get_weights(NAME, accept_license=True)
    (folder() / "record.json").write_text("{}")
    again = get_weights(NAME)
    assert (again.sha256, again.origin) == (found.sha256, "own cache")
    assert json.loads((folder() / "record.json").read_text())["sha256"] == found.sha256


def test_open_weights_checks_the_name(tmp_path: Path) -> None:
    spec = BACKBONES[NAME]
    with pytest.raises(WeightsError, match="does not exist; other ways"):
        open_weights(tmp_path / "none.pth", spec)
    wrong = tmp_path / f"{BACKBONES['dinov3_vitl16.sat493m'].meta_prefix}.pth"
    wrong.write_bytes(CONTENT)
    with pytest.raises(
        WeightsError, match=r"holds the weights of dinov3_vitl16\.sat493m, not of dinov3_vitl16\.lvd"
    ):
        open_weights(wrong, BACKBONES["dinov3_vitl16.lvd1689m"])
    with pytest.raises(WeightsError, match="its name says eadcf0ff"):
        open_weights(wrong, BACKBONES["dinov3_vitl16.sat493m"])
    renamed = tmp_path / f"mine-{sha256(CONTENT)[:8]}.pth"
    renamed.write_bytes(CONTENT)
    assert open_weights(renamed, spec).sha256 == sha256(CONTENT)
    assert list(tmp_path.glob("*.json")) == []


def test_list_shows_every_backbone_without_hashing(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row.name: row for row in list_weights()}
    assert set(rows) == set(BACKBONES) - {"untrained-vitt16"}
    assert not any(row.present for row in rows.values())
    assert (rows[NAME].origin, rows[NAME].accepted, rows["dinov2_vits14"].accepted) == (TIMM, False, True)
    assert rows[NAME].size == pytest.approx(86.4e6, rel=0.01)
    get_weights(NAME, accept_license=True)
    monkeypatch.setattr("dinoseg.backbones.weights_records.hash_file", None)
    row = {row.name: row for row in list_weights()}[NAME]
    assert (row.present, row.accepted, row.size) == (True, True, len(CONTENT))
    assert (row.path, row.sha256) == (folder() / "model.safetensors", sha256(CONTENT))


@pytest.fixture
def tiny_catalog(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """Let the name stand for a tiny ViT; return the bytes of its weights in timm's layout."""
    import dataclasses

    case = read_parity("timm_vit_mlp")
    known = BACKBONES[NAME]
    spec = dataclasses.replace(
        case.spec, name=NAME, timm_repo=TIMM, hf_repo=GATED, meta_prefix=META, license=known.license
    )
    monkeypatch.setattr(catalog, "BACKBONES", {NAME: spec})
    monkeypatch.setattr("dinoseg.backbones.weights.BACKBONES", {NAME: spec})
    save_file(case.state, tmp_path / "timm.safetensors")
    return (tmp_path / "timm.safetensors").read_bytes()


def test_from_the_hub_to_features(server: Hub, tiny_catalog: bytes) -> None:
    server.files = {TIMM: tiny_catalog}
    with pytest.raises(LicenseError):
        create_backbone(NAME)
    backbone = create_backbone(NAME, accept_license=True)
    assert (backbone.source, backbone.license) == (TIMM, "dinov3-license")
    assert backbone.weights_sha256 == sha256(tiny_catalog)
    case = read_parity("timm_vit_mlp")
    error = max((a - b).abs().max() for a, b in zip(backbone(case.pixels).levels, case.outputs, strict=True))
    assert error <= 1e-4


def test_a_given_file_in_any_layout(tiny_catalog: bytes, tmp_path: Path) -> None:
    timm = tmp_path / "timm.safetensors"
    meta = tmp_path / "meta.pth"
    torch.save(read_parity("dinov3_vit_mlp").state, meta)
    for path in (timm, meta):
        backbone = create_backbone(NAME, weights=path, accept_license=True)
        assert backbone.source == f"file {path.name}"
        assert backbone.weights_sha256 == sha256(path.read_bytes())


def test_check_finds_what_loading_does_not(server: Hub, tiny_catalog: bytes) -> None:
    assert check_weights() == []
    with pytest.raises(WeightsError, match="are not on this machine; other ways"):
        check_weights(NAME)
    server.files = {TIMM: tiny_catalog}
    path = get_weights(NAME, accept_license=True).path
    (good,) = check_weights(NAME)
    assert good.ok
    assert good.sha256 == sha256(tiny_catalog)
    # One flipped bit, with size and time as before: only hashing again can tell.
    before = path.stat()
    path.write_bytes(tiny_catalog[:-1] + bytes([tiny_catalog[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (bad,) = check_weights()
    assert not bad.ok
    assert "has changed" in bad.problem


def test_check_loads_completely(tiny_catalog: bytes) -> None:
    state = read_parity("timm_vit_mlp").state
    del state["blocks.2.norm1.weight"]
    folder().mkdir(parents=True)
    save_file(state, folder() / "model.safetensors")
    (found,) = check_weights(NAME)
    assert not found.ok
    assert "1 of" in found.problem


def test_settings_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> None:
    monkeypatch.delenv("DINOSEG_HOME")
    default = read_settings()
    assert default.weights == home / ".cache" / "dinoseg" / "weights"
    assert default.hub_cache == home / ".cache" / "huggingface" / "hub"
    assert (default.endpoint, default.token, default.offline) == ("https://huggingface.co", None, False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror/")
    monkeypatch.setenv("HF_TOKEN", "t")
    monkeypatch.setenv("HF_HUB_OFFLINE", "true")
    changed = read_settings()
    assert changed.hub_cache == tmp_path / "hub"
    assert (changed.endpoint, changed.token, changed.offline) == ("http://mirror", "t", True)


def test_from_the_hub_to_features_at_full_size(server: Hub, tmp_path: Path) -> None:
    spec = BACKBONES[NAME]
    server.files = {TIMM: full_size_timm_file(tmp_path / "full.safetensors")}
    backbone = create_backbone(NAME, accept_license=True)
    assert backbone.layers == spec.layers
    assert len(server.files[TIMM]) == pytest.approx(86.4e6, rel=0.002)
    (found,) = check_weights(NAME)
    assert found.ok


def full_size_timm_file(path: Path) -> bytes:
    """Random weights of dinov3_vits16 under timm's names, the way its own file is laid out."""
    tiny = read_parity("timm_vit_mlp").state
    width, factors = 384, {32: 384, 96: 3 * 384, 128: 4 * 384}
    state = {}
    for name, tensor in tiny.items():
        shape = [factors.get(side, side) for side in tensor.shape]
        blocks = range(12) if name.startswith("blocks.0.") else [0]
        if name.startswith("blocks.") and not name.startswith("blocks.0."):
            continue
        for block in blocks:
            state[name.replace("blocks.0.", f"blocks.{block}.")] = torch.randn(shape) * 0.02
    assert state["cls_token"].shape == (1, 1, width)
    save_file(state, path)
    return path.read_bytes()
