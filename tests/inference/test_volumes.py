from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.config import (
    ClassPostprocessing,
    PercentileIntensity,
    PostprocessingSettings,
    PreprocessingSettings,
)
from dinoseg.data.volumes import Volume, find_orientation, read_label, upright_geometry
from dinoseg.errors import DataError, LayoutError, OutputError, UsageError
from dinoseg.inference import VolumePrediction, predict, predict_files, segment_volume
from dinoseg.inference.pictures.slices import choose_slices
from dinoseg.model.segmenter import Segmenter
from dinoseg.outputs.manifest import MANIFEST
from tests.inference.conftest import Draw
from tests.inference.models import THREE, Slope, make_glass, make_vit
from tests.inference.test_files import Notes
from tests.inference.volumes import UNITS, make_volume, orientations, save_nifti

PLANES = ("axial", "coronal", "sagittal")


@pytest.fixture
def glass3d() -> Segmenter:
    """Class 1 above 500 in slices of 32 px."""
    return make_glass(intensity=UNITS)


def _tree(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return sorted(path.relative_to(folder).as_posix() for path in files)


# --- masks -------------------------------------------------------------------------------------------


def test_each_slice_is_as_if_it_were_an_image(glass3d: Segmenter) -> None:
    volume = make_volume()
    found = segment_volume(glass3d, volume, batch_size=2)
    assert found.mask.shape == (5, 20, 24)
    assert found.mask.dtype == np.uint8
    images = make_glass()
    for index in range(5):
        wanted = predict(images, (volume.array[0, index] / 1000).astype(np.float32)).mask
        np.testing.assert_array_equal(found.mask[index], wanted)
    assert found.mask.any()
    assert glass3d.backbone.batches == [2, 2, 1]


@pytest.mark.parametrize("plane", PLANES)
def test_every_orientation_gives_the_same_mask_in_the_world(plane: str) -> None:
    settings = PreprocessingSettings(size=32, intensity=PercentileIntensity(), context=3, plane=plane)
    model = make_vit("linear", size=32, preprocessing=settings)
    base = make_volume((3, 9, 7))
    wanted = segment_volume(model, base).mask
    assert len(np.unique(wanted)) > 1
    for volume in orientations(base):
        found = segment_volume(model, volume)
        assert np.abs(found.affine - volume.affine).max() < 1e-6
        turned = find_orientation(volume.geometry).apply(found.label())
        np.testing.assert_array_equal(turned.array, wanted)
        assert np.abs(turned.affine - base.affine).max() < 1e-6
        assert found.volumes_ml == pytest.approx(
            {index: (wanted == index).sum() * 3 * 0.8 * 1.1 / 1000 for index in THREE}
        )


def test_context_shows_the_neighbours() -> None:
    array = np.zeros((1, 4, 8, 8), np.int16)
    array[0, 2] = 1000
    volume = Volume(array, upright_geometry((4, 8, 8)), Path("x.nii"), "x")
    alone = segment_volume(make_glass(intensity=UNITS), volume).mask
    model = make_glass({0: "none", 1: "some", 2: "much", 3: "all"}, intensity=UNITS, context=3)
    among = segment_volume(model, volume).mask
    # The mean of the three channels is 1/3 where one of the three slices is bright, 2/3 where two are.
    assert [plane.max() for plane in alone] == [0, 0, 1, 0]
    assert [plane.max() for plane in among] == [0, 1, 1, 1]
    array[0, 3] = 1000
    assert [plane.max() for plane in segment_volume(model, volume).mask] == [0, 1, 2, 3]


def test_windows_and_flips_are_those_of_the_slices(glass3d: Segmenter) -> None:
    volume = make_volume((2, 40, 50))
    found = segment_volume(glass3d, volume, window=16)
    wanted = volume.array[0] > 500
    assert (found.mask == wanted).mean() > 0.99
    volume.array[:] = np.random.default_rng(3).integers(0, 1000, volume.array.shape)
    leaning = make_glass(decoder=Slope, intensity=UNITS)
    flipped = segment_volume(leaning, volume, flips=True).mask
    assert (flipped != segment_volume(leaning, volume).mask).any()


def test_fusion_is_the_mean_of_the_planes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinoseg.inference.masks.fusion._BLOCK_BYTES", 2 * 14 * 11 * 9)
    settings = PreprocessingSettings(size=32, intensity=PercentileIntensity())
    model = make_vit("linear", size=32, preprocessing=settings)
    volume = make_volume((7, 14, 11))
    total = np.zeros((3, 7, 14, 11))
    for axis, plane in enumerate(PLANES):
        turned = np.moveaxis(volume.array[0], axis, 0)
        flat = Volume(turned[None].copy(), upright_geometry(turned.shape), Path("x"), "x")
        total += np.moveaxis(_probabilities(model, flat), 1, axis + 1)
        single = segment_volume(model, volume, planes=(plane,)).mask
        np.testing.assert_array_equal(single, np.moveaxis(_probabilities(model, flat), 1, axis + 1).argmax(0))
    top = np.sort(total, axis=0)
    clear = top[-1] - top[-2] > 3 / 255 * 2
    found = segment_volume(model, volume, planes=PLANES, scratch=tmp_path)
    assert found.planes == PLANES
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(found.mask[clear], total.argmax(0)[clear])
    assert _tree(tmp_path) == []


def _probabilities(model: Segmenter, volume: Volume) -> np.ndarray:
    """(classes, D, H, W), slice by slice along the first axis."""
    from dinoseg.data.case import Case
    from dinoseg.data.cases.volumes import VolumeSlices
    from dinoseg.inference import predict_cases

    slices = VolumeSlices(volume, model.settings.preprocessing)
    cases = (
        Case(str(index), slices.image(index), None, group="", source=Path()) for index in range(len(slices))
    )
    return np.stack([found.probabilities for found in predict_cases(model, cases, probabilities=True)], 1)


def test_fusion_of_two_classes(glass3d: Segmenter) -> None:
    volume = make_volume((32, 32, 32))
    found = segment_volume(glass3d, volume, planes=("sagittal", "axial"))
    np.testing.assert_array_equal(found.mask, volume.array[0] > 500)


def test_too_small_a_disk_is_told_before_any_work(
    glass3d: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: replace_usage(1000))
    with pytest.raises(OutputError, match=r"2 planes needs 0\.0 GB on the disk"):
        segment_volume(glass3d, make_volume(), planes=("axial", "coronal"), scratch=tmp_path)
    assert glass3d.backbone.batches == []


def replace_usage(free: int):
    from collections import namedtuple

    return namedtuple("Usage", "total used free")(free, 0, free)


def test_wrong_choices(glass: Segmenter, glass3d: Segmenter, tmp_path: Path) -> None:
    volume = make_volume()
    with pytest.raises(UsageError, match="probabilities are for images"):
        predict(glass3d, volume, probabilities=True)
    with pytest.raises(UsageError, match="planes are one to three different ones"):
        predict(glass3d, volume, planes=("axial", "axial"))
    with pytest.raises(UsageError, match="plane 'oblique' is unknown"):
        predict(glass3d, volume, planes=("oblique",))
    with pytest.raises(UsageError, match="planes is for volumes"):
        predict(glass, np.zeros((3, 4), np.uint8), planes=("axial",))
    with pytest.raises(DataError, match="made is a volume, and the model was trained on images"):
        predict(glass, volume)
    with pytest.raises(DataError, match="image-0 is an image, and the model was trained on volumes"):
        predict(glass3d, np.zeros((3, 4), np.uint8))
    path = save_nifti(tmp_path / "a.nii.gz", volume)
    with pytest.raises(UsageError, match="cannot be written as dicom-seg"):
        predict_files(glass3d, [path], tmp_path / "out", volume_format="dicom-seg")
    with pytest.raises(UsageError, match="probabilities are for images"):
        predict_files(glass3d, [path], tmp_path / "out", probabilities=True)
    assert not (tmp_path / "out").exists()


def test_memory_is_that_of_input_and_mask_however_many_the_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinoseg.inference.masks.fusion._BLOCK_BYTES", 1 << 18)
    model = make_glass(intensity=UNITS)

    def beyond(depth: int, **options) -> int:
        volume = make_volume((depth, 40, 40))
        tracemalloc.start()
        found = segment_volume(model, volume, batch_size=4, **options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - found.mask.nbytes

    beyond(4)  # imports
    few, many = beyond(50), beyond(1000)
    assert many < few + 250_000  # a tenth of a byte for each of the 1.5 million voxels more
    # Coronal slices are as much larger as there are axial ones; their number is not.
    few, many = beyond(50, planes=("axial", "coronal")), beyond(1000, planes=("axial", "coronal"))
    assert many < few + 40 * 950 * 4 * 20


# --- prediction --------------------------------------------------------------------------------------


def test_a_file_and_its_prediction(glass3d: Segmenter, tmp_path: Path) -> None:
    volume = next(iter(list(orientations(make_volume()))[13:14]))
    path = save_nifti(tmp_path / "ct.nii.gz", volume)
    found = predict(glass3d, path)
    assert isinstance(found, VolumePrediction)
    assert (found.id, found.source) == ("ct", path)
    assert found.spacing == pytest.approx(volume.spacing)
    assert found.voxels == {0: int((found.mask == 0).sum()), 1: int((found.mask == 1).sum())}
    assert found.volumes_ml[1] == pytest.approx(found.voxels[1] * 3.0 * 0.8 * 1.1 / 1000)
    for name in ("mask.nii.gz", "mask.nii", "mask.nrrd", "mask.mha"):
        found.save(tmp_path / name)
        again = read_label(tmp_path / name)
        np.testing.assert_array_equal(again.array, found.mask)
        assert np.abs(again.affine - volume.affine).max() < 1e-6
    opened, given = nibabel.load(tmp_path / "mask.nii.gz"), nibabel.load(path)
    assert np.abs(opened.affine - given.affine).max() < 1e-6
    assert opened.shape == given.shape
    with pytest.raises(OutputError, match="exists already"):
        found.save(tmp_path / "mask.nii.gz")
    with pytest.raises(UsageError, match="cannot hold a label volume"):
        found.save(tmp_path / "mask.png")


def test_unknown_spacing_has_no_millilitres(glass3d: Segmenter) -> None:
    volume = make_volume()
    geometry = upright_geometry(volume.geometry.shape, spacing_known=False)
    found = predict(glass3d, replace(volume, geometry=geometry))
    assert found.spacing is None
    assert found.volumes_ml is None
    assert found.describe()["classes"]["1"] == {"name": "lesion", "voxels": found.voxels[1], "ml": None}


def test_lists_and_folders_mix_images_and_volumes(glass3d: Segmenter, tmp_path: Path) -> None:
    first, second = make_volume(seed=1), make_volume(seed=2)
    paths = [save_nifti(tmp_path / "in" / name, v) for name, v in (("a.nii", first), ("b/c.nii.gz", second))]
    alone = [predict(glass3d, volume).mask for volume in (first, second)]
    for source in (tmp_path / "in", paths, [first, second]):
        found = predict(glass3d, source)
        assert len(found) == 2
        for item, mask in zip(found, alone, strict=True):
            np.testing.assert_array_equal(item.mask, mask)


def test_telling_slices() -> None:
    mask = np.zeros((20, 6, 6), np.uint8)
    mask[4:16, 1:3, 1:3] = 1
    mask[9, 1:5, 1:5] = 1
    mask[12, 5, 5] = 2
    chosen = choose_slices(mask, count=4)
    assert len(chosen) == 4
    assert chosen == sorted(chosen)
    assert {9, 12} <= set(chosen)
    assert all(mask[index].any() for index in chosen)
    assert choose_slices(np.zeros((3, 2, 2), np.uint8)) == [0, 1, 2]


def test_overlay_has_true_proportions(glass3d: Segmenter) -> None:
    found = predict(glass3d, make_volume((1, 20, 24)))
    picture = found.overlay(make_volume((1, 20, 24)))
    assert picture.shape[:2] == (round(384 * 20 * 0.8 / (24 * 1.1)), 384)
    with pytest.raises(UsageError, match="voxels and the volume"):
        found.overlay(make_volume((2, 20, 24)))


# --- postprocessing ----------------------------------------------------------------------------------


def test_postprocessing_is_applied_on_the_whole_volume(glass3d: Segmenter) -> None:
    volume = make_volume((6, 32, 32))
    volume.array[0, 5, 30, 30] = 999
    plain = predict(glass3d, volume)
    assert plain.mask[5, 30, 30] == 1
    glass3d.postprocessing = PostprocessingSettings(
        dimensions=3, unit="mm", classes={1: ClassPostprocessing(minimum_size=3 * 0.8 * 1.1 * 1.5)}
    )
    cleaned = predict(glass3d, volume)
    assert cleaned.mask[5, 30, 30] == 0
    assert (cleaned.mask != plain.mask).sum() == 1
    np.testing.assert_array_equal(predict(glass3d, volume, postprocess=False).mask, plain.mask)


def test_postprocessing_of_images(glass: Segmenter) -> None:
    image = np.zeros((32, 32), np.uint8)
    image[3:9, 3:9] = 255
    image[20, 20] = 255
    glass.postprocessing = PostprocessingSettings(
        dimensions=2, unit="px", classes={1: ClassPostprocessing(largest_component=True)}
    )
    assert predict(glass, image).mask.sum() == 36
    assert predict(glass, image, postprocess=False).mask.sum() == 37


# --- files -------------------------------------------------------------------------------------------


def test_files_of_volumes(glass3d: Segmenter, tmp_path: Path) -> None:
    volume = make_volume()
    names = ["a.nii.gz", "b.nii", "sub/c.nii.gz"]
    for name in names:
        save_nifti(tmp_path / "in" / name, volume)
    _write_hdf5(tmp_path / "in" / "d.h5", volume)
    out = tmp_path / "out"
    report = predict_files(glass3d, [tmp_path / "in"], out)
    masks = ["masks/a.nii.gz", "masks/b.nii", "masks/d.nii.gz", "masks/sub/c.nii.gz"]
    stems = ["a", "b", "d", "sub/c"]
    expected = [
        *masks,
        *(f"masks/{stem}.json" for stem in stems),
        *(f"overlays/{stem}.jpg" for stem in stems),
    ]
    assert _tree(out) == sorted([*expected, "predictions.json", "predictions.jsonl"])
    wanted = predict(glass3d, volume)
    for file in report.files:
        label = read_label(file.mask)
        np.testing.assert_array_equal(label.array, wanted.mask)
        assert file.size == (5, 20, 24)
        assert file.pixels == wanted.voxels
        described = json.loads(file.description.read_text())
        assert described["shape"] == [5, 20, 24]
        assert described["classes"]["1"]["voxels"] == wanted.voxels[1]
        with PillowImage.open(file.overlay) as picture:
            assert picture.size[0] == 3 * 384 + 12
    row = json.loads((out / "predictions.json").read_text())["files"][0]
    assert row["mask"] == "masks/a.nii.gz"
    assert row["description"] == "masks/a.json"
    assert row["volumes_ml"] == pytest.approx(
        {"0": wanted.volumes_ml[0], "1": wanted.volumes_ml[1]}, abs=1e-5
    )
    assert report.files[2].volumes_ml is None  # HDF5 without spacing


def _write_hdf5(path: Path, volume: Volume) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["image"] = volume.array[0]


def test_a_chosen_format(glass3d: Segmenter, tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", make_volume())
    predict_files(glass3d, [path], tmp_path / "out", volume_format="nrrd", overlays=False)
    masks = ["masks/a.json", "masks/a.nrrd"]
    assert _tree(tmp_path / "out") == [*masks, "predictions.json", "predictions.jsonl"]
    assert np.abs(read_label(tmp_path / "out/masks/a.nrrd").affine - make_volume().affine).max() < 1e-6


def test_broken_volumes_are_reported_and_the_others_done(
    glass3d: Segmenter, draw: Draw, tmp_path: Path
) -> None:
    folder, out, progress = tmp_path / "in", tmp_path / "out", Notes()
    for name in ("1", "2", "3", "4"):
        save_nifti(folder / f"{name}.nii.gz", make_volume(seed=int(name)))
    whole = (folder / "2.nii.gz").read_bytes()
    (folder / "2.nii.gz").write_bytes(whole[: len(whole) // 2])
    constant = make_volume()
    constant.array[:] = 5000
    save_nifti(folder / "3.nii.gz", constant)
    draw("photo.png")
    report = predict_files(glass3d, [folder], out, progress=progress)
    assert report.exit_code == 3
    assert [file.mask.name for file in report.files] == ["1.nii.gz", "4.nii.gz"]
    assert _tree(out / "masks") == ["1.json", "1.nii.gz", "4.json", "4.nii.gz"]
    reasons = [failure.reason for failure in report.failures]
    for reason, words in zip(
        reasons, ["photo.png is an image, and", "2.nii.gz", "outside 0 to 1000"], strict=True
    ):
        assert words in reason
        assert "\n" not in reason
    assert progress.notes == reasons


def test_images_and_volumes_with_a_model_for_images(glass: Segmenter, draw: Draw, tmp_path: Path) -> None:
    draw("photo.png")
    save_nifti(tmp_path / "in/ct.nii.gz", make_volume())
    report = predict_files(glass, [tmp_path / "in"], tmp_path / "out")
    assert report.exit_code == 3
    assert [file.mask.name for file in report.files] == ["photo.png"]
    assert "ct is a volume, and the model was trained on images" in report.failures[0].reason


def test_nothing_is_half_written_when_the_disk_is_full(
    glass3d: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: VolumePrediction, path: Path, **options) -> None:
        raise OutputError("full")

    path = save_nifti(tmp_path / "a.nii.gz", make_volume())
    with monkeypatch.context() as patch:
        patch.setattr(VolumePrediction, "save", fail)
        with pytest.raises(OutputError, match="full"):
            predict_files(glass3d, [path], tmp_path / "out")
    assert not (tmp_path / "out/masks/a.nii.gz").exists()
    report = predict_files(glass3d, [path], tmp_path / "out", resume=True)
    assert [file.skipped for file in report.files] == [False]


def test_resume_leaves_finished_volumes_alone(glass3d: Segmenter, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("1", "2"):
        save_nifti(folder / f"{name}.nii.gz", make_volume(seed=int(name)))
    first = predict_files(glass3d, [folder], out)
    (out / "masks/2.nii.gz").unlink()
    before = (out / "masks/1.nii.gz").stat().st_mtime_ns
    again = predict_files(glass3d, [folder], out, resume=True)
    assert [file.skipped for file in again.files] == [True, False]
    assert (out / "masks/1.nii.gz").stat().st_mtime_ns == before
    for one, two in zip(first.files, again.files, strict=True):
        assert one.pixels == two.pixels
        assert one.volumes_ml == pytest.approx(two.volumes_ml, abs=1e-5)
    with pytest.raises(OutputError, match="was made with another planes"):
        predict_files(glass3d, [folder], out, resume=True, planes=("coronal",))
    glass3d.postprocessing = PostprocessingSettings(
        dimensions=3, unit="mm", classes={1: ClassPostprocessing(largest_component=True)}
    )
    with pytest.raises(OutputError, match="was made with another postprocessing"):
        predict_files(glass3d, [folder], out, resume=True)


def test_an_image_and_a_volume_of_one_name_are_refused(
    glass3d: Segmenter, draw: Draw, tmp_path: Path
) -> None:
    draw("a.png")
    save_nifti(tmp_path / "in/a.nii.gz", make_volume())
    with pytest.raises(LayoutError, match=r"would both become .*overlays/a.jpg"):
        predict_files(glass3d, [tmp_path / "in"], tmp_path / "out")


# --- channels ----------------------------------------------------------------------------------------


def _two(volume: Volume) -> Volume:
    return replace(volume, array=np.concatenate([volume.array, 999 - volume.array]))


def test_channels_in_one_file_or_in_several(tmp_path: Path) -> None:
    model = make_glass(intensity=UNITS, channels=2)
    both = _two(make_volume())
    wanted = predict(model, both).mask
    folder = tmp_path / "in"
    for number in (0, 1):
        channel = replace(both, array=both.array[number : number + 1])
        save_nifti(folder / f"a_000{number}.nii.gz", channel)
    stacked = nibabel.Nifti1Image(both.array.transpose(3, 2, 1, 0), both.affine[:, [2, 1, 0, 3]])
    nibabel.save(stacked, folder / "b.nii.gz")
    found = predict(model, folder)
    assert [item.id for item in found] == ["a_0000", "b"]
    for item in found:
        np.testing.assert_array_equal(item.mask, wanted)
    report = predict_files(model, [folder], tmp_path / "out", overlays=False)
    assert [file.mask.name for file in report.files] == ["a_0000.nii.gz", "b.nii.gz"]
    np.testing.assert_array_equal(read_label(report.files[0].mask).array, wanted)


def test_another_number_of_channels_is_refused(glass3d: Segmenter, tmp_path: Path) -> None:
    two = make_glass(intensity=UNITS, channels=2)
    with pytest.raises(DataError, match=r"made.nii.gz has 1 channels, and the model was trained on 2"):
        predict(two, make_volume())
    with pytest.raises(DataError, match="has 2 channels, and the model was trained on 1"):
        predict(glass3d, _two(make_volume()))
    second = save_nifti(tmp_path / "b_0001.nii.gz", make_volume())
    with pytest.raises(DataError, match="has 1 channels, and the model was trained on 2"):
        predict(two, second)
    assert len(predict_files(two, [second], tmp_path / "out").failures) == 1
    alone = save_nifti(tmp_path / "a_0000.nii.gz", make_volume())
    with pytest.raises(DataError, match=r"a_0001\.nii\.gz does not exist; the model was trained on 2"):
        predict(two, alone)
