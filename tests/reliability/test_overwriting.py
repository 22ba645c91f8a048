"""Whatever a command would write: a file of somebody else's under that name stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dinoseg.outputs.manifest import MANIFEST
from tests.cli.commands import list_commands, list_options
from tests.cli.conftest import Run
from tests.reliability.verbs import VERBS, Inputs, Verb, copy, list_outputs, list_temporary, read_all

MINE = b"drawn by hand, in many hours"


def choose_names(folder: Path) -> list[str]:
    """One file of each folder and kind: of many masks the first stands for all."""
    chosen: dict[tuple[str, str], str] = {}
    for name in list_outputs(folder):
        chosen.setdefault((str(Path(name).parent), Path(name).suffix), name)
    return list(chosen.values())


def list_attempts(verb: Verb) -> Iterator[list[str]]:
    yield []
    if verb.overwrites:
        yield ["--overwrite"]


def require_refused(run: Run, inputs: Inputs, verb: Verb, out: Path, name: str) -> None:
    before = read_all(out)
    for more in list_attempts(verb):
        ended = run(*verb.words(inputs, out), *more)
        assert ended.code == 1, (name, more)
        named = out if verb.name == "convert" else out / name
        assert str(named) in ended.error, (name, more)
        assert "--overwrite" not in ended.error, (name, more)
        assert read_all(out) == before, (name, more)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_persons_file_stays_under_every_name(
    verb: Verb, run: Run, inputs: Inputs, written: dict[str, Path], tmp_path: Path
) -> None:
    for number, name in enumerate(choose_names(written[verb.name])):
        out = tmp_path / str(number)
        (out / name).parent.mkdir(parents=True)
        (out / name).write_bytes(MINE)
        require_refused(run, inputs, verb, out, name)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_what_a_person_changed_stays(
    verb: Verb, run: Run, inputs: Inputs, written: dict[str, Path], tmp_path: Path
) -> None:
    for number, name in enumerate(choose_names(written[verb.name])):
        out = copy(written[verb.name], tmp_path / str(number))
        (out / name).write_bytes(MINE)
        require_refused(run, inputs, verb, out, name)


def test_every_command_that_overwrites_is_here() -> None:
    with_option = {
        name for name, command in list_commands().items() if "--overwrite" in list_options(command)
    }
    here = {"data split" if verb.name == "split" else verb.name for verb in VERBS if verb.overwrites}
    assert here - {"draws"} == with_option


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.overwrites], ids=lambda verb: verb.name)
def test_what_the_command_wrote_is_replaced_when_asked_for(
    verb: Verb, run: Run, inputs: Inputs, written: dict[str, Path], tmp_path: Path
) -> None:
    out = copy(written[verb.name], tmp_path / "out")
    older = run(*verb.words(inputs, out))
    assert (older.code, "--overwrite" in older.error) == (1, True)
    assert run(*verb.words(inputs, out), "--overwrite").code == 0
    names = {name for name in list_outputs(out) if ".tfevents." not in name}
    assert names == {name for name in list_outputs(written[verb.name]) if ".tfevents." not in name}
    assert list_temporary(out) == []


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_folder_without_a_list_is_somebody_elses(
    verb: Verb, run: Run, inputs: Inputs, written: dict[str, Path], tmp_path: Path
) -> None:
    """Of an older version, for example."""
    out = copy(written[verb.name], tmp_path / "out")
    for path in out.rglob(MANIFEST):
        path.unlink()
    before = read_all(out)
    for more in list_attempts(verb):
        ended = run(*verb.words(inputs, out), *more)
        assert (ended.code, read_all(out) == before) == (1, True)
        assert "--overwrite" not in ended.error


def test_a_changed_model_is_not_written_to(run: Run, inputs: Inputs, tmp_path: Path) -> None:
    model = copy(inputs.run, tmp_path / "run")
    words = ["evaluate", model, inputs.data, "--split", "val", "--choose-postprocessing"]
    assert run(*words).code == 0  # ours, and again after it was written
    assert run(*words).code == 0
    config = model / "model" / "config.json"
    config.write_text(config.read_text().replace("lesion", "naevus"))
    before = read_all(model)
    ended = run(*words)
    assert (ended.code, str(config) in ended.error) == (1, True)
    assert read_all(model) == before
