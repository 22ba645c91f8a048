"""`export`: a run folder becomes a bundle, which is compared with torch before it gets its name."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from dinoseg import __version__
from dinoseg.backbones.graphs import OPSET, write_backbone
from dinoseg.backbones.hub import hash_file
from dinoseg.backbones.weights_settings import read_settings
from dinoseg.config import override
from dinoseg.data.cases.prints import TrainingCases
from dinoseg.engines import check_engine
from dinoseg.errors import UsageError
from dinoseg.export.cases import Examples, draw_examples, read_examples
from dinoseg.export.comparison import compare, refuse_different
from dinoseg.export.graphs import write_decoder
from dinoseg.export.licences import find_license
from dinoseg.export.quantisation import quantise, store_in_half
from dinoseg.export.readme import write_card
from dinoseg.export.steps import describe_steps
from dinoseg.model.bundles import (
    BACKBONE,
    CARD,
    DECODER,
    FORMAT,
    LICENSE,
    PIPELINE,
    BundledBackbone,
    BundledDecoder,
    BundlePrecision,
    Comparison,
    Pipeline,
    digest_pipeline,
)
from dinoseg.model.ensemble import Ensemble
from dinoseg.model.folder import TRAINING_CASES, locate_backbone
from dinoseg.model.loading import load_run
from dinoseg.model.runtime import open_graphs
from dinoseg.model.segmenter import Segmenter
from dinoseg.outputs import atomic_files, claim, refuse_filled, remove_ours, write_json, write_text
from dinoseg.progress import Progress, Silent
from dinoseg.sharing import resolve
from dinoseg.streams import keeping_filters

STEPS = 4  # of the progress


@dataclass(frozen=True)
class Export:
    """The result of `export`.

    Attributes:
        out: the bundle.
        bytes: of all its files.
        precision: of the weights.
        size: side of the images that the graphs take, px.
        opset: version of the standard operators.
        comparison: with torch.
    """

    out: Path
    bytes: int
    precision: BundlePrecision
    size: int
    opset: int
    comparison: Comparison


@keeping_filters()
def export(
    run: Path | str,
    out: Path | str,
    *,
    size: int | None = None,
    precision: BundlePrecision = "float32",
    examples: Sequence[Path | str] = (),
    license_file: Path | str | None = None,
    backbone: Path | str | None = None,
    accept_license: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Export:
    """Write the model of a run, backbone and decoder and all that is around them, as a bundle without torch.

    Args:
        run: the run folder, or the address of a shared one.
        out: the folder of the bundle.
        size: side of the images, or windows, that the graphs take, in pixels; the model's if not given.
        precision: "float32"; "float16": the same at half the space; "int8": the backbone's products in 8
            bits.
        examples: images or volumes, files or folders: int8 is calibrated on them, and every bundle is
            compared with torch on them; drawn pictures if not given.
        license_file: the text of the backbone's licence, where none lies beside its weights.
        backbone: another place of the same backbone, where the recorded one is gone.
        accept_license: accept the licence of the backbone's weights.
        overwrite: replace an older bundle.
        progress: told what is being done.

    Raises:
        RunError: the folder is no run, or the bundle says something else than torch.
        UsageError: an argument is not accepted.
        LicenseError: the licence is not accepted, or its text is missing.
        OutputError: `out` holds something, or cannot be written.
        DinosegError: a library of the extra `export` is missing.
    """
    out, shown = Path(out), progress or Silent()
    _check_request(precision, size, examples)
    refuse_filled(out, overwrite=overwrite)
    run = resolve(run, shown)
    model: Segmenter | Ensemble = load_run(
        run,
        backbone=backbone,
        accept_license=accept_license,
        precision="float32",
        engine="torch",
        progress=shown,
    )
    members = list_members(model)
    side = size or model.size[0]
    text = find_license(members[0].backbone, _find_weights(members[0], run), _path(license_file))
    cases = (
        read_examples(model, [Path(each) for each in examples], size=side)
        if examples
        else draw_examples(model, size=side)
    )
    was_there = out.exists()
    try:
        request = _Request(model, members, out, side, precision, cases, text)
        return _write(request, overwrite=overwrite, shown=shown)
    except BaseException:
        if not was_there:
            _discard(out)
        raise


@dataclass(frozen=True)
class _Request:
    model: Segmenter | Ensemble
    members: tuple[Segmenter, ...]
    out: Path
    size: int
    precision: BundlePrecision
    cases: Examples
    license: str

    @property
    def decoders(self) -> list[str]:
        """Names of the graphs of the decoders."""
        if len(self.members) == 1:
            return [DECODER]
        return [DECODER.replace(".", f"-{number}.") for number in range(1, len(self.members) + 1)]

    @property
    def trained_on(self) -> TrainingCases | None:
        """What the training cases of all members are known again by."""
        known = [member.trained_on for member in self.members]
        prints = [each for cases in known if cases is not None for each in cases.prints]
        return None if None in known else TrainingCases.of(prints)


def list_members(model: Segmenter | Ensemble) -> tuple[Segmenter, ...]:
    """The models of an ensemble, or the one model.

    Raises:
        UsageError: they see images differently, or not as many slices.
    """
    if isinstance(model, Segmenter):
        return (model,)
    members = tuple(member for member in model.members if isinstance(member, Segmenter))
    spacings = [member.settings.preprocessing.slice_spacing for member in members]
    reaches = {(member.reach, spacing is None) for member, spacing in zip(members, spacings, strict=True)}
    if len(model.groups) > 1 or len(reaches) > 1:
        raise UsageError(
            "the members of this ensemble have several backbones, sizes, reaches, symmetries or decisions, "
            "and a bundle has one; export them one by one"
        )
    return members


def _check_request(precision: str, size: int | None, examples: Sequence[object]) -> None:
    if precision not in get_args(BundlePrecision):
        accepted = ", ".join(get_args(BundlePrecision))
        raise UsageError(f"precision {precision!r} is not accepted; choose {accepted}")
    if precision == "int8" and not examples:
        raise UsageError("int8 is calibrated on images like those to come; name some with --examples")
    if size is not None and size < 1:
        raise UsageError(f"size is a side in pixels, at least 1; given {size}")
    check_engine("onnxruntime")


def _write(request: _Request, *, overwrite: bool, shown: Progress) -> Export:
    first, out, trained_on = request.members[0], request.out, request.trained_on
    known = [] if trained_on is None else [TRAINING_CASES]
    paths = [out / name for name in (BACKBONE, *request.decoders, *known, LICENSE, CARD, PIPELINE)]
    claim(out)
    with atomic_files(paths, overwrite=overwrite) as folder:
        shown.note(f"writing the graphs of {first.backbone.name} and {first.settings.decoder.method}")
        write_backbone(first.backbone, folder / BACKBONE, size=(request.size, request.size))
        for name, member in zip(request.decoders, request.members, strict=True):
            write_decoder(member, folder / name, size=request.size)
        _shrink(folder, request)
        # Weights beyond what one file of ONNX holds lie beside it; they get their names first.
        paths[:0] = [out / path.name for path in sorted(folder.glob("*.data"))]
        pipeline = _describe(request)
        shown.note(f"comparing with torch on {request.cases.name}")
        found = compare(request.model, open_graphs(folder, pipeline), request.cases)
        refuse_different(found, request.precision)
        write_text(folder / LICENSE, request.license)
        if trained_on is not None:
            write_json(folder / TRAINING_CASES, trained_on.describe())
        card = write_card(request.members, found, precision=request.precision, size=request.size)
        write_text(folder / CARD, card)
        files = {path.name: hash_file(folder / path.name) for path in paths if path.name != PIPELINE}
        _write_pipeline(folder, pipeline.model_copy(update={"files": files, "comparison": found}))
    held = sum(path.stat().st_size for path in paths)
    return Export(out, held, request.precision, request.size, OPSET, found)


def _shrink(folder: Path, request: _Request) -> None:
    if request.precision == "float16":
        for name in (BACKBONE, *request.decoders):
            store_in_half(folder / name)
    if request.precision == "int8":
        # The decoder stays as it is: it is where logits are made.
        quantise(folder / BACKBONE, request.cases)


def _describe(request: _Request) -> Pipeline:
    model, first = request.model, request.members[0]
    backbone, facts = first.backbone, model.describe()
    return Pipeline(
        format=FORMAT,
        dinoseg=__version__,
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")},
        },
        opset=OPSET,
        precision=request.precision,
        size=request.size,
        method=facts["method"],
        decoder_digest=facts["decoder_digest"],
        # without the folders of this machine, and with the step of the member that reads furthest
        settings=override(
            model.settings,
            {"backbone.name": backbone.name, "preprocessing.slice_spacing": _find_widest(request.members)},
        ),
        backbone=BundledBackbone(
            name=backbone.name,
            digest=backbone.digest,
            license=backbone.license,
            source=_tell_source(backbone.source),
            levels=len(backbone.channels),
            mean=first.mean,
            std=first.std,
        ),
        decoders=tuple(
            BundledDecoder(
                file=name,
                digest=member.describe()["decoder_digest"],
                needs_image=member.decoder.needs_image,
                reach=member.reach,
                slice_spacing=member.settings.preprocessing.slice_spacing,
            )
            for name, member in zip(request.decoders, request.members, strict=True)
        ),
        postprocessing=model.postprocessing,
        calibration=model.calibration,
        seen=None if model.seen is None else asdict(model.seen),
        steps=describe_steps(model.settings),
        files={},
    )


def _find_widest(members: Sequence[Segmenter]) -> float | None:
    spacings = [member.settings.preprocessing.slice_spacing for member in members]
    return max((spacing for spacing in spacings if spacing is not None), default=None)


def _tell_source(source: str) -> str:
    """Where the weights came from, without the folders of this machine."""
    kind, _, place = source.partition("folder ")
    return f"{kind}folder {Path(place).name}" if place else source


def _write_pipeline(folder: Path, pipeline: Pipeline) -> None:
    content: dict[str, Any] = pipeline.model_dump(mode="json")
    write_json(folder / PIPELINE, {**content, "digest": digest_pipeline(content)})


def _find_weights(model: Segmenter, run: Path) -> Path | None:
    """The folder that the backbone's weights lie in."""
    name = locate_backbone(model.settings.backbone.name, model.run or run)
    place = Path(name) if Path(name).is_dir() else read_settings().weights / name
    return place if place.is_dir() else None


def _path(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given)


def _discard(out: Path) -> None:
    """Remove a folder that was made for nothing."""
    if out.is_dir():
        remove_ours(out)
        out.rmdir()
