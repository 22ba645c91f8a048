"""Options that several commands share, declared once so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; everything else goes to stderr.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what dinoseg wrote there; anything else is refused by name."),
]
AcceptLicense = Annotated[
    bool, typer.Option("--accept-license", help="Accept the licence of the backbone's weights; remembered.")
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.", metavar="DEVICE")]
# Without mps, where training was never tried: config/training.DEVICES.
TrainDevice = Annotated[
    str, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1.", metavar="DEVICE")
]
Devices = Annotated[
    int | None,
    typer.Option(
        help="Processes that train together on this machine, each on a device of its own; the result is "
        "that of one.",
        min=1,
        metavar="N",
    ),
]
Nodes = Annotated[
    int | None,
    typer.Option(help="Machines that train together, started with torchrun or srun.", min=1, metavar="N"),
]
# As in dinoseg.config, which takes too long to import for --help; a test compares them.
PrecisionName = Literal["float32", "bfloat16"]
PresetName = Literal["default", "paper"]
ShotsFromName = Literal["random", "first"]
ShotUnitName = Literal["case", "group"]
ScoredSplitName = Literal["test", "val"]
Precision = Annotated[
    PrecisionName | None,
    typer.Option(
        help="What the backbone computes in; bfloat16 is faster where the processor has it. "
        "If not given, as trained, or float32 for a bundle, whose bfloat16 needs --engine openvino."
    ),
]
Threads = Annotated[
    int | None, typer.Option(help="Cores to compute on; all if not given.", min=1, metavar="N")
]
EngineName = Literal["torch", "onnxruntime", "openvino"]
Engine = Annotated[
    EngineName | None,
    typer.Option(
        help="What computes a bundle (onnxruntime if not given), or the backbone of a run (as trained if not "
        "given); openvino needs the extra of that name."
    ),
]
TrainEngine = Annotated[
    EngineName | None,
    typer.Option(
        "--engine",
        help="What computes the backbone; torch if neither given nor set with --set. The others need the "
        "extra export.",
    ),
]
TrainPrecision = Annotated[
    PrecisionName | None,
    typer.Option(
        "--precision", help="What the backbone computes in; float32 if neither given nor set with --set."
    ),
]
TrainBatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size", help="Images of a training step; the preset's if not given.", min=1, metavar="N"
    ),
]
Preset = Annotated[PresetName, typer.Option(help="default: our recipe; paper: the method's published one.")]
Shots = Annotated[int | None, typer.Option(help="Train on so many cases only.", min=1, metavar="K")]
ShotsFrom = Annotated[
    ShotsFromName, typer.Option(help="Draw the shots (seeded), or take the first of the training split.")
]
ShotUnit = Annotated[ShotUnitName, typer.Option(help="What one shot is; a group is a patient.")]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn at random.", min=0)]
FirstSeed = Annotated[int, typer.Option("--seed", help="Of the first draw.", min=0)]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of `dinoseg info settings`; may be repeated.", metavar="KEY=VALUE"),
]
MethodAssignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting of `dinoseg info settings`, or METHOD:KEY=VALUE for one; may be repeated.",
        metavar="KEY=VALUE",
    ),
]
Draws = Annotated[
    int | None,
    typer.Option(
        help="Train on so many draws of the shots, score each, report the spread.", min=1, metavar="N"
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(
        help="Cross-validate: train one model for each of so many folds, score every case out of its fold; "
        "all are one model then.",
        min=2,
        metavar="N",
    ),
]
DrawsEach = Annotated[
    int,
    typer.Option("--draws", help="Trainings of each method and number of shots.", min=1, metavar="N"),
]
DrawsSplit = Annotated[
    ScoredSplitName | None,
    typer.Option("--split", help="What --draws scores; test where it holds cases, else val, if not given."),
]
ScoredSplit = Annotated[
    ScoredSplitName | None,
    typer.Option("--split", help="What is scored; test where it holds cases, else val, if not given."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
ResumeCurve = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted curve.")]
BatchSize = Annotated[int, typer.Option(help="Images or windows at once.", min=1, metavar="N")]
# Those of dinoseg.config.training.Training, which takes too long to import for --help; a test compares them.
DEFAULT_METHOD = "guided"
DEFAULT_BACKBONE = "dinov3_vits16"
Method = Annotated[
    str | None,
    typer.Option(
        help=f"A method of `dinoseg info methods`; {DEFAULT_METHOD} if not given.", metavar="METHOD"
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        help=f"Methods of `dinoseg info methods`, with commas; {DEFAULT_METHOD} if not given.",
        metavar="METHOD,METHOD",
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        help="A backbone of `dinoseg info backbones`, or a local Hugging Face folder; "
        f"{DEFAULT_BACKBONE} if not given.",
        metavar="NAME",
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        help="Side in px that images are resized to; the preset's if not given.", min=1, metavar="N"
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(help="Passes over the training cases; the preset's if not given.", min=1, metavar="N"),
]
LearningRate = Annotated[
    float | None, typer.Option("--lr", help="Learning rate; the preset's if not given.", metavar="RATE")
]
BackbonePlace = Annotated[
    str | None,
    typer.Option("--backbone", help="Another place of the same backbone's weights.", metavar="PATH"),
]
Window = Annotated[
    int | None,
    typer.Option(
        help="Slide a window of this side in px; the image is not resized. If not given, as trained.",
        min=1,
        metavar="N",
    ),
]
Overlap = Annotated[float, typer.Option(help="Share of a window that the next one covers again.")]
Flips = Annotated[
    bool | None,
    typer.Option(
        "--flips/--no-flips",
        help="Average over mirrored (and turned) copies, or look once; if not given, as the model was made.",
    ),
]
Planes = Annotated[
    str | None,
    typer.Option(
        help="How volumes are cut: axial, coronal, sagittal, or several with commas, which are averaged; "
        "if not given, as trained.",
        metavar="PLANE,...",
    ),
]
RawMasks = Annotated[
    bool,
    typer.Option("--no-postprocessing", help="Leave masks as predicted, whatever was chosen for the model."),
]
Splits = Annotated[
    Path | None,
    typer.Option(help="A splits.json to use instead of the data's own split.", metavar="FILE"),
]
Init = Annotated[
    Path | None,
    typer.Option(
        "--init", help="A run whose decoder this one begins with, instead of random weights.", metavar="RUN"
    ),
]
RunFolder = Annotated[
    Path, typer.Argument(help="A run folder made by `dinoseg train`, or hf://OWNER/NAME.", metavar="RUN")
]
RunOrBundle = Annotated[
    Path,
    typer.Argument(
        help="A run folder made by `dinoseg train`, a bundle made by `dinoseg export`, or hf://OWNER/NAME.",
        metavar="RUN",
    ),
]
DataFolders = Annotated[
    list[Path],
    typer.Argument(
        help="A folder of images and masks, or a CSV; several are one data set.", metavar="DATA..."
    ),
]
DataFolder = Annotated[Path, typer.Argument(help="A folder of images and masks, or a CSV.", metavar="DATA")]


def parse_planes(text: str | None) -> tuple[Any, ...] | None:
    """The planes of `--planes`; which ones there are is checked where they are used."""
    return None if text is None else tuple(plane.strip() for plane in text.split(",") if plane.strip())
