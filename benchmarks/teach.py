"""Teaching by strokes: a simulated annotator, a random forest as the peer, and the seconds of a round.

    python benchmarks/teach.py [kvasir isic hippocampus] [--draws 3] [--rounds] [--picture]

Each draw takes 30 unlabelled images (of a shared folder of real data), at 256 px but for the slices of the
hippocampus, which stay as they are. The annotator paints the image that teaching proposes: a few seeded
strokes drawn from the true mask, one in each of the two largest objects of each class, two in the background.
After 1, 3, 5 and 10 painted images 100 other images, which are in no project, are segmented and scored. The
forest (scikit-learn; Gaussian features at seven scales, as ilastik has them; classes balanced) learns from
exactly the same strokes. `in order` is teaching without the proposals. The features are those of
vit-tiny-in1k, which is no DINO model. `--rounds` measures seconds of a round, wall and processor, with 20 and
200 images at 256 px. Rows go to benchmarks/results/teach.csv and teach_rounds.csv, of which
docs/images/teach.png is drawn.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
from numpy.typing import NDArray

from annotator import draw_strokes
from dinoseg.config import PreprocessingSettings
from dinoseg.config.settings import PercentileIntensity
from dinoseg.data import open_dataset, read_case
from dinoseg.data.case import Image
from dinoseg.data.cases.volumes import VolumeSlices, read_volume_case
from dinoseg.data.images import write_image
from dinoseg.data.tensors.transforms import resize_image, resize_label
from dinoseg.teaching.project import Project
from dinoseg.teaching.strokes import Stroke, draw
from forest import Forest, describe, describe_coarsely
from measuring import RESULTS, ROOT, Row, describe_machine, save
from teach_picture import draw_picture

SHARED = ROOT.parent / "shared"
BACKBONE = SHARED / "weights" / "vit-tiny-in1k"
FOLDERS = {
    "kvasir": "kvasir-seg",
    "isic": "isic2017-256",
    "hippocampus": "Dataset004_Hippocampus",
}
IMAGES, OTHERS = 30, 100
STAGES = (1, 3, 5, 10)
SIDE = 256
PAGES = ("README.md", "docs/teaching.md")
COUNTS = (20, 200)
PAINTED = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class Example:
    """An image in 0..1, (1 or 3, H, W), and its class ids, (H, W)."""

    image: Image
    label: NDArray[np.uint8]


def draw_examples(name: str, count: int, *, seed: int) -> list[Example]:
    """Images that show an object, in a seeded order."""
    dataset = open_dataset(SHARED / "data" / FOLDERS[name])
    order = np.random.default_rng(seed).permutation(len(dataset.cases))
    examples: list[Example] = []
    for number in order:
        examples += _read(dataset, dataset.cases[number])
        if len(examples) >= count:
            return examples[:count]
    raise SystemExit(f"{name} has {len(examples)} images, {count} are needed")


def _read(dataset, files) -> list[Example]:
    if files.is_volume:
        return _read_slices(dataset, files)
    case = read_case(files, dataset.labels)
    label = resize_label(case.label, (SIDE, SIDE)).array
    return [Example(resize_image(case.image, (SIDE, SIDE)), label)] if label.any() else []


def _read_slices(dataset, files) -> list[Example]:
    """Two slices of a volume, a third of those with an object apart."""
    case = read_volume_case(files, dataset.labels).canonical()
    slices = VolumeSlices(case.image, PreprocessingSettings(intensity=PercentileIntensity()))
    shown = np.flatnonzero(case.label.array.any(axis=(1, 2)))
    chosen = shown[[len(shown) // 3, 2 * len(shown) // 3]]
    return [
        Example(Image(slices.image(int(index)).array[:1]), np.ascontiguousarray(case.label.array[index]))
        for index in chosen
    ]


def score(found: NDArray[np.uint8], truth: NDArray[np.uint8], classes: Sequence[int]) -> float:
    """Mean Dice of the classes that are there or were found."""
    scores = []
    for class_id in classes:
        one, other = found == class_id, truth == class_id
        if total := int(one.sum() + other.sum()):
            scores.append(2 * int((one & other).sum()) / total)
    return float(np.mean(scores)) if scores else 1.0


@dataclass
class Session:
    """A project of examples, and what has been painted in it."""

    project: Project
    examples: dict[str, Example]
    seed: int
    strokes: int = 0

    def paint(self, image: str) -> None:
        """All strokes of an image, a round after each."""
        for stroke in self.draw(image):
            self.project.add_stroke(image, uuid.uuid4().hex, stroke)
            self.strokes += 1
            self.project.wait()

    def draw(self, image: str) -> list[Stroke]:
        """The strokes of an image."""
        return draw_strokes(self.examples[image].label, seed=self.seed)

    @property
    def proposed(self) -> str:
        """The image to paint next."""
        found = self.project.state().next
        if found is None:
            raise SystemExit("all images are painted")
        return found


def open_session(folder: Path, examples: Sequence[Example], backbone: Path, *, seed: int) -> Session:
    """A project of images as PNG, whose features are there."""
    for number, example in enumerate(examples):
        write_image(folder / f"image-{number:03d}.png", example.image)
    project = Project.open(folder, backbone=str(backbone), classes=_name(examples))
    while project.state().features.done < len(examples):
        time.sleep(0.1)
    project.wait()
    numbers = {subject.id: int(Path(subject.name).stem.split("-")[1]) for subject in project.subjects}
    return Session(project, {id_: examples[number] for id_, number in numbers.items()}, seed)


def _name(examples: Sequence[Example]) -> list[str]:
    return [f"class {id_}" for id_ in _list_classes(examples)]


def _list_classes(examples: Iterable[Example]) -> list[int]:
    return sorted({int(id_) for example in examples for id_ in np.unique(example.label)} - {0})


def measure_dice(name: str, backbone: Path, *, draw_number: int) -> Iterator[Row]:
    """Rows of one draw: teaching, teaching in order, and the forest."""
    examples = draw_examples(name, IMAGES + OTHERS, seed=draw_number)
    own, others = examples[:IMAGES], examples[IMAGES:]
    classes = _list_classes(examples)
    grids = [describe_coarsely(other.image.array) for other in others]
    for method in ("teach", "in order"):
        with tempfile.TemporaryDirectory() as folder:
            session = open_session(Path(folder), own, backbone, seed=draw_number)
            painted: list[str] = []
            for stage in STAGES:
                seconds, processor = [], []
                while len(painted) < stage:
                    following = [image for image in session.examples if image not in painted]
                    painted.append(session.proposed if method == "teach" else following[0])
                    began = time.process_time()
                    before = session.strokes
                    session.paint(painted[-1])
                    seconds.append(session.project.state().seconds or 0.0)
                    processor.append((time.process_time() - began) / (session.strokes - before))
                found = [session.project.segment(other.image) for other in others]
                row = {
                    **_describe(name, method, draw_number, stage, session.strokes),
                    "dice": _mean_score(found, others, classes),
                    "round_s": statistics.median(seconds),
                    "stroke_cpu_s": statistics.median(processor),
                    "estimate": _estimate(session),
                }
                print(row, flush=True)
                yield row
                if method == "teach":
                    yield _run_forest(session, painted, grids, others, classes) | _describe(
                        name, "forest", draw_number, stage, session.strokes
                    )
            session.project.close()


def _describe(name: str, method: str, draw_number: int, stage: int, strokes: int) -> Row:
    return {"data": name, "method": method, "draw": draw_number, "images": stage, "strokes": strokes}


def _estimate(session: Session) -> float | str:
    found = session.project.state().estimate
    return "" if found is None else found.dice


def _run_forest(
    session: Session,
    painted: Sequence[str],
    grids: Sequence[NDArray[np.float16]],
    others: Sequence[Example],
    classes: Sequence[int],
) -> Row:
    """What the peer makes of the same strokes."""
    canvases = [draw(session.draw(image), session.examples[image].image.size) for image in painted]
    features = [describe(session.examples[image].image.array) for image in painted]
    began, processor = time.perf_counter(), time.process_time()
    forest = Forest()
    forest.learn(features, canvases)
    # A round of it segments the images of the project.
    for image in session.examples:
        forest.segment(describe_coarsely(session.examples[image].image.array), (1, 1))
    seconds, used = time.perf_counter() - began, time.process_time() - processor
    found = [forest.segment(grid, other.image.size) for grid, other in zip(grids, others, strict=True)]
    return {
        "dice": _mean_score(found, others, classes),
        "round_s": seconds,
        "stroke_cpu_s": used,
        "estimate": "",
    }


def _mean_score(
    found: Sequence[NDArray[np.uint8] | None], others: Sequence[Example], classes: Sequence[int]
) -> float:
    return statistics.mean(
        0.0 if mask is None else score(mask, other.label, classes)
        for mask, other in zip(found, others, strict=True)
    )


def measure_rounds(backbone: Path) -> Iterator[Row]:
    """Seconds of a stroke's round against the images that are painted already, with 20 and 200 images."""
    for count in COUNTS:
        examples = draw_examples("kvasir", count, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            session = open_session(Path(folder), examples, backbone, seed=0)
            images = list(session.examples)[: max(PAINTED)]
            for number, image in enumerate(images, start=1):
                if number in PAINTED:
                    timed = [_time_stroke(session, image, stroke) for stroke in session.draw(image)]
                    yield _describe_rounds(session, count, number, timed)
                else:  # learned together, as soon as there is time
                    for stroke in session.draw(image):
                        session.project.add_stroke(image, uuid.uuid4().hex, stroke)
                session.strokes += len(session.draw(image))
                session.project.wait()
            session.project.close()


def _time_stroke(session: Session, image: str, stroke: Stroke) -> tuple[float, float, float, float]:
    """Seconds until a stroke is kept, all masks are there, the estimate is; and of the processor."""
    began, processor = time.perf_counter(), time.process_time()
    session.project.add_stroke(image, uuid.uuid4().hex, stroke)
    kept = time.perf_counter() - began
    session.project.wait()
    round_s = session.project.state().seconds or 0.0
    return kept, round_s, time.perf_counter() - began, time.process_time() - processor


def _describe_rounds(
    session: Session, count: int, painted: int, timed: Sequence[tuple[float, float, float, float]]
) -> Row:
    kept_s, round_s, all_s, cpu_s = (statistics.median(each) for each in zip(*timed, strict=True))
    began = time.perf_counter()
    session.project.prediction(next(reversed(session.examples)))
    shown_s = time.perf_counter() - began
    row = {"images": count, "painted": painted, "strokes": session.strokes + len(timed), "kept_s": kept_s}
    return row | {"round_s": round_s, "with_estimate_s": all_s, "cpu_s": cpu_s, "shown_s": shown_s}


def show(rows: Sequence[Row]) -> str:
    """A table for the documentation: mean over draws."""
    lines = ["| data | images painted | strokes | teach | in order | forest |", "|---|---|---|---|---|---|"]
    for data in dict.fromkeys(row["data"] for row in rows):
        for stage in STAGES:
            found = [row for row in rows if row["data"] == data and int(row["images"]) == stage]
            strokes = statistics.mean(float(row["strokes"]) for row in found)
            means = [
                statistics.mean(float(row["dice"]) for row in found if row["method"] == method)
                for method in ("teach", "in order", "forest")
            ]
            lines.append(
                f"| {data} | {stage} | {strokes:.0f} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |"
            )
    return "\n".join(lines)


def show_rounds(rounds: Sequence[Row]) -> str:
    """A table for the documentation."""
    lines = [
        "| images | painted before | kept | all masks | and the estimate | processor | a mask shown |",
        "|---|---|---|---|---|---|---|",
    ]
    columns = ("kept_s", "round_s", "with_estimate_s", "cpu_s", "shown_s")
    for row in rounds:
        numbers = " | ".join(f"{float(row[column]):.2f}" for column in columns)
        lines.append(f"| {row['images']} | {int(row['painted']) - 1} | {numbers} |")
    return "\n".join(lines)


def _fill(page: Path, tables: Mapping[str, str]) -> None:
    """Put the tables between their marks on a page."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        marks = f"<!-- teach: {name} -->", "<!-- teach: end -->"
        before, found, rest = text.partition(marks[0])
        if found:
            text = f"{before}{found}\n{table}\n{marks[1]}{rest.partition(marks[1])[2]}"
    page.write_text(text, encoding="utf-8")


def read_rows(name: str) -> list[Row]:
    """The rows of an earlier call, if any."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def main() -> None:
    """Measure what was asked for, keep the other rows, draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FOLDERS)}; all if not given")
    parser.add_argument("--draws", type=int, default=3, metavar="N")
    parser.add_argument("--backbone", type=Path, default=BACKBONE)
    parser.add_argument("--rounds", action="store_true", help="measure the seconds of rounds only")
    parser.add_argument("--picture", action="store_true", help="draw the picture and the table only")
    given = parser.parse_args()
    if not given.picture:
        machine = [*describe_machine(), f"backbone {given.backbone.name}, not a DINO model"]
        if given.rounds:
            save("teach_rounds", list(measure_rounds(given.backbone)), machine)
        else:
            _measure_all(given.names or list(FOLDERS), given.draws, given.backbone, machine)
    rows, rounds = read_rows("teach"), read_rows("teach_rounds")
    if rows:
        print(show(rows))
        draw_picture(rows, rounds, ROOT / "docs/images/teach.png")
    for page in PAGES:
        _fill(ROOT / page, {"dice": show(rows), "rounds": show_rounds(rounds)})


def _measure_all(names: Sequence[str], draws: int, backbone: Path, machine: Sequence[str]) -> None:
    for name in names:
        for draw_number in range(draws):
            fresh = list(measure_dice(name, backbone, draw_number=draw_number))
            done = [
                row for row in read_rows("teach") if (row["data"], int(row["draw"])) != (name, draw_number)
            ]
            rows = [{key: _number(value) for key, value in row.items()} for row in [*done, *fresh]]
            save(
                "teach",
                sorted(rows, key=lambda row: (list(FOLDERS).index(row["data"]), row["draw"])),
                machine,
            )


def _number(value: object) -> object:
    try:
        number = float(str(value))
    except ValueError:
        return value
    return int(number) if number.is_integer() and "." not in str(value) else number


if __name__ == "__main__":
    main()
