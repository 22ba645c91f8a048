"""What a folder or zip holds; zips that were made to harm; choosing a series."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from dinoseg.data.dicom import entries, find_series, read_reference, read_series, survey_series
from dinoseg.errors import FileFormatError, UsageError
from tests.data.dicom.drawn import (
    SHAPE,
    SPACING,
    draw_multiframe,
    draw_series,
    draw_structures,
    uid,
    voxels,
)


def pack(path: Path, files: dict[str, Path | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else content.read_bytes())
    return path


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two series of images in sub-folders, an RTSTRUCT, and files that are no DICOM."""
    draw_series(tmp_path / "x" / "ct", series="a")
    draw_multiframe(tmp_path / "x" / "mr" / "IM0")
    draw_structures(tmp_path / "rt.dcm", {"liver": []})
    (tmp_path / "README.txt").write_text("no DICOM, but more than 132 bytes" * 9)
    (tmp_path / "x" / "empty").write_bytes(b"")
    return tmp_path


def test_listing(mixed: Path) -> None:
    survey = survey_series(mixed)
    assert (survey.ignored, survey.damaged) == (2, ())
    found = {each.uid: each for each in survey.series}
    assert list(found) == sorted([uid("a"), uid("multi"), uid("rt")])
    ct = found[uid("a")]
    assert (ct.description, ct.modality, ct.count, len(ct.files)) == ("series a", "CT", 5, 5)
    assert (ct.shape, ct.problem) == (SHAPE, "")
    assert ct.spacing == pytest.approx(SPACING)
    assert found[uid("multi")].count == 5
    assert len(found[uid("multi")].files) == 1
    structures = found[uid("rt")]
    assert (structures.is_image, structures.count, structures.shape) == (False, 0, None)
    assert survey.series == find_series(mixed)


def test_patients_are_told_apart_without_their_names(tmp_path: Path) -> None:
    draw_series(tmp_path / "1", series="a", patient="p1")
    draw_series(tmp_path / "2", series="b", patient="p2")
    draw_series(tmp_path / "3", series="c", patient="p1")
    draw_series(tmp_path / "4", series="d", PatientID="", PatientName="")
    of = {each.uid: each.patient for each in find_series(tmp_path)}
    assert of[uid("a")] == of[uid("c")] != of[uid("b")]
    assert of[uid("d")] == ""
    assert len(of[uid("a")]) == 8


def test_several_series_are_listed_and_one_is_chosen(mixed: Path) -> None:
    with pytest.raises(UsageError, match="holds 2 series; choose one with --series UID: ") as caught:
        read_series(mixed)
    assert f"{uid('a')} (series a, CT, 5 slices)" in str(caught.value)
    assert f"{uid('multi')} (series multi, MR, 5 slices)" in str(caught.value)
    np.testing.assert_array_equal(read_series(mixed, series=uid("a")).array[0], voxels())
    assert read_reference(mixed, series=uid("multi")).uid == uid("multi")
    for wrong in ("1.2.3", uid("rt")):
        with pytest.raises(UsageError, match=r"has no series .* of images; it holds"):
            read_series(mixed, series=wrong)


def test_places_without_images(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"no DICOM file \(0 other files\)"):
        read_series(tmp_path)
    draw_structures(tmp_path / "rt.dcm", {"liver": []})
    with pytest.raises(FileFormatError, match="no series of images, but only RTSTRUCT"):
        read_series(tmp_path)
    with pytest.raises(FileFormatError, match=r"is not there|No such file|does not exist"):
        find_series(tmp_path / "absent")


def test_damaged_file_is_told_and_stops_reading(tmp_path: Path) -> None:
    paths = draw_series(tmp_path)
    paths[4].write_bytes(paths[4].read_bytes()[:300])
    survey = survey_series(tmp_path)
    assert [each.path for each in survey.damaged] == [paths[4]]
    assert survey.series[0].count == 4
    # Without the last slice it would look like a complete volume.
    with pytest.raises(FileFormatError, match=rf"1 damaged DICOM files.*{paths[4].name}"):
        read_series(tmp_path)


def test_series_without_uids_are_told_apart_by_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_series(tmp_path / name, series=name, SeriesInstanceUID="", SOPInstanceUID="")
    assert [each.uid for each in find_series(tmp_path)] == ["no-uid:one", "no-uid:two"]
    volume = read_series(tmp_path, series="no-uid:two")
    # The copy in the file's meta header is still there.
    assert volume.reference.slices[0].sop_uid == uid("two", "slice", 0)


def test_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    draw_series(tmp_path / "ct")
    (tmp_path / "ct" / "loop").symlink_to(tmp_path / "ct", target_is_directory=True)
    (tmp_path / "ct" / "nowhere").symlink_to(tmp_path / "absent")
    assert find_series(tmp_path / "ct")[0].count == 5


