"""What `dinoseg info` says of a bundle; reads pipeline.json and checks the digests, opens no graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dinoseg.cli.output import Output


def tell_bundle(output: Output, folder: Path) -> None:
    """Show what a bundle is, what it takes, and what it was compared with.

    Raises:
        RunError: it is damaged or incomplete.
    """
    from dinoseg.model.bundles import LICENSE, read_pipeline

    pipeline = read_pipeline(folder)
    output.facts = {"bundle": folder, **pipeline.model_dump(mode="json")}
    settings, backbone = pipeline.settings, pipeline.backbone
    names = ", ".join(f"{index} {name}" for index, name in settings.classes.items())
    output.line(f"{folder}: {pipeline.method} on {backbone.name}, dinoseg {pipeline.dinoseg}")
    output.line(f"classes: {names}")
    output.line(f"graphs for {pipeline.size} px in {pipeline.precision}, ONNX opset {pipeline.opset}")
    output.line(f"backbone: {backbone.source}, digest {backbone.digest[:12]}")
    output.line(f"licence of the backbone: {backbone.license}, in {folder / LICENSE}")
    if pipeline.comparison is not None:
        found = pipeline.comparison
        output.line(
            f"compared with torch on {found.cases} ({found.images} images): logits differ by "
            f"{found.logits:.2g} at most, smallest Dice {found.dice:.4f}"
        )
    output.line("all files are as they were exported")
