"""A method of somebody else's: found, trained, saved, loaded in a fresh process, and missed clearly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import dinoseg
import dinoseg.methods.catalog as catalog_module
from dinoseg.backbones import create_backbone
from dinoseg.cli import main
from dinoseg.config import BackboneSettings, TrainSettings, from_yaml, to_yaml
from dinoseg.errors import ConfigError, RunError, UsageError
from dinoseg.methods import METHODS, Card, decoder_settings, find_method, register
from dinoseg.methods.presets import preset, preset_preprocessing
from dinoseg.model.folder import read_description
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from dinoseg.releases import import_checkpoint
from tests.methods import toy
from tests.methods.contract import (
    KINDS,
    PROMISES,
    Subject,
    traced_graph_gives_the_same_logits_and_leaves_the_decoder_usable,
)
from tests.training.folders import make_data

OURS = [*METHODS.ours]
DESCRIBE = """
import pathlib, sys
from dinoseg.model.folder import read_description
read_description(pathlib.Path(sys.argv[1]) / "model" / "config.json")
"""
PREDICT = """
import sys, numpy, dinoseg
numpy.save(sys.argv[3], dinoseg.predict(dinoseg.load(sys.argv[1]), sys.argv[2]).mask)
"""


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the catalog, and the imported modules, as they were."""
    monkeypatch.setattr(METHODS, "_registered", {})
    monkeypatch.setattr(METHODS, "_opened", {})
    for name in ("toy_methods", "toy_methods.card", "toy_methods.decoder"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder on the path."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "set", count=6)


def train_toy(data: Path, out: Path, method: str | Card) -> Segmenter:
    changes = {"train.epochs": 1, "model.decoder.width": 6, "cache.folder": str(out.parent / "cache")}
    return dinoseg.train(
        data, method=method, backbone="untrained-vitt16", out=out, preset="paper", changes=changes
    )


def run_fresh(code: str, *arguments: object, site: Path | None) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own, with or without the package."""
    path = os.pathsep.join([*([str(site)] if site else []), str(Path(dinoseg.__file__).parents[1])])
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def assert_same_mask(model: Segmenter, run: Path, picture: Path, *, code: str, site: Path) -> None:
    result = run_fresh(code, run, picture, run.parent / "mask.npy", site=site)
    assert result.returncode == 0, result.stderr
    mask = dinoseg.predict(model, picture).mask
    assert np.array_equal(np.load(run.parent / "mask.npy"), mask)


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode != 0
    return result.stderr.strip().splitlines()[-1]


def test_an_installed_method_is_found_by_name(site: Path) -> None:
    assert "toy" not in METHODS
    toy.install(site)
    assert [*METHODS] == [*OURS, "toy"]
    assert len(METHODS) == len(OURS) + 1
    assert METHODS["toy"].title == "toy: two 1x1 convolutions"
    assert METHODS.find_package("toy") == "toy-methods"
    assert METHODS.find_problems() == {}
    assert preset("paper", "toy") == TrainSettings(epochs=3, loss="cross_entropy", schedule="constant")
    assert preset("default", "toy") == preset("default", "linear")
    assert preset_preprocessing("paper", "toy").size == 32
    with pytest.raises(ConfigError, match="setting 'depth' is unknown"):
        decoder_settings("toy", depth=1)
    with pytest.raises(ConfigError, match="'toyy' is unknown: did you mean 'toy'"):
        find_method("toyy")


def test_methods_of_ours_are_found_without_looking_through_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError

    monkeypatch.setattr(catalog_module, "list_offers", refuse)
    assert find_method("linear") is METHODS["linear"]
    with pytest.raises(AssertionError):
        _ = "toy" in METHODS


def test_the_command_line_lists_it(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy.install(site)
    assert main(["info", "methods", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in facts["methods"]] == [*OURS, "toy"]
    assert facts["problems"] == []
    assert main(["info", "settings", "--json"]) == 0
    listed = {(row["key"], row["description"]) for row in json.loads(capsys.readouterr().out)["settings"]}
    assert ("model.decoder.width", "toy: channels between the two convolutions") in listed


def test_it_trains_by_name_and_loads_in_a_fresh_process(site: Path, data: Path, tmp_path: Path) -> None:
    toy.install(site)
    run = tmp_path / "run"
    model = train_toy(data, run, "toy")
    assert model.settings.decoder == decoder_settings("toy", width=6)
    assert json.loads((run / "model/config.json").read_text())["method_package"] == "toy-methods"
    picture = sorted((data / "images").rglob("*.png"))[0]
    assert_same_mask(model, run, picture, code=PREDICT, site=site)
    message = last_line(run_fresh(DESCRIBE, run, site=None))
    assert "config.json needs method 'toy', and here are segdino-v1, segdino-v2, dino-unet" in message
    assert message.endswith("install the package that it came with: pip install toy-methods")
    predict = ["predict", run, picture, "--out", tmp_path / "masks"]
    for words in (["info", run], predict):
        ended = run_fresh("import sys; from dinoseg.cli import main; sys.exit(main())", *words, site=None)
        errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
        assert (ended.returncode, len(errors)) == (1, 1)
        assert "Traceback" not in ended.stderr
        assert "pip install toy-methods" in ended.stderr


def test_it_trains_as_a_card_and_a_fresh_process_registers_it(site: Path, data: Path, tmp_path: Path) -> None:
    toy.write_modules(site)
    assert "toy" not in METHODS
    run = tmp_path / "run"
    model = train_toy(data, run, import_module("toy_methods.card").CARD)
    assert dinoseg.load(run).settings == model.settings  # in the process that was given the card
    assert json.loads((run / "model/config.json").read_text())["method_package"] is None
    picture = sorted((data / "images").rglob("*.png"))[0]
    given = "import dinoseg.methods, toy_methods.card as c; dinoseg.methods.register(c.CARD)\n"
    assert_same_mask(model, run, picture, code=given + PREDICT, site=site)
    # nothing is imported because a file says so, even where it could be
    message = last_line(run_fresh(DESCRIBE, run, site=site))
    assert "needs method 'toy'" in message
    assert "call dinoseg.methods.register(card) first, or install a package that offers it" in message


def save_untrained(run: Path, method: str) -> None:
    settings = ModelSettings(
        backbone=BackboneSettings(name="untrained-vitt16"),
        decoder=decoder_settings(method),
        classes={0: "background", 1: "lesion"},
    )
    Segmenter(settings, create_backbone("untrained-vitt16")).save(run / "model")


def test_a_run_of_ours_names_no_package(tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_untrained(run, "linear")
    path = run / "model/config.json"
    described = json.loads(path.read_text())
    assert "method_package" not in described
    described["settings"]["decoder"]["method"] = "foreign"
    path.write_text(json.dumps(described))
    with pytest.raises(RunError, match=r"needs method 'foreign', .*; upgrade with pip install -U dinoseg$"):
        read_description(path)
    path.write_text(json.dumps({**described, "method_package": "toy; rm -r\n~"}))
    with pytest.raises(RunError, match="damaged"):
        read_description(path)


def test_settings_of_the_method_survive_yaml(site: Path) -> None:
    toy.install(site)
    settings = ModelSettings(
        backbone=BackboneSettings(name="untrained-vitt16"),
        decoder=decoder_settings("toy", width=3),
        classes={0: "background", 1: "lesion"},
    )
    assert from_yaml(ModelSettings, to_yaml(settings)) == settings
    with pytest.raises(ConfigError, match=r"setting 'decoder\.depth' is unknown"):
        from_yaml(ModelSettings, to_yaml(settings).replace("width", "depth"))
    with pytest.raises(ConfigError, match="setting 'decoder': 'method' is missing; accepted: segdino-v1"):
        from_yaml(ModelSettings, to_yaml(settings).replace("  method: toy\n", ""))
    with pytest.raises(ConfigError, match=r"method '\[1\]' is unknown; accepted: segdino-v1"):
        from_yaml(ModelSettings, to_yaml(settings).replace("method: toy", "method: [1]"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_it_keeps_the_contract(promise: Callable[[Subject, str], None], kind: str, site: Path) -> None:
    toy.install(site)
    promise(Subject(decoder_settings("toy")), kind)


def test_its_graph_is_traced(site: Path) -> None:
    toy.install(site)
    subject = Subject(decoder_settings("toy"))
    traced_graph_gives_the_same_logits_and_leaves_the_decoder_usable(subject, "vit")


BROKEN = {
    "no module": ("toy = not_there.card:CARD", "toy", "cannot be imported: ModuleNotFoundError"),
    "no name": ("toy = toy_methods.card:KARD", "toy", "cannot be imported: AttributeError"),
    "raises": ("toy = broken_methods:CARD", "toy", "cannot be imported: ZeroDivisionError: division by zero"),
    "no card": ("toy = toy_methods.card:ToySettings", "toy", "accepted is a dinoseg.methods.Card"),
    "other name": ("toi = toy_methods.card:CARD", "toi", "is the card of 'toy'"),
    "ours": ("linear = toy_methods.card:CARD", "linear", "left out: dinoseg has a method of that name"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_offer_is_one_line_and_breaks_nothing(
    case: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry, name, words = BROKEN[case]
    toy.write_modules(site)
    toy.write_offer(site, entry)
    (site / "broken_methods.py").write_text("1 / 0\n")
    assert [*METHODS] == OURS
    problem = METHODS.find_problems()[name]
    assert words in problem
    assert "toy-methods" in problem
    assert "\n" not in problem
    assert main(["info", "methods"]) == 0
    assert words in " ".join(capsys.readouterr().out.split())
    if name == "linear":
        assert find_method("linear").source == "ours"
    else:
        with pytest.raises(ConfigError) as caught:
            find_method(name)
        assert str(caught.value) == problem


def test_two_packages_with_one_name_are_told_apart(site: Path) -> None:
    toy.install(site)
    toy.write_offer(site, "toy = toy_methods.card:CARD", package="other-toy")
    assert [*METHODS] == OURS
    with pytest.raises(ConfigError, match=r"offered by several packages \(other-toy, toy-methods\)"):
        find_method("toy")


def test_a_broken_package_is_named_by_the_run_that_needs_it(site: Path, tmp_path: Path) -> None:
    toy.install(site)
    save_untrained(tmp_path / "run", "toy")
    (site / "toy_methods/card.py").write_text("1 / 0\n")
    message = last_line(run_fresh(DESCRIBE, tmp_path / "run", site=site))
    assert "needs what is broken here: method 'toy' of the installed package toy-methods" in message


def test_a_registered_card_takes_no_name_of_another(site: Path) -> None:
    toy.install(site)
    other = make_card()
    with pytest.raises(ConfigError, match="'toy' is that of the installed package toy-methods"):
        register(other)
    register(METHODS["toy"])
    assert METHODS.find_package("toy") == "toy-methods"
    linear = METHODS["linear"]
    register(linear)
    with pytest.raises(ConfigError, match="'linear' is dinoseg's own; give the card another name"):
        register(make_card(name="linear", settings=linear.settings))
    assert [*METHODS] == [*OURS, "toy"]


def test_a_card_that_is_registered_again_replaces_the_first(site: Path) -> None:
    toy.write_modules(site)
    first, second = make_card(), make_card(title="better")
    assert find_method(first) is METHODS["toy"] is first
    assert find_method(second) is METHODS["toy"] is second


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Toy"}, "method 'Toy' is no name"),
        ({"name": "toy-2"}, "settings of method 'toy-2' are for 'toy'"),
        ({"settings": TrainSettings}, "settings of method 'toy' are no subclass of DecoderSettings"),
        ({"decoder": "toy_methods.decoder"}, "accepted: module:Class"),
    ],
)
def test_a_card_that_cannot_work_is_refused(site: Path, changes: dict[str, object], words: str) -> None:
    toy.write_modules(site)
    with pytest.raises(ConfigError, match=words):
        make_card(**changes)


def test_a_network_that_is_not_there_is_one_line(site: Path) -> None:
    toy.write_modules(site)
    with pytest.raises(ConfigError, match=r"toy_methods.*Tow of method 'toy' cannot be imported"):
        make_card(decoder="toy_methods.decoder:Tow").load_decoder()


def test_a_broken_network_does_not_get_in_the_way_of_an_import(site: Path, tmp_path: Path) -> None:
    toy.install(site)
    (site / "toy_methods/decoder.py").write_text("1 / 0\n")
    with pytest.raises(UsageError, match=r"accepted: segdino-v1, segdino-v2, dino-unet, dino-augseg$"):
        import_checkpoint("a.pth", method="linear", backbone="untrained-vitt16", out=tmp_path / "run")
    with pytest.raises(ConfigError, match="'toy' cannot be imported: ZeroDivisionError"):
        import_checkpoint("a.pth", method="toy", backbone="untrained-vitt16", out=tmp_path / "run")


def make_card(**changes: object) -> Card:
    card = import_module("toy_methods.card").CARD
    values = {name: getattr(card, name) for name in Card.__dataclass_fields__}
    return Card(**{**values, "title": "another", **changes})  # type: ignore[arg-type]
