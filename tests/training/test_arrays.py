"""Arrays and Pillow images as data: checked, split and known again as files are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import dinoseg
from dinoseg.data.images import read_image
from dinoseg.data.sources.arrays import Arrays, open_arrays
from dinoseg.errors import DinosegError, LabelError, RunError, SplitError, UsageError
from dinoseg.model.segmenter import Segmenter
from dinoseg.outputs import list_files
from tests.training.folders import train_small

Pixels = NDArray[Any]


def draw(count: int, seed: int = 0) -> tuple[list[Pixels], list[Pixels]]:
    numbers = np.random.default_rng(seed)
    images, masks = [], []
    for _ in range(count):
        mask = np.zeros((40, 56), dtype=np.uint8)
        top, left = numbers.integers(2, 20, 2)
        mask[top : top + 15, left : left + 15] = 1
        images.append((numbers.integers(0, 90, mask.shape) + 120 * mask).astype(np.uint8))
        masks.append(mask)
    return images, masks


IMAGES, MASKS = draw(10)
GROUPS = [f"p{index // 2}" for index in range(10)]


def train_arrays(
    out: Path, cache: Path, images: Any = IMAGES, masks: Any = MASKS, **options: Any
) -> Segmenter:
    options = {"method": "linear", "groups": GROUPS, **options}
    return train_small(None, out, cache, images=images, masks=masks, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    out = tmp_path_factory.mktemp("arrays") / "run"
    train_arrays(out, cache)
    return out


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_what_is_read_is_what_predict_makes_of_the_array(kind: Any, shape: tuple[int, ...]) -> None:
    array = np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
    array = array.astype(kind) if kind is np.float32 else (array * np.iinfo(kind).max).astype(kind)
    mask = np.eye(4, 6, dtype=bool)
    with open_arrays(Arrays(images=[array], masks=[mask])) as dataset:
        (case,) = dataset.cases
        read = read_image(case.image).array
        assert dataset.classes == {0: "background", 1: "foreground"}
        assert case.label is not None
        assert dataset.labels.read(case.label).tolist() == mask.tolist()
    from dinoseg.data.sources.source import to_image

    expected = to_image(array).array
    assert np.allclose(read, np.broadcast_to(expected, read.shape), atol=1e-6)
    assert not case.image.exists()


def test_the_run_names_no_temporary_folder_and_keeps_no_pixels(run: Path) -> None:
    assert (run / "config.yaml").read_text().startswith("data: (arrays)\n")
    texts = [
        path.read_text(errors="ignore")
        for path in run.rglob("*.*")
        if path.suffix in (".yaml", ".json", ".md")
    ]
    assert not any(tempfile.gettempdir() + "/tmp" in text for text in texts)
    assert {path.suffix for path in list_files(run)}.isdisjoint({".tif", ".nii"})


def test_going_on_takes_the_same_arrays_only(run: Path, cache: Path) -> None:
    train_arrays(run, cache, resume=True)
    changed = [IMAGES[0] ^ 1, *IMAGES[1:]]
    with pytest.raises(RunError, match="has other cases than the data now"):
        train_arrays(run, cache, images=changed, resume=True)
    with pytest.raises(RunError, match=r"images or masks of .* have changed"):
        train_arrays(run, cache, masks=[1 - mask for mask in MASKS], resume=True)


def test_evaluate_knows_what_was_trained_on_and_scores_what_is_new(run: Path, tmp_path: Path) -> None:
    model = dinoseg.load(run)
    with pytest.raises(SplitError, match="the model was trained on"):
        dinoseg.evaluate(model, images=IMAGES, masks=MASKS)
    assert dinoseg.evaluate(run, images=IMAGES, masks=MASKS, split="test").headline.cases == 2
    new = draw(3, seed=1)
    found = dinoseg.evaluate(run, images=new[0], masks=new[1], out=tmp_path / "report")
    assert found.headline.cases == 3
    pages = "".join(path.read_text(errors="ignore") for path in (tmp_path / "report").iterdir())
    assert "arrays" in pages
    assert tempfile.gettempdir() + "/tmp" not in pages


def test_pillow_images_and_names_of_classes(cache: Path, tmp_path: Path) -> None:
    images = [Image.fromarray(image) for image in IMAGES]
    masks = [Image.fromarray(mask * 255) for mask in MASKS]
    classes = {0: "background", 1: "polyp"}
    model = train_arrays(tmp_path / "run", cache, images=images, masks=masks, classes=classes)
    assert model.classes == classes
    assert dinoseg.predict(model, images[0]).mask.shape == (40, 56)
    assert dinoseg.evaluate(model, images=images, masks=masks, split="test").headline.cases == 2


def test_volumes_have_a_spacing() -> None:
    volume = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    arrays = Arrays(images=[volume], masks=[volume > 60], ids=["one"], spacing=(3, 1, 0.5))
    with open_arrays(arrays) as dataset:
        from dinoseg.data.cases.volumes import read_volume_case

        case = read_volume_case(dataset.cases[0], dataset.labels)
    assert (case.id, case.image.spacing, case.orientation.is_canonical) == ("one", (3.0, 1.0, 0.5), True)
    assert np.array_equal(case.image.array[0], volume)
    assert case.label is not None
    assert np.array_equal(case.label.array, volume > 60)


SEVERAL = [mask * (5 + 3 * (index % 3)) for index, mask in enumerate(MASKS)]
FLOATS = [mask.astype(float) for mask in MASKS]
WRONG: list[tuple[dict[str, Any], type[DinosegError], str]] = [
    ({"images": [], "masks": []}, UsageError, "images is empty"),
    ({"masks": MASKS[:3]}, UsageError, "10 images and 3 masks were given"),
    ({"groups": ["a"]}, UsageError, "10 images and 1 groups were given"),
    ({"ids": ["a"] * 10}, UsageError, "the id 'a' stands twice"),
    ({"ids": ["a/b"] * 10}, UsageError, "the id 'a/b' is no name"),
    ({"masks": FLOATS}, LabelError, r"^masks\[0\] holds floats \(float64\): are these probabilities"),
    ({"masks": [mask[1:] for mask in MASKS]}, LabelError, r"^masks\[0\] has 39×56 pixels .* its image 40×56"),
    ({"masks": [mask.astype(int) - 1 for mask in MASKS]}, LabelError, r"^masks\[0\] holds -1"),
    (
        {"masks": SEVERAL, "classes": {0: "a", 1: "b"}},
        LabelError,
        "classes",
    ),
    ({"images": [np.zeros((5, 6, 7), np.uint8)] * 10}, UsageError, r"^images\[0\] .* a volume needs spacing"),
    ({"images": [image * 2.0 for image in IMAGES]}, UsageError, r"^images\[0\]: the array's floats go from"),
    ({"images": [Image.new("CMYK", (56, 40))] * 10}, UsageError, r"^images\[0\] has the mode CMYK"),
    ({"images": ["a.png"] * 10}, UsageError, r"^images\[0\] is a str; give NumPy arrays"),
    ({"spacing": (1, 1, 1)}, UsageError, r"^images\[0\] is no volume"),
    ({"spacing": (0, 1, 1)}, UsageError, "spacing is"),
]


@pytest.mark.parametrize(("given", "kind", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_one_line_that_says_where(
    given: dict[str, Any], kind: type[DinosegError], message: str, tmp_path: Path, cache: Path
) -> None:
    with pytest.raises(kind, match=message) as caught:
        train_arrays(tmp_path / "run", cache, **given)
    assert "\n" not in str(caught.value)
    assert tempfile.gettempdir() not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_folder_or_arrays_and_a_place(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match="data and images= were given"):
        dinoseg.train("data", tmp_path, images=IMAGES, masks=MASKS)
    with pytest.raises(UsageError, match="no data: name a folder, or give images= and masks="):
        dinoseg.train(out=tmp_path)
    with pytest.raises(UsageError, match="no data"):
        dinoseg.evaluate("run", images=IMAGES)
    with pytest.raises(UsageError, match="out is missing"):
        dinoseg.train(images=IMAGES, masks=MASKS)
