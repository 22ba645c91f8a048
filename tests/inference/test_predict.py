from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch.nn import functional as F

import dinoseg
from dinoseg.data.case import Case, Image
from dinoseg.data.sources.source import open_case
from dinoseg.errors import DinosegError, FileFormatError, LayoutError, RunError, UsageError
from dinoseg.inference import Prediction, predict, predict_cases
from dinoseg.methods import METHODS
from dinoseg.model.segmenter import Segmenter
from tests.inference.conftest import Draw
from tests.inference.models import THREE, Slope, make_glass, make_vit

SIZES = [(1, 1), (3, 500), (37, 53), (64, 64), (200, 17)]


def _noise(size: tuple[int, int], seed: int = 0, channels: int = 3) -> np.ndarray:
    shape = (*size, 3) if channels == 3 else size
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _case(size: tuple[int, int], seed: int = 0) -> Case:
    array = _noise(size, seed).transpose(2, 0, 1).astype(np.float32) / 255
    return Case(id=f"c{seed}", image=Image(array), label=None, group="g", source=Path(f"c{seed}.png"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize("classes", [{0: "background", 1: "a"}, THREE], ids=["binary", "three"])
def test_mask_has_the_size_of_the_input(
    size: tuple[int, int], window: int | None, classes: dict[int, str]
) -> None:
    found = predict(make_glass(classes), _noise(size), window=window, probabilities=True)
    assert found.mask.shape == size
    assert found.mask.dtype == np.uint8
    assert found.probabilities.shape == (len(classes), *size)
    assert found.probabilities.dtype == np.float32
    assert found.probabilities.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert (found.mask == found.probabilities.argmax(axis=0)).mean() > 0.999
    assert found.classes == classes


def test_every_class_lands_where_it_belongs() -> None:
    pixels = np.repeat(np.array([20, 128, 240], dtype=np.uint8), 20)[None].repeat(40, axis=0)
    found = predict(make_glass(THREE, size=64), pixels)
    assert found.mask[:, 2:18].max() == 0
    assert set(np.unique(found.mask[:, 23:37])) == {1}
    assert set(np.unique(found.mask[:, 43:])) == {2}
    assert sum(found.pixels.values()) == 40 * 60
    assert found.pixels[2] == pytest.approx(800, abs=80)


def test_one_answer_for_all_forms_of_a_picture(glass: Segmenter, tmp_path: Path) -> None:
    pixels = _noise((24, 31), channels=1)
    eight, sixteen = tmp_path / "a.png", tmp_path / "b.png"
    PillowImage.fromarray(pixels).save(eight)
    PillowImage.fromarray(pixels.astype(np.uint16) * 257).save(sixteen)
    floats = pixels / 255
    expected = predict(glass, pixels).mask
    rgb = np.stack([pixels] * 3, axis=2)
    image = Image(floats[None].astype(np.float32))
    assert 0 < expected.mean() < 1
    for form in (eight, str(sixteen), floats, floats.astype(np.float32), rgb, image):
        assert (predict(glass, form).mask == expected).all()


def test_names_and_sources(glass: Segmenter, draw: Draw) -> None:
    path = draw("frame.v2.png")
    case = _case((5, 5))
    found = predict(glass, [path, _noise((4, 4)), case])
    assert [item.id for item in found] == ["frame.v2", "image-1", "c0"]
    assert [item.source for item in found] == [path, None, Path("c0.png")]
    assert predict(glass, case).source == Path("c0.png")


def test_case_keeps_its_geometry(glass: Segmenter) -> None:
    case = _case((6, 7))
    case = Case(case.id, case.image, None, "g", case.source, spacing=(0.5, 0.25), affine=np.eye(4))
    found = predict(glass, case)
    assert found.spacing == (0.5, 0.25)
    assert (found.affine == np.eye(4)).all()


def test_folder_gives_a_list_in_natural_order(glass: Segmenter, draw: Draw) -> None:
    for name in ("f10.png", "f2.jpg", "sub/f1.png", ".hidden.png"):
        draw(name)
    folder = draw("f2.jpg").parent
    assert [item.id for item in predict(glass, folder)] == ["f2", "f10", "f1"]
    assert [item.id for item in predict(glass, [folder, folder / "f2.jpg"])] == ["f2", "f10", "f1", "f2"]


def test_list_of_one_is_a_list(glass: Segmenter) -> None:
    found = predict(glass, [_noise((4, 4))])
    assert isinstance(found, list)
    assert isinstance(found[0], Prediction)
    assert predict(glass, []) == []


def test_batch_size_and_threads_do_not_change_the_answer() -> None:
    model = make_vit("segdino-v1")
    pictures = [_noise((30 + k, 40), seed=k) for k in range(5)]
    first = predict(model, pictures, probabilities=True, batch_size=1)
    again = predict(model, pictures, probabilities=True, batch_size=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = predict(model, pictures, probabilities=True, batch_size=4)
    finally:
        torch.set_num_threads(threads)
    for one, same, other in zip(first, again, together, strict=True):
        assert (one.probabilities == same.probabilities).all()
        assert (one.mask == same.mask).all()
        assert np.abs(one.probabilities - other.probabilities).max() < 1e-5
        assert (one.mask == other.mask).mean() > 0.999


def test_batches_are_as_large_as_asked(glass: Segmenter) -> None:
    predict(glass, [_noise((9, 9))] * 7, batch_size=3)
    assert glass.backbone.batches == [3, 3, 1]


def test_flips_leave_a_symmetric_model_alone(glass: Segmenter) -> None:
    pixels = _noise((37, 53))
    plain = predict(glass, pixels, probabilities=True)
    flipped = predict(glass, pixels, probabilities=True, flips=True)
    assert glass.backbone.batches == [1] * 5
    assert np.abs(plain.probabilities - flipped.probabilities).max() < 1e-5
    assert (plain.mask == flipped.mask).mean() > 0.999


@pytest.mark.parametrize("window", [None, 32])
def test_flips_even_out_a_model_that_leans(window: int | None) -> None:
    model = make_glass(decoder=Slope)
    pixels = np.full((32, 32), 128, dtype=np.uint8)
    plain = predict(model, pixels, probabilities=True, window=window).probabilities[1]
    flipped = predict(model, pixels, probabilities=True, window=window, flips=True).probabilities[1]
    assert plain[:, 0].min() > 0.9 > 0.1 > plain[:, -1].max()
    assert np.abs(flipped - flipped[:, ::-1]).max() < 1e-6
    # the mean of the four probabilities, not of the logits
    assert np.abs(flipped - (plain + plain[:, ::-1]) / 2).max() < 1e-6


def test_probabilities_do_not_change_the_mask(glass: Segmenter) -> None:
    pixels = _noise((50, 50))
    assert (predict(glass, pixels, probabilities=True).mask == predict(glass, pixels).mask).all()
    assert predict(glass, pixels).probabilities is None


@pytest.mark.parametrize("method", METHODS)
def test_training_goes_on_after_prediction(method: str) -> None:
    torch.manual_seed(0)
    fresh, used = make_vit(method), make_vit(method)
    predict(used, _noise((40, 40)))
    assert not used.training
    gradients = []
    for model in (fresh, used):
        model.train()
        torch.manual_seed(1)  # Dino U-Net draws in training
        loss = F.mse_loss(model(torch.ones(2, 3, 64, 64)), torch.zeros(2, 3, 64, 64))
        loss.backward()
        gradients.append([parameter.grad for parameter in model.decoder.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert (one == other).all()


def test_cases_are_drawn_lazily_and_outside_inference_mode(glass: Segmenter) -> None:
    drawn = []

    def cases():
        for seed in range(5):
            drawn.append(seed)
            assert not torch.is_inference_mode_enabled()
            yield _case((8, 9), seed)

    found = predict_cases(glass, cases(), batch_size=2)
    assert drawn == []
    assert next(found).id == "c0"
    assert not torch.is_inference_mode_enabled()
    assert drawn == [0, 1]
    assert [item.id for item in found] == ["c1", "c2", "c3", "c4"]


def test_cases_and_predict_agree(glass: Segmenter) -> None:
    case = _case((21, 13), 3)
    for options in ({}, {"window": 8, "overlap": 0.5}, {"flips": True}):
        one = next(predict_cases(glass, [case], probabilities=True, **options))
        other = predict(glass, case, probabilities=True, **options)
        assert (one.probabilities == other.probabilities).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window is a side in pixels"),
        ({"overlap": 1.0}, "overlap is a share from 0 to below 1, given 1.0"),
        ({"overlap": -0.1}, "overlap is a share"),
        ({"batch_size": 0}, "batch_size is at least 1"),
        ({"device": "cpu"}, r"^device belongs to load\(\): predict\(load\(run, device="),
        ({"precision": "bfloat16"}, r"^precision belongs to load\(\)"),
        ({"accept_license": True}, r"^accept_license belongs to load\(\)"),
        ({"windows": 32}, "^windows is no option, did you mean window.; accepted are window, overlap, flips"),
        ({"planes": ("axial",)}, "planes is for volumes"),
        ({"series": "1.2.3"}, "series is for volumes"),
        ({"backbone": "x"}, r"^backbone belongs to load\(\)"),
    ],
)
def test_wrong_options(glass: Segmenter, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predict(glass, _noise((4, 4)), **options)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((2, 3, 4, 5), np.uint8), r"shape \(2, 3, 4, 5\) is no image; accepted are \(H, W\)"),
        (np.zeros((3, 20, 20), np.float32), r"shape \(3, 20, 20\)"),
        (np.zeros((0, 4), np.uint8), "is no image"),
        (np.zeros((4, 4), np.int64), "an array of int64"),
        (np.zeros((4, 4), bool), "an array of bool"),
        (np.full((4, 4), 255.0), "floats go from 255 to 255"),
        (np.full((4, 4), np.nan), "floats go from nan to nan"),
        (Image(np.full((1, 4, 4), np.inf, np.float32)), "image-0 holds NaN or infinity"),
        (Image(np.zeros((1, 3, 4, 4), np.float32)), "accepted are images"),
        (PillowImage.new("CMYK", (4, 4)), r'mode CMYK is not accepted; .* image.convert\("RGB"\)'),
        (3, "cannot predict a int; accepted are a path, a folder"),
        ([None], "cannot predict a NoneType"),
    ],
)
def test_wrong_sources(glass: Segmenter, source: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predict(glass, source)


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P", "I;16"])
def test_a_pillow_image_is_read_as_its_file_is(glass: Segmenter, tmp_path: Path, mode: str) -> None:
    """The same numbers reach the model whether the image is in memory or on disk."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    image = PillowImage.fromarray(pixels)
    if mode == "I;16":
        image = PillowImage.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    assert image.mode == mode
    image.save(tmp_path / "a.png")
    ours, theirs = open_case(image).image.array, open_case(tmp_path / "a.png").image.array
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    found = predict(glass, image)
    assert (found.mask.shape, found.source) == ((20, 30), None)


def test_a_turned_pillow_image_is_taken_as_it_is_shown(glass: Segmenter) -> None:
    image = PillowImage.new("RGB", (30, 20), "pink")
    image.getexif()[0x0112] = 6
    assert predict(glass, image).mask.shape == (30, 20)


def test_wrong_files(glass: Segmenter, tmp_path: Path, draw: Draw) -> None:
    with pytest.raises(FileFormatError, match="does not exist"):
        predict(glass, tmp_path / "none.png")
    with pytest.raises(LayoutError, match=r"holds no images; accepted are \.png"):
        predict(glass, tmp_path)
    good = draw("good.png")
    (good.parent / "broken.png").write_bytes(good.read_bytes()[:60])
    with pytest.raises(FileFormatError, match=r"broken\.png"):
        predict(glass, good.parent)
    with pytest.raises(RunError, match="holds no model"):
        predict(tmp_path, good)


def test_damaged_weights_are_an_error(glass: Segmenter) -> None:
    torch.nn.init.constant_(glass.decoder.scale, float("nan"))
    with pytest.raises(RunError, match="NaN"):
        predict(glass, _noise((4, 4)))


def test_memory_too_small_is_one_line(glass: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(pixels: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(glass.backbone, "forward", fail)
    with pytest.raises(DinosegError, match="too small for 1 images or windows at once; choose fewer"):
        predict(glass, _noise((4, 4)))


def test_run_folder_and_model_agree(tmp_path: Path) -> None:
    model = make_vit("segdino-v2", width=16)
    model.save(tmp_path / "run" / "model")
    pixels = _noise((30, 41))
    loaded = dinoseg.predict(str(tmp_path / "run"), pixels, probabilities=True)
    assert (loaded.probabilities == predict(model, pixels, probabilities=True).probabilities).all()


def test_progress_counts_images(glass: Segmenter) -> None:
    seen = []

    class Counting:
        def track(self, items, *, total, label):
            for item in items:
                seen.append((total, label, item.id))
                yield item

        def note(self, message: str) -> None:
            seen.append(message)

    predict(glass, [_noise((4, 4))] * 3, progress=Counting())
    assert seen == [(3, "predict", f"image-{index}") for index in range(3)]
