"""The page that segments, as it is used: files in, masks looked at and corrected, files out."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.browser.conftest import Open
from tests.browser.material import SCAN, disc_of, draw_scan
from tests.browser.screen import Screen
from tests.serving.servers import pack
from tests.teaching.scenes import SIDE, measure_dice

SIZE = (SIDE, SIDE)


def _give(screen: Screen, *paths: Path) -> None:
    screen.find("files").set_input_files(paths)


def _wait_done(screen: Screen, count: int = 1) -> None:
    screen.wait_for(
        "count => document.querySelectorAll('[data-testid=item][data-state=done]').length === count", count
    )


def _wait_shown(screen: Screen) -> None:
    """Until the volume is on the stage."""
    _wait_done(screen)
    screen.page.locator("#place").wait_for(state="hidden")


@pytest.fixture
def screen(open_screen: Open, server: str) -> Screen:
    screen = open_screen(server)
    screen.find("model").wait_for()
    return screen


@pytest.fixture
def scans(screen: Screen) -> Screen:
    screen.find("model").select_option("boxes")
    return screen


def test_the_start_says_what_to_do(screen: Screen) -> None:
    start = screen.find("drop").inner_text()
    for told in ("Drop images or scans here", "Choose files", "PNG", "NIfTI", "DICOM", "lesion"):
        assert told in start or told == "lesion"
    assert "Nothing leaves this computer" in start
    assert screen.find_violations() == []


def test_a_picture_is_segmented_and_corrected(screen: Screen, files: dict[str, Path]) -> None:
    _give(screen, files["picture"])
    _wait_done(screen)
    mask = screen.read_label(screen.download("download-mask.png"))
    assert mask.shape == SIZE
    assert measure_dice(mask, disc_of(0)) > 0.7
    before = screen.read_colours("viewer")
    screen.page.keyboard.press("b")
    screen.drag(SIZE, [(6.5, 6.5), (26.5, 6.5)])
    screen.page.get_by_text("corrected").first.wait_for()
    corrected = screen.read_label(screen.download("download-mask.png"))
    new = (corrected != mask).nonzero()
    assert len(new[0]) > 20
    assert (corrected[new] == 1).all()
    assert (corrected[6, 6:27] == 1).all()
    assert new[0].max() < 30
    screen.page.keyboard.press("Control+z")
    undone = screen.read_label(screen.download("download-mask.png"))
    np.testing.assert_array_equal(undone, mask)
    screen.page.keyboard.press("Control+Shift+z")
    np.testing.assert_array_equal(screen.read_label(screen.download("download-mask.png")), corrected)
    assert before > 1
    assert screen.find_violations() == []


def test_the_mask_fades_and_hides(screen: Screen, files: dict[str, Path]) -> None:
    _give(screen, files["picture"])
    _wait_done(screen)
    shown = screen.find("viewer").screenshot()
    screen.find("opacity").fill("0")
    faded = screen.find("viewer").screenshot()
    assert shown != faded
    screen.find("opacity").fill("100")
    solid = screen.find("viewer").screenshot()
    assert solid not in (shown, faded)
    screen.page.get_by_role("button", name="Show ").first.click()
    screen.page.mouse.move(2, 2)
    hidden = np.asarray(PillowImage.open(io.BytesIO(screen.find("viewer").screenshot())).convert("RGB"), int)
    without = np.asarray(PillowImage.open(io.BytesIO(faded)).convert("RGB"), int)
    assert np.abs(hidden - without).mean() < 1


def test_downloads_of_a_picture(screen: Screen, files: dict[str, Path]) -> None:
    _give(screen, files["picture"])
    _wait_done(screen)
    mask = screen.read_label(screen.download("download-mask.png"))
    overlay = PillowImage.open(io.BytesIO(screen.download("download-overlay.png"))).convert("RGB")
    picture = np.asarray(PillowImage.open(files["picture"]).convert("RGB"), int)
    changed = np.abs(np.asarray(overlay, int) - picture).sum(axis=-1) > 20
    assert (changed == (mask == 1)).mean() > 0.99
    measures = json.loads(screen.download("download-measures.json"))
    assert measures["classes"][0]["pixels"] == int((mask == 1).sum())


def test_a_folder_of_pictures(screen: Screen, files: dict[str, Path]) -> None:
    screen.find("folder").set_input_files(files["folder"])
    _wait_done(screen, 3)
    with zipfile.ZipFile(io.BytesIO(screen.download("save-all"))) as archive:
        assert archive.testzip() is None
        found = {name: screen.read_label(archive.read(name)) for name in sorted(archive.namelist())}
    assert [measure_dice(mask, disc_of(number)) > 0.7 for number, mask in enumerate(found.values())] == [
        True
    ] * 3
    screen.page.keyboard.press("j")
    current = screen.page.locator("[aria-current=true]").text_content()
    assert "disc-1" in current
    assert screen.find_violations() == []


def test_files_are_dropped(screen: Screen, files: dict[str, Path]) -> None:
    transfer = screen.page.evaluate_handle(
        """async content => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], "dropped.png", {type: "image/png"}));
            return transfer;
        }""",
        list(files["picture"].read_bytes()),
    )
    screen.page.dispatch_event("#stage", "drop", {"dataTransfer": transfer})
    _wait_done(screen)
    assert "dropped.png" in screen.find("queue").text_content()


def test_a_volume(scans: Screen, files: dict[str, Path]) -> None:
    _give(scans, files["volume"])
    _wait_shown(scans)
    assert scans.read_colours("volume") > 200
    scans.find("opacity").fill("100")
    solid = scans.find("volume").screenshot()
    scans.page.get_by_role("button", name="Show box").click()
    assert scans.find("volume").screenshot() != solid
    scans.page.get_by_role("button", name="Show box").click()
    mask = nibabel.Nifti1Image.from_bytes(gzip.decompress(scans.download("download-mask.nii.gz")))
    truth = draw_scan(9)[1].transpose(2, 1, 0)
    assert mask.shape == SCAN[::-1]
    assert measure_dice(np.asarray(mask.dataobj).astype(np.uint8), truth.astype(np.uint8)) > 0.6
    for view in ("Axial", "Coronal", "Sagittal", "3D"):
        before = scans.find("volume").screenshot()
        scans.page.get_by_role("button", name=view, exact=True).click()
        assert scans.find("volume").screenshot() != before
    assert scans.find_violations() == []


def test_a_volume_is_corrected(scans: Screen, files: dict[str, Path]) -> None:
    _give(scans, files["volume"])
    _wait_shown(scans)
    before = nibabel.Nifti1Image.from_bytes(gzip.decompress(scans.download("download-mask.nii.gz")))
    scans.page.get_by_role("button", name="Axial", exact=True).click()
    scans.page.get_by_role("button", name="Brush", exact=True).click()
    box = scans.find("volume").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    scans.page.mouse.move(middle[0] + 60, middle[1] + 60)
    scans.page.mouse.down()
    scans.page.mouse.move(middle[0] + 130, middle[1] + 60, steps=5)
    scans.page.mouse.up()
    scans.page.get_by_text("corrected").first.wait_for()
    after = nibabel.Nifti1Image.from_bytes(gzip.decompress(scans.download("download-mask.nii.gz")))
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-4)
    changed = np.asarray(after.dataobj) != np.asarray(before.dataobj)
    assert 3 < changed.sum() < 400
    assert (np.asarray(after.dataobj)[changed] == 1).all()
    assert len(set(changed.nonzero()[2])) == 1


def test_a_series_in_a_zip(scans: Screen, files: dict[str, Path], tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    _give(scans, files["series"])
    _wait_shown(scans)
    (tmp_path / "seg.dcm").write_bytes(scans.download("download-seg.dcm"))
    segmentation = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert [segmentation.get_segment_description(1).segment_label] == ["box"]
    volume = segmentation.get_volume(combine_segments=True)
    truth = draw_scan(9)[1].astype(np.uint8)
    assert measure_dice(_like(volume.array, truth), truth) > 0.6


def _like(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Slices that are empty on both ends are not stored; the order may be the other one."""
    return max(
        (
            np.pad(stack, ((shift, len(truth) - len(stack) - shift), (0, 0), (0, 0)))
            for stack in (found, found[::-1])
            for shift in range(len(truth) - len(found) + 1)
        ),
        key=lambda stack: measure_dice(stack, truth),
    )


