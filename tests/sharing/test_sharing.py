"""A model that is pushed and pulled is the same model, and nothing private went with it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dinoseg import load, predict
from dinoseg.backbones import create_backbone
from dinoseg.errors import LicenseError, OutputError, RunError, UsageError, WeightsError
from dinoseg.model.assembling import make_ensemble
from dinoseg.model.segmenter import Segmenter
from dinoseg.sharing import HubAddress, parse_address, pull, push, resolve
from dinoseg.sharing.index import INDEX, read_index
from tests.cli.conftest import Run
from tests.sharing.model_hub import ModelHub, Repository
from tests.test_model import make_settings

REPO = "our-clinic/polyps"


def fetched(hub: ModelHub) -> list[str]:
    return [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://a/b", HubAddress("a/b", "main")),
        ("hf:/a/b@v1.0", HubAddress("a/b", "v1.0")),  # as a path writes it
        ("hf://a/b@release/2", HubAddress("a/b", "release/2")),
        ("file:///x/y%20z", Path("/x/y z")),
        ("file:/x", Path("/x")),
        ("runs/a", Path("runs/a")),
    ],
)
def test_addresses(text: str, expected: HubAddress | Path) -> None:
    assert parse_address(text) == expected
    assert parse_address(Path(text)) == expected


@pytest.mark.parametrize(
    "text", ["hf://a", "hf://a/b/c", "hf://a/../b", "hf://a/b@", "hf://", "file://", "hf://a/b@../x"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="accepted are hf://OWNER/NAME"):
        parse_address(text)


def test_the_same_model_comes_back(hub: ModelHub, run_folder: Path, picture: Path) -> None:
    pushed = push(run_folder, REPO)
    assert pushed.address == f"hf://{REPO}@{pushed.commit}"
    expected = predict(run_folder, picture).probabilities
    for address in (f"hf://{REPO}", pushed.address, Path(pushed.address)):
        assert np.array_equal(predict(address, picture).probabilities, expected)
    assert load(f"hf://{REPO}").run == resolve(pushed.address)


def test_nothing_private_travels(hub: ModelHub, run_folder: Path) -> None:
    pushed = push(run_folder, REPO)
    files = hub.repositories[REPO].commits[str(pushed.commit)]
    assert set(files) == {
        "README.md",
        INDEX,
        *(f"model/{name}" for name in ("README.md", "config.json", "decoder.safetensors")),
    }
    everything = b"".join(files.values()).decode("latin1")
    assert "müller" not in everything.encode("latin1").decode("utf-8", "ignore")
    assert "alice" not in everything
    assert str(run_folder.parent) not in everything


def test_the_path_of_a_local_backbone_stays_here(hub: ModelHub, run_folder: Path) -> None:
    config = run_folder / "model" / "config.json"
    described = json.loads(config.read_text())
    described["settings"]["backbone"]["name"] = "/home/alice/weights/vit"
    described["backbone"] |= {"name": "/home/alice/weights/vit", "source": "/home/alice/weights/vit"}
    config.write_text(json.dumps(described))
    pushed = push(run_folder, REPO)
    files = hub.repositories[REPO].commits[str(pushed.commit)]
    assert json.loads(files["model/config.json"])["settings"]["backbone"]["name"] == "vit"
    assert all(b"alice" not in data for data in files.values())
    assert b"name yours with --backbone" in files["README.md"]
    assert "alice" in config.read_text()  # the run itself is as it was


def test_the_card_has_scores_for_the_hub_and_for_people(hub: ModelHub, run_folder: Path) -> None:
    pushed = push(run_folder, REPO, license_name="apache-2.0")
    card = hub.repositories[REPO].commits[str(pushed.commit)]["README.md"].decode()
    _, metadata, page = card.split("---\n", 2)
    facts = yaml.safe_load(metadata)
    assert facts["library_name"] == "dinoseg"
    assert facts["license"] == "apache-2.0"
    (result,) = facts["model-index"][0]["results"]
    assert result["dataset"] == {"name": "kvasir", "type": "kvasir", "split": "test"}
    assert [metric["value"] for metric in result["metrics"]] == [0.8123, 4.0]
    assert "| kvasir | test (1 cases) | lesion | Dice | 0.812 | 0.700 to 0.900 | 1 | 0 of 1 |" in page
    assert "2 cases in the split train" in page


def test_a_revision_is_pinned_and_then_needs_no_network(
    hub: ModelHub, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push(run_folder, REPO)
    folder = resolve(first.address)
    shutil.copy(run_folder / "model" / "README.md", run_folder / "model" / "notes.md")
    second = push(run_folder, REPO)
    assert second.commit != first.commit
    assert (resolve(f"hf://{REPO}") / "model" / "notes.md").is_file()
    before = len(hub.asked)
    assert resolve(first.address) == folder
    assert not (folder / "model" / "notes.md").exists()
    assert len(hub.asked) == before
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve(f"hf://{REPO}").name == second.commit  # the branch as it was pulled last
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids fetching"):
        resolve(f"hf://{REPO}@other")


def test_files_that_the_new_model_does_not_have_go(hub: ModelHub, run_folder: Path) -> None:
    extra = run_folder / "model" / "notes.md"
    extra.write_text("old")
    push(run_folder, REPO)
    extra.unlink()
    pushed = push(run_folder, REPO)
    assert "model/notes.md" not in hub.repositories[REPO].commits[str(pushed.commit)]


def test_a_branch(hub: ModelHub, run_folder: Path) -> None:
    push(run_folder, f"{REPO}@candidate")
    assert (resolve(f"hf://{REPO}@candidate") / "model" / "config.json").is_file()
    with pytest.raises(WeightsError, match="is not on"):
        resolve(f"hf://{REPO}@main")


# huggingface_hub hands files to its HTTP library in a way that this one no longer likes.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_an_interrupted_push_sends_large_files_once(hub: ModelHub, run_folder: Path) -> None:
    hub.large = 1000
    hub.fail_commits = 1
    with pytest.raises(WeightsError, match="answered with status 500; try again"):
        push(run_folder, REPO)
    sent = hub.uploads
    assert sent >= 1
    push(run_folder, REPO)
    assert hub.uploads <= sent + 1  # the card and what is small; the decoder is there already
    assert (resolve(f"hf://{REPO}") / "model" / "decoder.safetensors").is_file()


def test_a_download_goes_on_where_it_stopped(hub: ModelHub, run_folder: Path) -> None:
    push(run_folder, REPO)
    hub.breaks = [100, 50]
    folder = resolve(f"hf://{REPO}")
    decoder = (folder / "model" / "decoder.safetensors").read_bytes()
    assert decoder == (run_folder / "model" / "decoder.safetensors").read_bytes()
    assert not list(folder.rglob("*.part"))
    asked = len(fetched(hub))
    pull(REPO)
    assert len(fetched(hub)) == asked + 1  # the index only


def test_a_damaged_file_is_not_kept(hub: ModelHub, run_folder: Path) -> None:
    push(run_folder, REPO)
    hub.damage = {"model/decoder.safetensors"}
    with pytest.raises(WeightsError, match=r"model/decoder.safetensors arrived damaged .* and was deleted"):
        resolve(f"hf://{REPO}")
    hub.damage = set()
    assert resolve(f"hf://{REPO}")


def test_a_private_model_needs_the_token(
    hub: ModelHub, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(run_folder, REPO, private=True)
    assert hub.repositories[REPO].private
    assert resolve(f"hf://{REPO}")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(WeightsError, match="set HF_TOKEN if it is private"):
        pull(REPO)
    with pytest.raises(WeightsError, match=r"may not be written with this token \(403\); set HF_TOKEN"):
        push(run_folder, REPO)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(WeightsError, match="wants a token to push"):
        push(run_folder, REPO)


def test_private_is_never_pushed_to_a_public_one(hub: ModelHub, run_folder: Path) -> None:
    hub.repositories[REPO] = Repository(private=False)
    hub.commit(REPO, "main", {})
    with pytest.raises(WeightsError, match="is public, and --private was asked for"):
        push(run_folder, REPO, private=True)
    assert len(hub.repositories[REPO].commits) == 1


def test_no_network_is_one_line(hub: ModelHub, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for action in (lambda: pull(REPO), lambda: push(run_folder, REPO)):
        with pytest.raises(WeightsError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
            action()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE forbids it"):
        push(run_folder, REPO)


def test_what_is_no_model_of_ours_is_refused(hub: ModelHub) -> None:
    hub.commit("a/b", "main", {"config.json": b"{}"})
    with pytest.raises(WeightsError, match=r"no model that dinoseg pushed \(dinoseg.json is missing\)"):
        pull("a/b")
    hub.commit("a/b", "main", {INDEX: b'{"format": 9, "files": {}}'})
    with pytest.raises(WeightsError, match="has format 9, this dinoseg reads 1"):
        pull("a/b")


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "a\\b", ".ssh/x", "a//.b", "C:x", "", "./a", INDEX]
)
def test_an_index_cannot_name_a_file_elsewhere(name: str) -> None:
    entry = {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    with pytest.raises(WeightsError, match="no index of a model"):
        read_index(json.dumps({"format": 1, "files": {name: entry}}), "somewhere")


def test_a_folder_is_pushed_to_and_loaded_from(run_folder: Path, picture: Path, tmp_path: Path) -> None:
    share = tmp_path / "share" / "polyps"
    pushed = push(run_folder, f"file://{share}")
    assert pushed.commit is None
    expected = predict(run_folder, picture).mask
    assert np.array_equal(predict(f"file://{share}", picture).mask, expected)
    assert np.array_equal(predict(share, picture).mask, expected)
    with pytest.raises(OutputError, match="add --overwrite"):
        push(run_folder, share)
    push(run_folder, share, overwrite=True)
    (share / "README.md").write_text("mine")
    with pytest.raises(OutputError, match="was not written by dinoseg, or was changed since"):
        push(run_folder, share, overwrite=True)
    with pytest.raises(WeightsError, match="is not the file that was pushed"):
        resolve(f"file://{share}")


def test_pull_copies_into_a_run_folder(hub: ModelHub, run_folder: Path, tmp_path: Path) -> None:
    push(run_folder, REPO)
    out = tmp_path / "copy"
    pulled = pull(f"{REPO}@main", out=out)
    assert pulled.folder == out
    load(out)
    with pytest.raises(OutputError, match="add --overwrite"):
        pull(REPO, out=out)
    pull(REPO, out=out, overwrite=True)


def test_a_backbone_that_is_passed_on_has_its_licence_accepted_each_time(
    run_folder: Path, tmp_path: Path
) -> None:
    config = run_folder / "model" / "config.json"
    described = json.loads(config.read_text())
    described["backbone"]["license"] = "dinov3-license"
    config.write_text(json.dumps(described))
    (run_folder / "backbone").mkdir()
    (run_folder / "backbone" / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(LicenseError, match="passing on these weights needs"):
        push(run_folder, tmp_path / "share")
    assert not (tmp_path / "share").exists()
    pushed = push(run_folder, tmp_path / "share", accept_license=True)
    assert "backbone/model.safetensors" in pushed.files
    with pytest.raises(LicenseError):
        push(run_folder, tmp_path / "again")


def test_an_ensemble_travels_whole(hub: ModelHub, run_folder: Path, picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "runs" / "other"
    settings = make_settings("untrained-vitt16")
    torch.manual_seed(1)
    Segmenter(settings, create_backbone("untrained-vitt16")).save(other / "model")
    both = tmp_path / "both"
    make_ensemble([run_folder, other], both)
    pushed = push(both, REPO)
    files = hub.repositories[REPO].commits[str(pushed.commit)]
    assert all(b"m\xc3\xbcller" not in data for data in files.values())
    assert not any(name.endswith("splits.json") for name in files)
    assert b"2 models that predict as one: `linear` on `untrained-vitt16`" in files["README.md"]
    expected = predict(both, picture).probabilities
    assert np.array_equal(predict(f"hf://{REPO}", picture).probabilities, expected)
    (both / "ensemble.json").write_text("{}")
    with pytest.raises(RunError, match=r"ensemble\.json is damaged"):
        push(both, REPO)


def test_a_folder_without_a_model(tmp_path: Path, run_folder: Path) -> None:
    for folder, words in ((tmp_path / "none", "holds no model"), (run_folder.parent, "holds 1 runs")):
        with pytest.raises(RunError, match=words):
            push(folder, "a/b")


def test_the_command_line(hub: ModelHub, run: Run, run_folder: Path, picture: Path, tmp_path: Path) -> None:
    pushed = run("push", run_folder, REPO, "--private", "--json").json
    assert pushed["address"] == f"hf://{REPO}@{pushed['commit']}"
    out = tmp_path / "masks"
    ended = run("predict", f"hf://{REPO}", picture, "--out", out)
    assert ended.code == 0, ended.err
    assert (out / "masks" / "a.png").is_file()
    assert "linear on untrained-vitt16" in run("info", f"hf://{REPO}").out
    pulled = run("pull", REPO, "--out", tmp_path / "copy", "--json").json
    assert pulled["commit"] == pushed["commit"]
    assert run("pull", "our-clinic/other").code == WeightsError.exit_code
    assert run("pull", "no-name").code == UsageError.exit_code
