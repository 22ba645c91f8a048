"""Scoring anybody's masks: pairing, meanings of values, grids, and equality with what `evaluate` computes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.data import open_dataset
from dinoseg.data.cases.volumes import read_volume_case
from dinoseg.data.volumes import LabelVolume, upright_geometry, write_label
from dinoseg.data.volumes.geometry import Geometry
from dinoseg.errors import DataError, DinosegError, LabelError, LayoutError, OutputError, UsageError
from dinoseg.evaluation.comparison.comparing import compare
from dinoseg.evaluation.metrics import score_case
from dinoseg.evaluation.scoring.observers import compare_observers, measure_agreement
from dinoseg.evaluation.scoring.scorer import score
from dinoseg.progress import Silent
from tests.data.dicom.case_folders import add_case

SIZE = (20, 26)


class Told(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def square(row: int, column: int, side: int = 6, value: int = 1) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[row : row + side, column : column + side] = value
    return mask


def write_images(folder: Path, masks: Mapping[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        PillowImage.fromarray(mask).save(folder / (name if "." in name else f"{name}.png"))
    return folder


def write_volumes(folder: Path, masks: Mapping[str, np.ndarray], geometry: Geometry | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, ids in masks.items():
        grid = geometry or upright_geometry(ids.shape, spacing=(3.0, 1.0, 0.5))
        write_label(folder / f"{name}.nii.gz", LabelVolume(ids, grid, Path(name), name))
    return folder


TARGETS = {f"case{place}": square(place, 2 * place) for place in range(1, 7)}
MASKS = {f"case{place}": square(place + 1, 2 * place) for place in range(1, 7)}


def test_scores_are_those_of_score_case(tmp_path: Path) -> None:
    found = score(write_images(tmp_path / "p", MASKS), write_images(tmp_path / "l", TARGETS))
    expected = [
        score_case(
            MASKS[name],
            TARGETS[name],
            classes={0: "background", 1: "foreground"},
            spacing=None,
            tolerance=2.0,
            case=name,
            group=name,
        )[0]
        for name in TARGETS
    ]
    assert list(found.scores) == expected
    assert (found.protocol, found.unit, found.tolerance, found.failures) == ("native", "px", 2.0, ())


def test_no_torch_is_loaded(tmp_path: Path) -> None:
    write_images(tmp_path / "p", MASKS)
    write_images(tmp_path / "l", TARGETS)
    code = (
        "import sys\nfrom dinoseg.cli import main\n"
        "assert main(['score', 'p', 'l', '--out', 'r']) == 0\n"
        "assert main(['compare', 'r', 'r2']) == 1\n"
        "assert main(['score', 'p', 'l', '--observers']) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 0, result.stderr


def test_report_can_be_compared(tmp_path: Path) -> None:
    labels = write_images(tmp_path / "l", TARGETS)
    near = score(write_images(tmp_path / "p", MASKS), labels, out=tmp_path / "near")
    score(
        write_images(tmp_path / "q", {k: np.roll(v, 2, 1) for k, v in MASKS.items()}),
        labels,
        out=tmp_path / "far",
    )
    assert near.report == tmp_path / "near" / "index.html"
    page = near.report.read_text(encoding="utf-8")
    assert "data:image/jpeg" in page
    found = compare([tmp_path / "near", tmp_path / "far"], out=tmp_path / "comparison")
    assert found.duels[0].won == 6
    assert "data:image/jpeg" in (tmp_path / "comparison" / "index.html").read_text(encoding="utf-8")
    with pytest.raises(OutputError, match="exists already"):
        score(tmp_path / "p", labels, out=tmp_path / "near")


def test_unpaired_files_are_listed(tmp_path: Path) -> None:
    told = Told()
    masks = {**MASKS, "other": square(1, 1)}
    del masks["case3"]
    found = score(
        write_images(tmp_path / "p", masks),
        write_images(tmp_path / "l", TARGETS),
        out=tmp_path / "r",
        progress=told,
    )
    assert [failure.case for failure in found.failures] == ["case3"]
    assert found.summaries[0].cases == 5
    assert any("1 masks have no label and are not scored: other.png" in note for note in told.notes)
    document = json.loads((tmp_path / "r" / "summary.json").read_text(encoding="utf-8"))
    assert document["facts"]["Masks without a label"] == "1 (other.png)"
    assert "has no mask of its name" in document["failures"][0]["message"]


def test_names_may_end_in_mask(tmp_path: Path) -> None:
    masks = {f"{name}_pred_seg": mask for name, mask in MASKS.items()}
    labels = {f"{name}_pred_mask": mask for name, mask in TARGETS.items()}
    found = score(write_images(tmp_path / "p", masks), write_images(tmp_path / "l", labels))
    assert len(found.scores) == 6


def test_folder_of_predict_and_data_set_with_images(tmp_path: Path) -> None:
    write_images(tmp_path / "out" / "masks", MASKS)
    write_images(tmp_path / "out" / "overlays", {"case1": np.zeros((*SIZE, 3), np.uint8)})
    data = tmp_path / "data"
    write_images(data / "masks", {name: mask * 255 for name, mask in TARGETS.items()})
    write_images(data / "images", {name: np.full((*SIZE, 3), 90, np.uint8) for name in TARGETS})
    (data / "groups.csv").write_text(
        "case,group\n" + "".join(f"{name},p{place // 2}\n" for place, name in enumerate(TARGETS)),
        encoding="utf-8",
    )
    found = score(tmp_path / "out", data)
    assert [item.group for item in found.scores] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert [item.group for item in score(tmp_path / "out", data / "masks").scores] == [
        item.group for item in found.scores
    ]


# --- what values mean -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 255])
def test_binary_values_may_differ(tmp_path: Path, value: int) -> None:
    masks = {name: mask * value for name, mask in MASKS.items()}
    labels = {name: mask * 255 for name, mask in TARGETS.items()}
    found = score(write_images(tmp_path / "p", masks), write_images(tmp_path / "l", labels))
    assert found.headline.metric("dice").interval.mean == pytest.approx(2 * 30 / 72)


def test_a_class_that_is_never_predicted_keeps_its_id(tmp_path: Path) -> None:
    labels = {name: mask + square(14, 20, 4, 2) for name, mask in TARGETS.items()}
    masks = {name: mask * 2 for name, mask in MASKS.items()}
    found = score(write_images(tmp_path / "p", masks), write_images(tmp_path / "l", labels))
    assert [row.missed for row in found.summaries[:2]] == [6, 0]
    assert found.summaries[1].metric("dice").interval.mean < 0.3


def test_classes_are_named_by_value(tmp_path: Path) -> None:
    labels = {name: mask * 3 + square(14, 20, 4, 2) for name, mask in TARGETS.items()}
    places = write_images(tmp_path / "p", labels), write_images(tmp_path / "l", labels)
    found = score(*places, classes={"tumour": 3, "liver": 2})
    assert [(row.class_id, row.class_name) for row in found.summaries[:2]] == [(2, "liver"), (3, "tumour")]
    union = score(*places, classes={"organ": (2, 3)})
    assert [(row.class_id, row.class_name) for row in union.summaries] == [(1, "organ")]
    assert union.scores[0].target_size == 36 + 16
    rest = score(*places, classes={"background": (0, 2), "tumour": 3})
    assert [row.class_name for row in rest.summaries] == ["tumour"]


def test_declared_values_and_masks_with_ids(tmp_path: Path) -> None:
    labels = write_images(tmp_path / "l", {name: mask * 200 for name, mask in TARGETS.items()})
    (labels / "dataset.yaml").write_text("classes: {0: background, 1: polyp}\nvalues: {0: 0, 200: 1}\n")
    told = Told()
    found = score(write_images(tmp_path / "p", MASKS), labels, progress=told)
    assert found.summaries[0].class_name == "polyp"
    assert found.summaries[0].missed == 0
    assert "the masks hold class ids, the labels other values" in told.notes


def test_what_nobody_decided_does_not_count(tmp_path: Path) -> None:
    labels = {name: mask + square(14, 20, 4, 7) for name, mask in TARGETS.items()}
    place = write_images(tmp_path / "l", labels)
    (place / "dataset.yaml").write_text("classes: {0: background, 1: polyp}\nignore: 7\n")
    masks = {name: np.maximum(mask, square(14, 20, 4)) for name, mask in TARGETS.items()}
    found = score(write_images(tmp_path / "p", masks), place)
    assert found.headline.metric("dice").interval.mean == 1


def test_masks_of_one_image_are_joined(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_images(data / "images", {name: np.full((*SIZE, 3), 90, np.uint8) for name in TARGETS})
    write_images(data / "masks", {f"{name}_MA": mask * 255 for name, mask in TARGETS.items()})
    write_images(data / "masks", {f"{name}_EX": square(14, 20, 4, 255) for name in TARGETS})
    (data / "dataset.yaml").write_text(
        "classes: {0: background, 1: aneurysm, 2: exudate}\nmerge: {_MA: 1, _EX: 2}\n"
    )
    masks = {name: mask + square(14, 20, 4, 2) for name, mask in TARGETS.items()}
    place = write_images(tmp_path / "p", masks)
    found = score(place, data)
    assert [(row.class_name, row.metric("dice").interval.mean) for row in found.summaries[:2]] == [
        ("aneurysm", 1.0),
        ("exudate", 1.0),
    ]
    with pytest.raises(LabelError, match=r"joined by their images .* give the folder"):
        score(place, data / "masks")
    with pytest.raises(UsageError, match="gives every mask a class"):
        score(place, data, classes={"aneurysm": 1})


def write_palettes(folder: Path, masks: Mapping[str, np.ndarray], colours: list[int]) -> Path:
    folder.mkdir(parents=True)
    for name, mask in masks.items():
        image = PillowImage.fromarray(mask)
        image.putpalette(colours)
        image.save(folder / f"{name}.png")
    return folder


def test_palettes_of_labels_say_nothing_of_masks_with_ids(tmp_path: Path) -> None:
    red = [0, 0, 0, 200, 30, 30]
    labels = write_palettes(tmp_path / "l", TARGETS, red)
    (labels / "dataset.yaml").write_text(
        'classes: {0: background, 1: polyp}\nvalues: {"#000000": 0, "#c81e1e": 1}\n'
    )
    told = Told()
    ids = score(write_images(tmp_path / "p", TARGETS), labels, progress=told)
    assert "the masks hold class ids, the labels other values" in told.notes
    colours = {name: np.array([red[:3], red[3:]], np.uint8)[mask] for name, mask in TARGETS.items()}
    drawn = score(write_images(tmp_path / "q", colours), labels)
    assert ids.headline.metric("dice").interval.mean == drawn.headline.metric("dice").interval.mean == 1


# --- volumes ----------------------------------------------------------------------------------------


def ball(shift: int = 0) -> np.ndarray:
    ids = np.zeros((6, 12, 14), np.uint8)
    ids[1:4, 2 + shift : 7 + shift, 3:9] = 1
    return ids


def test_volumes_are_scored_in_mm_with_declared_classes(tmp_path: Path) -> None:
    targets = {f"patient00{place}_frame0{frame}": ball() for place in (1, 2) for frame in (1, 2)}
    labels = write_volumes(tmp_path / "raw" / "labelsTr", targets)
    (tmp_path / "raw" / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "MR"},
                "labels": {"background": 0, "heart": 1, "scar": 2},
                "numTraining": 4,
                "file_ending": ".nii.gz",
            }
        )
    )
    place = write_volumes(tmp_path / "p", {name: ball(1) for name in targets})
    (place / "plans.json").write_text("{}")
    found = score(place, labels, out=tmp_path / "r")
    assert found.unit == "mm"
    assert [row.class_name for row in found.summaries] == ["heart", "scar", "mean over classes"]
    assert found.summaries[0].metric("hd95").interval.mean == pytest.approx(1.0)
    assert found.summaries[0].lesions.unit == "mm³"
    assert found.scores[0].lesions.size == pytest.approx(3 * 5 * 6 * 1.5)


def test_another_grid_is_named_with_both(tmp_path: Path) -> None:
    labels = write_volumes(tmp_path / "l", {"a": ball(), "b": ball()})
    masks = write_volumes(tmp_path / "p", {"a": ball()})
    write_volumes(masks, {"b": ball()}, upright_geometry((6, 12, 14), spacing=(3.0, 1.0, 0.6)))
    found = score(masks, labels)
    (failure,) = found.failures
    assert failure.case == "b"
    for part in ("b.nii.gz does not lie on the grid of", "of 3×1×0.6 mm", "of 3×1×0.5 mm", "mm apart"):
        assert part in failure.message
    assert "\n" not in failure.message


def test_a_hundredth_of_a_voxel_is_the_same_grid(tmp_path: Path) -> None:
    labels = write_volumes(tmp_path / "l", {"a": ball()})
    shifted = upright_geometry((6, 12, 14), spacing=(3.0, 1.0, 0.5)).affine.copy()
    shifted[0, 3] += 0.004
    masks = write_volumes(tmp_path / "p", {"a": ball()}, Geometry((6, 12, 14), shifted))
    assert score(masks, labels).scores[0].dice == 1


def test_labels_of_dicom_series(tmp_path: Path) -> None:
    place = tmp_path / "p"
    place.mkdir()
    for seed, kind in enumerate(("SEG", "RTSTRUCT")):
        add_case(tmp_path / "dicom", f"p{seed}", seed=seed, kind=kind)
    data = open_dataset(tmp_path / "dicom")
    for files in data.cases:
        label = read_volume_case(files, data.labels).label
        assert label is not None
        write_label(place / f"{files.id}.nii.gz", label)
    found = score(place, tmp_path / "dicom")
    assert found.unit == "mm"
    names = [row.class_name for row in found.summaries if row.kind == "class"]
    assert names == list(data.classes.values())[1:]
    assert found.headline.metric("dice").interval.mean == 1


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("masks", "labels", "more", "kind", "message"),
    [
        ({"x": square(1, 1)}, TARGETS, {}, LayoutError, r"no mask of .* \(x\) has the name of a label"),
        ({}, TARGETS, {}, LayoutError, "p holds no mask"),
        (
            {k: v * 3 for k, v in MASKS.items()},
            {k: v + square(14, 20, 4, 2) for k, v in TARGETS.items()},
            {},
            LabelError,
            "the masks hold the value 3, which no label holds; say what the values mean with --classes",
        ),
        (
            {k: np.zeros((9, 9), np.uint8) for k in MASKS},
            TARGETS,
            {},
            DataError,
            r"no case could be scored: .*9×9 pixels \(height × width\), its label .*20×26",
        ),
        (MASKS, TARGETS, {"classes": {"a": 1, "b": 1}}, UsageError, "give every class its own values"),
        (MASKS, TARGETS, {"classes": {"background": 0}}, UsageError, "name a class besides the background"),
        (MASKS, TARGETS, {"classes": {"a": 2}}, DataError, "the value 1 without a class"),
        (MASKS, TARGETS, {"match_iou": 1.0}, UsageError, "match_iou 1.0 is not accepted"),
        (MASKS, TARGETS, {"tolerance": -1.0}, UsageError, "tolerance -1.0 is not accepted"),
        (
            {"case1_mask": square(1, 1), "case1_seg": square(1, 1)},
            TARGETS,
            {},
            LayoutError,
            "several masks of .* fit the label case1: case1_mask.png, case1_seg.png",
        ),
        ({"case1.png": square(1, 1), "case1.bmp": square(1, 1)}, TARGETS, {}, LayoutError, "have one name"),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    tmp_path: Path,
    masks: dict[str, np.ndarray],
    labels: dict[str, np.ndarray],
    more: dict[str, object],
    kind: type[DinosegError],
    message: str,
) -> None:
    with pytest.raises(kind, match=message) as caught:
        score(write_images(tmp_path / "p", masks), write_images(tmp_path / "l", labels), **more)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    labels = write_images(tmp_path / "l", TARGETS)
    with pytest.raises(LayoutError, match="nowhere does not exist"):
        score(tmp_path / "nowhere", labels)
    with pytest.raises(LayoutError, match="nowhere does not exist"):
        score(labels, tmp_path / "nowhere")


# --- observers --------------------------------------------------------------------------------------


def test_agreement_of_two_is_their_dice() -> None:
    a, b = square(1, 1) + square(10, 10, 4, 2), square(2, 1)
    classes = {0: "background", 1: "x", 2: "y", 3: "z"}
    scores = score_case(a, b, classes=classes, spacing=None, tolerance=1, case="c", group="g")
    assert measure_agreement(a, b, classes) == pytest.approx(np.mean([item.dice for item in scores]))


def shifted(by: int) -> dict[str, np.ndarray]:
    return {name: np.roll(mask, by, 0) for name, mask in TARGETS.items()}


def test_observers_and_a_model_among_them(tmp_path: Path) -> None:
    names = {"anna": 0, "ben": 1, "carl": 2}
    places = [write_images(tmp_path / name, shifted(by)) for name, by in names.items()]
    told = write_images(tmp_path / "net", shifted(1))
    found = compare_observers(places, model=told, out=tmp_path / "out")
    one, two = 2 * 30 / 72, 2 * 24 / 72
    pairs = {(pair.first, pair.second): pair.dice.mean for pair in found.pairs}
    assert pairs == pytest.approx(
        {
            ("anna", "ben"): one,
            ("anna", "carl"): two,
            ("anna", "net"): one,
            ("ben", "carl"): one,
            ("ben", "net"): 1.0,
            ("carl", "net"): one,
        }
    )
    means = {row.name: row.dice.mean for row in found.members}
    assert means == pytest.approx(
        {"anna": (one + two) / 2, "ben": one, "carl": (one + two) / 2, "net": (1 + 2 * one) / 3}
    )
    assert [row.rank for row in found.members if row.is_model] == [1]
    assert found.model is not None
    assert found.model.difference == pytest.approx((1 + 2 * one) / 3 - (2 * one + two) / 3)
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Model minus observers:" in page
    assert page.count("<figure>") == min(6, found.cases)
    assert page.index("Cases of least agreement") < page.index("What the numbers mean")
    document = json.loads((tmp_path / "out" / "observers.json").read_text(encoding="utf-8"))
    assert document["model"]["p"] == found.model.p
    assert (tmp_path / "out" / "cases.csv").read_text(encoding="utf-8").count("\n") == 8


def test_observers_use_the_declared_values_and_a_model_ids(tmp_path: Path) -> None:
    places = [
        write_images(tmp_path / name, {case: mask * 200 for case, mask in TARGETS.items()})
        for name in ("anna", "ben")
    ]
    (places[0] / "dataset.yaml").write_text("classes: {0: background, 1: polyp}\nvalues: {0: 0, 200: 1}\n")
    found = compare_observers(places, model=write_images(tmp_path / "net", TARGETS))
    assert [pair.dice.mean for pair in found.pairs] == [1, 1, 1]


def test_cases_that_somebody_lacks_are_left_out(tmp_path: Path) -> None:
    fewer = {name: mask for name, mask in MASKS.items() if name != "case2"}
    places = [write_images(tmp_path / "a", TARGETS), write_images(tmp_path / "b", fewer)]
    found = compare_observers(places)
    assert (found.cases, found.left_out, found.model) == (5, ("case2",), None)


def test_observers_must_differ(tmp_path: Path) -> None:
    place = write_images(tmp_path / "a", TARGETS)
    for places in ([place], [place, place]):
        with pytest.raises(UsageError, match="two or more different observers"):
            compare_observers(places)
