"""docs/python.md says what is there: its tables are those of the code, and each of its errors can be had."""

from __future__ import annotations

import dataclasses
import errno
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dinoseg
from dinoseg import errors
from dinoseg.evaluation import Evaluation
from dinoseg.model.network import Network
from dinoseg.model.segmenter import Segmenter
from dinoseg.outputs import files
from tests.test_docs import DOCS, compare, read_table
from tests.training.folders import make_data, train_small


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("page") / "data")


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    place = tmp_path_factory.mktemp("run")
    return train_small(folder, place / "run", place / "cache", method="linear")


def first_cells(title: str) -> list[str]:
    """The first cells of the table of the page whose last column has no title."""
    return [row[0] for row in list_cells(title, count=1)]


def list_cells(titles: str, *, count: int) -> list[list[str]]:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    rows = text.partition(f"| {titles} | |\n")[2].partition("\n\n")[0]
    cells = [row.split("|")[1 : count + 1] for row in rows.splitlines()[1:]]
    return [[cell.strip().replace("`", "") for cell in row] for row in cells]


def test_the_public_names_are_all_there() -> None:
    assert set(first_cells("name")) == {f"dinoseg.{name}" for name in dinoseg.__all__}


def test_fields_are_those_of_the_classes(model: Segmenter) -> None:
    prediction = {field.name for field in dataclasses.fields(dinoseg.Prediction)}
    assert set(first_cells("field of `Prediction`")) == {*prediction, "pixels"}
    methods = {name.partition("(")[0] for name in first_cells("method")}
    assert all(callable(getattr(dinoseg.Prediction, name)) for name in methods)
    shown = list_cells("field of `Inference` | default", count=2)
    options = dataclasses.fields(dinoseg.Inference)
    compare(shown, [[option.name, str(option.default)] for option in options])
    evaluation = {field.name for field in dataclasses.fields(Evaluation)}
    assert set(first_cells("field of `Evaluation`")) <= {*evaluation, *dir(Evaluation)}
    for cell in first_cells("of `Network`"):
        for name in cell.split(", "):
            assert hasattr(model, name.partition("(")[0]), name
            assert name.partition("(")[0] in {*dir(Network), *inspect.get_annotations(Network)}, name


def test_errors_are_those_of_the_module() -> None:
    expected = []
    for name, kind in vars(errors).items():
        if inspect.isclass(kind) and issubclass(kind, errors.DinosegError) and kind.__base__ is not Exception:
            base = kind.__base__
            assert base is not None
            article = "an" if base.__name__[0] in "AEIO" else "a"
            note = "" if base is errors.DinosegError else f" ({article} {base.__name__})"
            expected.append((f"{name}{note}", str(kind.exit_code)))
    rows = read_table("python.md", "from `dinoseg.errors`", "when", "exit code")
    assert sorted((row[0], row[2]) for row in rows) == sorted(expected)


def fill_disk(path: Path, written: Path | None = None) -> None:
    raise OSError(errno.ENOSPC, "no space left on device")


@dataclasses.dataclass(frozen=True)
class Scene:
    """What the ways to the errors share."""

    data: Path
    model: Segmenter
    here: Path
    patch: pytest.MonkeyPatch

    def meet_output(self) -> None:
        (self.here / "mask.png").write_text("mine")
        dinoseg.predict(self.model, GREY).save(self.here / "mask.png")  # type: ignore[union-attr]

    def meet_full_disk(self) -> None:
        self.patch.setattr(files, "record", fill_disk)
        dinoseg.predict(self.model, GREY).save(self.here / "mask.png")  # type: ignore[union-attr]

    def meet_wrong_setting(self) -> None:
        dinoseg.train(self.data, self.here, backbone="untrained-vitt16", changes={"train.lrr": 1})

    def meet_empty_folder(self) -> None:
        (self.here / "images").mkdir()
        dinoseg.predict(self.model, self.here / "images")

    def meet_volumes(self) -> None:
        volume = np.zeros((2, 4, 5), dtype=np.uint8)
        dinoseg.evaluate(self.model, images=[volume], masks=[volume], spacing=(1, 1, 1))

    def meet_folder_without_weights(self) -> None:
        (self.here / "backbone").mkdir()
        (self.here / "backbone" / "config.json").write_text("{}")
        dinoseg.create_backbone(self.here / "backbone")

    def meet_short_mask(self) -> None:
        dinoseg.evaluate(self.model, images=[GREY], masks=[GREY[1:]])


GREY = np.zeros((4, 5), dtype=np.uint8)
#: Each error of the page: a way to it, and how its message begins, `@` being the folder of the test.
WAYS: dict[str, tuple[Callable[[Scene], object], str]] = {
    "OutputError": (Scene.meet_output, "@/mask.png exists already"),
    "DiskFullError": (Scene.meet_full_disk, "@/mask.png could not be written: the disk is full"),
    "RunError": (lambda scene: dinoseg.load(scene.here / "nowhere"), "@/nowhere"),
    "UsageError": (lambda scene: dinoseg.predict(scene.model, GREY.astype(int)), "an array of int64 is no"),
    "ConfigError": (Scene.meet_wrong_setting, "setting 'train.lrr' is unknown: did you mean 'train.lr'?"),
    "DataError": (Scene.meet_volumes, "arrays holds volumes, and the model was trained on images"),
    "FileFormatError": (lambda scene: dinoseg.predict(scene.model, "nowhere.png"), "nowhere.png does not"),
    "LayoutError": (Scene.meet_empty_folder, "@/images holds no images; accepted are .png"),
    "LabelError": (Scene.meet_short_mask, "masks[0] has 3×5 pixels (height × width), its image 4×5"),
    "SplitError": (
        lambda scene: dinoseg.evaluate(scene.model, scene.data, split="all"),
        "the model was trained on",
    ),
    "WeightsError": (Scene.meet_folder_without_weights, "@/backbone"),
    "LicenseError": (
        lambda scene: dinoseg.create_backbone("dinov3_vits16"),
        "dinov3_vits16 needs the DINOv3 License to be accepted once",
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_each_error_can_be_had(
    name: str, folder: Path, model: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, beginning = WAYS[name]
    with pytest.raises(errors.DinosegError) as caught:
        way(Scene(folder, model, tmp_path, monkeypatch))
    message = str(caught.value)
    assert issubclass(type(caught.value), getattr(errors, name))
    assert message.startswith(beginning.replace("@", str(tmp_path))), message
    assert "\n" not in message


def test_no_error_of_the_page_is_left_out() -> None:
    rows = read_table("python.md", "from `dinoseg.errors`", "when", "exit code")
    assert {row[0].partition(" ")[0] for row in rows} == set(WAYS)
