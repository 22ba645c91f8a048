"""`load`: a trained model from wherever it was saved; imports torch for a run folder only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dinoseg.errors import UsageError
from dinoseg.extras import require
from dinoseg.model.bundles import is_bundle
from dinoseg.progress import Progress
from dinoseg.sharing import resolve
from dinoseg.streams import keeping_filters

if TYPE_CHECKING:
    from dinoseg.config import BackboneEngine
    from dinoseg.model.ensemble import Ensemble
    from dinoseg.model.runtime import Runtime
    from dinoseg.model.segmenter import Segmenter


@keeping_filters()
def load(
    run: Path | str,
    *,
    backbone: str | Path | None = None,
    accept_license: bool = False,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16"] | None = None,
    engine: BackboneEngine | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Segmenter | Ensemble | Runtime:
    """Load the model of a run folder (or of a `model/` folder itself) or of a bundle, ready to predict.

    Args:
        run: the run folder, which torch computes, or a bundle, which an engine computes without torch; or the
            address of a shared one: `hf://owner/name@revision`, `file:///folder`.
        backbone: of a run folder: another place of the same backbone, where the recorded one is gone.
        accept_license: accept the licence of the backbone's weights, if they must be fetched or are in the
            bundle.
        device: of a run folder: a torch device such as "cpu" or "cuda:0".
        precision: what the backbone computes in. If not given, what it was trained in, or float32 for a
            bundle; the masks of the two hardly differ.
        engine: of a bundle, "onnxruntime" (if not given) or "openvino"; of a run folder what computes its
            backbone, "torch" or one of those, as trained if not given.
        threads: of a bundle: cores that the engine computes on; all of them if not given.
        progress: told where the weights come from.

    Raises:
        RunError: the folder is neither, is damaged, or its decoder was trained on another backbone.
        WeightsError: the backbone's weights are not there, their licence is not accepted, or a shared model
            cannot be fetched.
        UsageError: an argument is for the other kind.
        DinosegError: torch, or the engine, is not installed.
    """
    run = resolve(run, progress)
    if not is_bundle(run):
        _refuse_threads(run, threads)
        require("torch", f"the run folder {run}, unlike a bundle,")
        from dinoseg.model.loading import load_run

        return load_run(
            run,
            backbone=backbone,
            accept_license=accept_license,
            device=device,
            precision=precision,
            engine=engine,
            progress=progress,
        )
    _refuse_other_place(run, backbone, device)
    from dinoseg.model.runtime import open_bundle

    return open_bundle(
        run,
        accept_license=accept_license,
        engine=engine,
        precision=precision,
        threads=threads,
        progress=progress,
    )


def _refuse_threads(run: Path | str, threads: int | None) -> None:
    if threads is not None:
        raise UsageError(f"threads is for bundles, and {run} is none; call torch.set_num_threads({threads})")


def _refuse_other_place(run: Path | str, backbone: object, device: str) -> None:
    if backbone is not None:
        raise UsageError(f"{run} is a bundle, which holds its backbone; leave --backbone out")
    if device != "cpu":
        raise UsageError(f"{run} is a bundle, which is computed on the processor; leave --device out")
