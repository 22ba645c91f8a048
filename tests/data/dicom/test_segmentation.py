"""DICOM SEG: written and read back by us and by highdicom; foreign ones on the right slices or refused."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from dinoseg.data.dicom import (
    DicomVolume,
    SeriesReference,
    read_reference,
    read_segmentation,
    read_series,
    segmentation_writer,
    write_segmentation,
)
from dinoseg.data.volumes import Geometry, LabelVolume, to_canonical
from dinoseg.errors import DinosegError, FileFormatError, LabelError, OutputError, UsageError
from tests.data.dicom.drawn import (
    OBLIQUE,
    SAGITTAL,
    SHAPE,
    draw_multiframe,
    draw_series,
    save,
    uid,
    voxels,
)

CLASSES = {0: "background", 1: "Liver", 2: "left kidney", 5: "thing 5", 7: "spleen"}


@pytest.fixture
def volume(tmp_path: Path) -> DicomVolume:
    draw_series(tmp_path / "ct", directions=OBLIQUE)
    return read_series(tmp_path / "ct")


def draw_label(reference: SeriesReference, *, seed: int = 0) -> LabelVolume:
    """Classes 1, 5 and 7 at random; the first slice and the class 2 are empty."""
    rng = np.random.default_rng(seed)
    ids = rng.choice(np.array([0, 0, 1, 5, 7], dtype=np.uint8), size=reference.geometry.shape)
    ids[0] = 0
    ids[1][ids[1] == 5] = 0
    return LabelVolume(ids, reference.geometry, reference.source, "drawn")


def write(path: Path, label: LabelVolume, reference: SeriesReference, **options: object) -> object:
    given = {
        "classes": CLASSES,
        "algorithm_name": "segdino-v2 on a tiny backbone",
        "algorithm_version": "2026-03",
    }
    return write_segmentation(path, label, reference=reference, **(given | options))


def test_round_trip(tmp_path: Path, volume: DicomVolume) -> None:
    label = draw_label(volume.reference)
    written = write(tmp_path / "seg.dcm", label, volume.reference)
    assert written.path == tmp_path / "seg.dcm"
    assert written.segments == {1: 1, 2: 5, 3: 7}
    assert written.empty == ("left kidney",)
    back = read_segmentation(written.path, volume.reference, names=["Liver", "spleen", "thing 5"])
    assert back.classes == {1: "Liver", 2: "spleen", 3: "thing 5"}
    np.testing.assert_array_equal(np.array([0, 1, 7, 5])[back.array], label.array)
    np.testing.assert_array_equal(back.affine, volume.affine)
    assert [path.name for path in tmp_path.iterdir()].count("seg.dcm") == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("multiframe", [False, True])
def test_nothing_found(tmp_path: Path, multiframe: bool, caplog: pytest.LogCaptureFixture) -> None:
    if multiframe:
        draw_multiframe(tmp_path / "ct" / "mr.dcm", order=[3, 0, 4, 1, 2])
    else:
        draw_series(tmp_path / "ct", directions=OBLIQUE)
    reference = read_reference(tmp_path / "ct")
    label = LabelVolume(np.zeros(SHAPE, np.uint8), reference.geometry, tmp_path, "normal")
    # An id that the type of the label cannot hold has no voxel and still a segment.
    written = write(tmp_path / "seg.dcm", label, reference, classes=CLASSES | {300: "rib"})
    assert written.segments == {1: 1, 2: 2, 3: 5, 4: 7, 5: 300}
    assert written.empty == ("Liver", "left kidney", "thing 5", "spleen", "rib")
    back = read_segmentation(tmp_path / "seg.dcm", tmp_path / "ct")
    assert back.classes == dict(enumerate(written.empty, start=1))
    assert back.array.shape == SHAPE
    assert not back.array.any()
    segmentation = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert segmentation.NumberOfFrames == 5 * SHAPE[0]
    assert not segmentation.pixel_array.any()
    assert not caplog.messages


def test_highdicom_finds_each_frame_on_its_slice(tmp_path: Path, volume: DicomVolume) -> None:
    label = draw_label(volume.reference)
    write(tmp_path / "seg.dcm", label, volume.reference)
    segmentation = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert segmentation.segmentation_type == highdicom.seg.SegmentationTypeValues.BINARY
    frames = segmentation.get_pixels_by_source_instance(
        [each.sop_uid for each in volume.reference.slices], ignore_spatial_locations=True
    )  # (D, H, W, segments)
    for segment, number in enumerate((1, 5, 7)):
        np.testing.assert_array_equal(frames[..., segment], label.array == number)


def test_what_the_file_says(tmp_path: Path, volume: DicomVolume) -> None:
    label = draw_label(volume.reference)
    write(tmp_path / "seg.dcm", label, volume.reference)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    assert dataset.StudyInstanceUID == uid("study")
    assert dataset.FrameOfReferenceUID == uid("space")
    assert dataset.PatientID == "p1"
    (series,) = dataset.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == uid("a")
    named = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert named == {uid("a", "slice", number) for number in range(5)}
    names = [item.SegmentLabel for item in dataset.SegmentSequence]
    assert names == ["Liver", "thing 5", "spleen"]
    liver, thing, _ = dataset.SegmentSequence
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert thing.SegmentedPropertyTypeCodeSequence[0].CodeValue == "91723000"
    assert liver.SegmentAlgorithmType == "AUTOMATIC"
    (algorithm,) = liver.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "segdino-v2 on a tiny backbone"
    assert algorithm.AlgorithmVersion == "2026-03"
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    # One frame for each segment and slice where it has voxels, and none else.
    filled = sum((label.array[depth] == number).any() for depth in range(5) for number in (1, 5, 7))
    assert dataset.NumberOfFrames == filled < 15
    place = {}
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place[source] = frame.PlanePositionSequence[0].ImagePositionPatient
    for path in (tmp_path / "ct").iterdir():
        slice_ = pydicom.dcmread(path)
        if slice_.SOPInstanceUID in place:
            np.testing.assert_allclose(place[slice_.SOPInstanceUID], slice_.ImagePositionPatient, atol=1e-6)
    assert len(place) == 4


def test_side_of_an_organ(tmp_path: Path, volume: DicomVolume) -> None:
    label = LabelVolume(np.full(SHAPE, 2, np.uint8), volume.geometry, tmp_path, "all")
    write(tmp_path / "seg.dcm", label, volume.reference)
    (segment,) = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    (kind,) = segment.SegmentedPropertyTypeCodeSequence
    assert kind.CodeValue == "64033007"
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"


def test_canonical_masks_are_turned_back_before_writing(tmp_path: Path) -> None:
    draw_series(tmp_path / "ct", directions=SAGITTAL)
    volume = read_series(tmp_path / "ct")
    turned = to_canonical(volume)
    mask = (turned.volume.array[0] > 700).astype(np.uint8)
    label = LabelVolume(mask, turned.volume.geometry, volume.source, "mask")
    write(tmp_path / "seg.dcm", turned.orientation.undo(label), turned.volume.reference)
    back = read_segmentation(tmp_path / "seg.dcm", tmp_path / "ct")
    np.testing.assert_array_equal(back.array, voxels() > 700)
    with pytest.raises(LabelError, match="does not lie on the grid"):
        write(tmp_path / "other.dcm", label, turned.volume.reference)


def test_multiframe_source(tmp_path: Path) -> None:
    draw_multiframe(tmp_path / "mr" / "mr.dcm", order=[3, 0, 4, 1, 2])
    reference = read_reference(tmp_path / "mr")
    label = draw_label(reference)
    write(tmp_path / "seg.dcm", label, reference)
    back = read_segmentation(tmp_path / "seg.dcm", tmp_path / "mr")
    np.testing.assert_array_equal(np.array([0, 1, 5, 7])[back.array], label.array)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    frames = {
        item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        for item in dataset.PerFrameFunctionalGroupsSequence
    }
    assert frames == {1, 3, 4, 5}  # the first slice, which is frame 2 of the file, is empty


class TestWriterRefuses:
    def test_what_does_not_fit(self, tmp_path: Path, volume: DicomVolume) -> None:
        label = draw_label(volume.reference)
        path = tmp_path / "seg.dcm"
        with pytest.raises(UsageError, match=r"accepted is the extension \.dcm"):
            write(tmp_path / "seg.nii", label, volume.reference)
        with pytest.raises(LabelError, match=r"holds the ids \[7\], which have no name"):
            write(path, label, volume.reference, classes={1: "a", 5: "b"})
        for name in ("", "x" * 65, "a\\b"):
            with pytest.raises(UsageError, match="does not fit a DICOM segment"):
                write(path, label, volume.reference, classes=CLASSES | {1: name})
        empty = LabelVolume(np.zeros(SHAPE, np.uint8), volume.geometry, tmp_path, "nothing")
        with pytest.raises(LabelError, match="nothing would be a DICOM SEG of 0 classes beside"):
            write(path, empty, volume.reference, classes={0: "background"})
        with pytest.raises(LabelError, match=r"of 256 classes .*accepted are 1 to 255"):
            write(path, empty, volume.reference, classes=dict.fromkeys(range(1, 257), "x"))
        assert not path.exists()

    def test_another_grid(self, tmp_path: Path, volume: DicomVolume) -> None:
        affine = volume.affine.copy()
        affine[0, 3] += 0.5
        label = LabelVolume(np.ones(SHAPE, np.uint8), Geometry(SHAPE, affine), tmp_path, "shifted")
        with pytest.raises(LabelError, match="shifted does not lie on the grid"):
            write(tmp_path / "seg.dcm", label, volume.reference)

    def test_existing_file(self, tmp_path: Path, volume: DicomVolume) -> None:
        (tmp_path / "seg.dcm").write_text("mine")
        with pytest.raises(OutputError, match="exists already"):
            write(tmp_path / "seg.dcm", draw_label(volume.reference), volume.reference)
        write(tmp_path / "seg.dcm", draw_label(volume.reference), volume.reference, overwrite=True)
        assert pydicom.dcmread(tmp_path / "seg.dcm").Modality == "SEG"

    @pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"])
    def test_series_without_identifiers(self, tmp_path: Path, keyword: str) -> None:
        draw_series(tmp_path / "ct", **{keyword: ""})
        reference = read_reference(tmp_path / "ct")
        with pytest.raises(LabelError, match=rf"has no {keyword}, so that a DICOM SEG could not point to it"):
            write(tmp_path / "seg.dcm", draw_label(reference), reference)

    def test_series_with_empty_elements_is_no_obstacle(self, tmp_path: Path) -> None:
        draw_series(
            tmp_path / "ct", SpecificCharacterSet="", StudyDate=None, PatientSex=None, SOPInstanceUID=""
        )
        reference = read_reference(tmp_path / "ct")
        label = draw_label(reference)
        write(tmp_path / "seg.dcm", label, reference)
        back = read_segmentation(tmp_path / "seg.dcm", reference)
        np.testing.assert_array_equal(back.array > 0, label.array > 0)

    def test_several_multiframe_files(self, tmp_path: Path) -> None:
        draw_multiframe(tmp_path / "mr" / "1.dcm", order=[0, 1])
        draw_multiframe(tmp_path / "mr" / "2.dcm", order=[2, 3, 4], SOPInstanceUID=uid("second"))
        reference = read_reference(tmp_path / "mr")
        with pytest.raises(LabelError, match="several multi-frame files"):
            write(tmp_path / "seg.dcm", draw_label(reference), reference)

    def test_file_that_does_not_read_back(
        self, tmp_path: Path, volume: DicomVolume, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        label = draw_label(volume.reference)
        frames = segmentation_writer._stack_frames
        monkeypatch.setattr(segmentation_writer, "_stack_frames", lambda *given: frames(*given)[::-1].copy())
        with pytest.raises(LabelError, match="read back, its voxels are not those of drawn"):
            write(tmp_path / "seg.dcm", label, volume.reference)
        assert not (tmp_path / "seg.dcm").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["ct"]

    def test_without_highdicom(
        self, tmp_path: Path, volume: DicomVolume, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load = importlib.import_module

        def absent(name: str, *rest: object) -> object:
            if name.startswith("highdicom"):
                raise ModuleNotFoundError(f"No module named {name!r}")
            return load(name, *rest)

        monkeypatch.setattr(importlib, "import_module", absent)
        with pytest.raises(DinosegError, match=r'needs highdicom.*run pip install "dinoseg\[dicom\]"'):
            write(tmp_path / "seg.dcm", draw_label(volume.reference), volume.reference)
        assert not (tmp_path / "seg.dcm").exists()


class TestForeignFiles:
    """A written file with one thing changed."""

    @pytest.fixture
    def change(self, tmp_path: Path, volume: DicomVolume) -> Callable[..., Path]:
        write(tmp_path / "seg.dcm", draw_label(volume.reference), volume.reference)

        def apply(edit: Callable[[pydicom.Dataset], None]) -> Path:
            dataset = pydicom.dcmread(tmp_path / "seg.dcm")
            edit(dataset)
            save(tmp_path / "changed.dcm", dataset)
            return tmp_path / "changed.dcm"

        return apply

    def test_other_series(self, tmp_path: Path, change: Callable[..., Path], volume: DicomVolume) -> None:
        def edit(dataset: pydicom.Dataset) -> None:
            dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"

        with pytest.raises(LabelError, match=r"belongs to the series 1\.2\.3; .* holds"):
            read_segmentation(change(edit), volume.reference)
        with pytest.raises(UsageError, match=r"has no series 1\.2\.3"):
            read_segmentation(tmp_path / "changed.dcm", tmp_path / "ct")

    def test_no_series_but_the_same_space(self, change: Callable[..., Path], volume: DicomVolume) -> None:
        def edit(dataset: pydicom.Dataset) -> None:
            del dataset.ReferencedSeriesSequence

        label = draw_label(volume.reference)
        back = read_segmentation(change(edit), volume.reference)
        np.testing.assert_array_equal(back.array > 0, label.array > 0)

        def move(dataset: pydicom.Dataset) -> None:
            edit(dataset)
            dataset.FrameOfReferenceUID = "1.2.3"

        with pytest.raises(LabelError, match="names no series, and its frame of reference is not that"):
            read_segmentation(change(move), volume.reference)

    def test_frame_beside_its_slice(self, change: Callable[..., Path], volume: DicomVolume) -> None:
        def edit(dataset: pydicom.Dataset) -> None:
            position = dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0]
            position.ImagePositionPatient[1] = float(position.ImagePositionPatient[1]) + 0.1

        with pytest.raises(LabelError, match=r"frame 3 at .* lies on none of the 5 slices"):
            read_segmentation(change(edit), volume.reference)

    def test_frame_beyond_the_series(self, tmp_path: Path, change: Callable[..., Path]) -> None:
        sorted(tmp_path.glob("ct/*.dcm"))[-1].unlink()
        with pytest.raises(LabelError, match=r"lies on none of the 4 slices .* is a slice missing"):
            read_segmentation(tmp_path / "seg.dcm", tmp_path / "ct")

    def test_frame_that_names_another_slice(self, change: Callable[..., Path], volume: DicomVolume) -> None:
        def edit(dataset: pydicom.Dataset) -> None:
            frame = dataset.PerFrameFunctionalGroupsSequence[0]
            frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.9"

        with pytest.raises(LabelError, match=r"frame 1 lies on slice \d .* drawn on 1\.2\.9"):
            read_segmentation(change(edit), volume.reference)

    def test_overlap(self, change: Callable[..., Path], volume: DicomVolume) -> None:
        def edit(dataset: pydicom.Dataset) -> None:
            dataset.PixelData = b"\xff" * len(dataset.PixelData)

        with pytest.raises(LabelError, match=r"segments Liver and thing 5 overlap|Liver and spleen overlap"):
            read_segmentation(change(edit), volume.reference)
        back = read_segmentation(change(edit), volume.reference, names=["Liver"])
        assert back.classes == {1: "Liver"}
        assert set(np.unique(back.array[1:])) == {1}

    def test_fractional(self, change: Callable[..., Path], volume: DicomVolume) -> None:
        expected = draw_label(volume.reference).array == 1

        def edit(dataset: pydicom.Dataset) -> None:
            frames = dataset.pixel_array
            dataset.SegmentationType, dataset.MaximumFractionalValue = "FRACTIONAL", 200
            dataset.BitsAllocated = dataset.BitsStored = 8
            dataset.HighBit = 7
            dataset.PixelData = (frames * 90 + 10).astype(np.uint8).tobytes()

        path = change(edit)
        with pytest.raises(LabelError, match=r"is fractional.*give a threshold, for example 0\.5"):
            read_segmentation(path, volume.reference)
        with pytest.raises(UsageError, match="threshold 0 is not accepted"):
            read_segmentation(path, volume.reference, threshold=0)
        half = read_segmentation(path, volume.reference, names=["Liver"], threshold=0.5)
        np.testing.assert_array_equal(half.array == 1, expected)
        assert not read_segmentation(path, volume.reference, threshold=0.51).array.any()

    def test_names(self, tmp_path: Path, change: Callable[..., Path], volume: DicomVolume) -> None:
        path = tmp_path / "seg.dcm"
        with pytest.raises(UsageError, match="has no segment 'heart' to choose once; it holds Liver, "):
            read_segmentation(path, volume.reference, names=["heart"])
        with pytest.raises(UsageError, match="segment 'Liver' to choose once"):
            read_segmentation(path, volume.reference, names=["Liver", "Liver"])

    def test_other_files(self, tmp_path: Path, volume: DicomVolume) -> None:
        with pytest.raises(FileFormatError, match="has the modality CT; accepted is SEG"):
            read_segmentation(next((tmp_path / "ct").iterdir()), volume.reference)
        (tmp_path / "x.dcm").write_bytes(b"x" * 500)
        with pytest.raises(FileFormatError, match="is not a DICOM file"):
            read_segmentation(tmp_path / "x.dcm", volume.reference)

    def test_cut_off(self, tmp_path: Path, change: Callable[..., Path], volume: DicomVolume) -> None:
        whole = (tmp_path / "seg.dcm").read_bytes()
        for length in range(200, len(whole) - 1, len(whole) // 40):
            (tmp_path / "cut.dcm").write_bytes(whole[:length])
            with pytest.raises((FileFormatError, LabelError)):
                read_segmentation(tmp_path / "cut.dcm", volume.reference)


def test_label_map_segmentation(tmp_path: Path, volume: DicomVolume) -> None:
    label = draw_label(volume.reference)
    described = [
        highdicom.seg.SegmentDescription(
            number,
            name,
            pydicom.sr.codedict.codes.SCT.Organ,
            pydicom.sr.codedict.codes.SCT.Liver,
            highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, name in ((1, "one"), (5, "five"), (7, "seven"))
    ]
    sources = [volume.reference.datasets[each.dataset] for each in volume.reference.slices]
    segmentation = highdicom.seg.Segmentation(
        sources, label.array, "LABELMAP", described, "1.2.3", 1, "1.2.4", 1, "m", "n", "1", "0"
    )
    segmentation.save_as(tmp_path / "map.dcm")
    back = read_segmentation(tmp_path / "map.dcm", volume.reference)
    assert back.classes == {1: "one", 5: "five", 7: "seven"}
    np.testing.assert_array_equal(back.array, label.array)