class TestZip:
    def test_is_read_in_place(self, tmp_path: Path) -> None:
        paths = draw_series(tmp_path / "ct")
        members = {f"study/{path.name}": path for path in paths} | {"study/notes.txt": b"x" * 200}
        archive = pack(tmp_path / "study.zip", members)
        before = set(tmp_path.rglob("*"))
        volume = read_series(archive)
        np.testing.assert_array_equal(volume.array[0], voxels())
        assert (volume.id, volume.source) == ("study", archive)
        survey = survey_series(archive)
        assert survey.ignored == 1
        assert archive / "study" / paths[0].name in survey.series[0].files
        assert set(tmp_path.rglob("*")) == before

    def test_extension_does_not_matter(self, tmp_path: Path) -> None:
        paths = draw_series(tmp_path / "ct")
        archive = pack(tmp_path / "study.bin", {path.name: path for path in paths})
        assert read_series(archive).geometry.shape == SHAPE

    @pytest.mark.parametrize(
        "name", ["../evil.dcm", "a/../../evil.dcm", "/etc/evil.dcm", "..\\evil.dcm", "C:\\evil.dcm", "C:evil"]
    )
    def test_member_that_points_out(self, tmp_path: Path, name: str) -> None:
        paths = draw_series(tmp_path / "ct")
        archive = pack(tmp_path / "evil.zip", {paths[0].name: paths[0], name: b"x"})
        for read in (find_series, read_series):
            with pytest.raises(FileFormatError, match=r"evil\.zip has a member that points out of it"):
                read(archive)
        assert not list(tmp_path.parent.glob("evil*"))

    def test_link(self, tmp_path: Path) -> None:
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = 0o120777 << 16
        with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
            archive.writestr(link, "/etc/passwd")
        with pytest.raises(FileFormatError, match=r"has a link as a member \('link\.dcm'\)"):
            find_series(tmp_path / "link.zip")

    def test_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        archive = pack(tmp_path / "bomb.zip", {"a": b"\0" * 600_000, "b": b"\0" * 600_000})
        with (
            pytest.raises(FileFormatError, match="unpacks to 1,200,000 bytes; accepted are 1,000,000"),
            entries.open_place(archive, max_bytes=1_000_000),
        ):
            pass
        monkeypatch.setattr(entries, "MAX_MEMBERS", 1)
        with pytest.raises(FileFormatError, match="holds 2 members; accepted are 1"):
            find_series(archive)

    @pytest.mark.parametrize("read", [find_series, survey_series, read_series, read_reference])
    def test_bomb_on_every_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read) -> None:
        paths = draw_series(tmp_path / "ct")
        archive = pack(tmp_path / "bomb.zip", {**{p.name: p for p in paths}, "b": b"\0" * 2_000_000})
        monkeypatch.setattr(entries, "MAX_ARCHIVE_BYTES", 1_000_000)
        with pytest.raises(FileFormatError, match=r"unpacks to .* bytes; accepted are 1,000,000"):
            read(archive)

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("IM", "./IM"),
            ("IM", "im"),
            ("a/IM", "a\\IM"),
            ("a/IM", "a//IM"),
            ("é", "e\u0301"),
            ("a/b", "a/./b"),
        ],
    )
    def test_two_members_that_are_one_file(self, tmp_path: Path, first: str, second: str) -> None:
        """Read by the joined path, both slices had the pixels of one."""
        paths = draw_series(tmp_path / "ct", array=voxels()[:2])
        archive = pack(tmp_path / "two.zip", {first: paths[0], second: paths[1]})
        for read in (find_series, read_series):
            with pytest.raises(FileFormatError, match=r"two\.zip holds .* which are one file; pack it again"):
                read(archive)

    def test_member_longer_than_it_says(self, tmp_path: Path) -> None:
        paths = draw_series(tmp_path / "ct", array=voxels()[:1])
        archive = pack(tmp_path / "lie.zip", {"a.dcm": paths[0]})
        content = bytearray(archive.read_bytes())
        place = content.rindex(b"PK\x01\x02")  # the member's entry in the directory
        content[place + 24 : place + 28] = (400).to_bytes(4, "little")  # bytes, unpacked
        archive.write_bytes(content)
        with pytest.raises(FileFormatError, match=r"lie\.zip"):
            read_series(archive)

    def test_same_name_twice(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
            archive.writestr("a.dcm", b"1")
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr("a.dcm", b"2")
        with pytest.raises(FileFormatError, match=r"holds a\.dcm twice"):
            find_series(tmp_path / "twice.zip")

    def test_encrypted(self, tmp_path: Path) -> None:
        archive = pack(tmp_path / "secret.zip", {"a.dcm": b"x" * 200})
        content = bytearray(archive.read_bytes())
        content[content.index(b"PK\x03\x04") + 6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1
        archive.write_bytes(content)
        with pytest.raises(FileFormatError, match="is encrypted; unpack it first"):
            find_series(archive)

    def test_cut_off(self, tmp_path: Path) -> None:
        paths = draw_series(tmp_path / "ct")
        archive = pack(tmp_path / "cut.zip", {path.name: path for path in paths})
        archive.write_bytes(archive.read_bytes()[:-60])
        with pytest.raises(FileFormatError, match=r"cut\.zip cannot be read"):
            find_series(archive)

    def test_damaged_member(self, tmp_path: Path) -> None:
        paths = draw_series(tmp_path / "ct")
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
            for path in paths:
                archive.write(path, path.name)
        content = bytearray((tmp_path / "bad.zip").read_bytes())
        place = content.index(paths[0].read_bytes()[-60:])
        content[place : place + 4] = b"\xff\xff\xff\xff"
        (tmp_path / "bad.zip").write_bytes(content)
        with pytest.raises(FileFormatError, match="Bad CRC-32"):
            read_series(tmp_path / "bad.zip")