@pytest.mark.parametrize("kind", ["broken", "notes"])
def test_what_cannot_be_read_says_why(screen: Screen, files: dict[str, Path], kind: str) -> None:
    screen.expect("422")
    _give(screen, files[kind])
    message = screen.page.get_by_role("alert" if kind == "broken" else "status").first
    message.wait_for()
    assert files[kind].name in message.inner_text()
    assert ("dinoseg reads images" in message.inner_text()) == (kind == "notes")
    assert screen.find("again").count() == (kind == "broken")
    assert screen.find_violations() == []


def test_a_zip_of_nothing(screen: Screen, tmp_path: Path) -> None:
    screen.expect("422")
    (tmp_path / "nothing.zip").write_bytes(pack({"readme.txt": b"no slice"}))
    _give(screen, tmp_path / "nothing.zip")
    message = screen.page.get_by_role("alert").first
    message.wait_for()
    assert len(message.inner_text()) > 20


def test_work_is_cancelled(screen: Screen, files: dict[str, Path]) -> None:
    _give(screen, files["large"])
    screen.page.get_by_role("button", name="Cancel large.png").click()
    screen.wait_for("() => document.querySelector('[data-testid=item]').dataset.state === 'stopped'")
    assert "cancelled" in screen.find("item").inner_text()
    screen.find("again").wait_for()
    _give(screen, files["picture"])
    _wait_done(screen)


PAN = """async () => {
    const host = document.querySelector("[data-testid=viewer]");
    const box = host.getBoundingClientRect();
    const send = (type, x) => host.dispatchEvent(new PointerEvent(type, {
        bubbles: true, pointerId: 1, button: 0, buttons: 1,
        clientX: box.left + 200 + x, clientY: box.top + 200}));
    host.setPointerCapture = () => {};
    send("pointerdown", 0);
    const times = [];
    for (let step = 1; step <= 40; step += 1) {
        const before = performance.now();
        send("pointermove", step * 5);
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - before);
    }
    send("pointerup", 200);
    return times.sort((one, other) => one - other)[20];
}"""


def test_a_large_picture_moves_like_a_small_one(screen: Screen, files: dict[str, Path]) -> None:
    """What is drawn is as large as the screen, however large the picture is."""
    times = []
    for number, kind in enumerate(("picture", "large")):
        _give(screen, files[kind])
        _wait_done(screen, number + 1)
        screen.page.keyboard.press("j")
        screen.page.locator("[aria-current=true]", has_text=files[kind].name).wait_for()
        times.append(screen.page.evaluate(PAN))
    assert times[1] < 4 * times[0] + 30
