"""The model folder without its weights: where it is, and what its config.json says; needs no torch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoseg.config import ConfidenceSettings, PostprocessingSettings, from_yaml, override
from dinoseg.data.cases.likeness import Profile
from dinoseg.data.cases.prints import TrainingCases
from dinoseg.errors import ConfigError, RunError
from dinoseg.methods import METHODS
from dinoseg.model.ensemble import DOCUMENT as ENSEMBLE
from dinoseg.model.ensemble import is_ensemble, read_confidence, read_ensemble
from dinoseg.model.settings import ModelSettings
from dinoseg.outputs import is_claimed, list_runs, refuse_foreign, write_json

FORMAT = 1  # of the model folder
TRAINING_CASES = "training_cases.json"  # what the training cases are known again by
_MODEL = "model"  # its name in a run folder


def store_postprocessing(run: Path | str, settings: PostprocessingSettings | None) -> None:
    """Keep the steps that were chosen for the masks of a run's model, in its config.json.

    Those of an ensemble are kept in its ensemble.json.

    Raises:
        RunError: the folder is no run, or its config.json is damaged.
        OutputError: config.json cannot be written, or somebody changed it since.
    """
    path = refuse_changed_model(run)
    if path.name == ENSEMBLE:
        read_ensemble(path.parent)
    else:
        read_description(path)
    described = json.loads(path.read_text(encoding="utf-8"))
    described["postprocessing"] = None if settings is None else settings.model_dump()
    write_json(path, described, overwrite=True)


def refuse_changed_model(run: Path | str) -> Path:
    """The config.json of a run's model, or the ensemble.json, which must be as dinoseg wrote it.

    A run of an older version, without a list of its files, is taken as it is.

    Raises:
        RunError: the folder is no run.
        OutputError: somebody changed config.json.
    """
    folder = Path(run)
    path = folder / ENSEMBLE if is_ensemble(folder) else find_model_folder(folder) / "config.json"
    if is_claimed(path):
        refuse_foreign([path])
    return path


def locate_backbone(name: str, run: Path) -> str:
    """Path of a backbone that is recorded relative to its run folder (`./…`), else the name itself."""
    return str(run / name) if name.startswith("./") else name


def find_run_folder(path: Path) -> Path:
    """The run folder that was named itself, or by its `model/`."""
    return path.parent if path.name == _MODEL and not (path / _MODEL).is_dir() else path


def find_model_folder(run: Path) -> Path:
    """The folder of a run that holds its model, or the folder itself.

    Raises:
        RunError: there is none.
    """
    for folder in (run / _MODEL, run):
        if (folder / "config.json").is_file() and (folder / "decoder.safetensors").is_file():
            return folder
    refuse_folder_of_runs(run)
    raise RunError(
        f"{run} holds no model (model/config.json); make one with `dinoseg train DATA --out {run}`"
    )


def refuse_folder_of_runs(folder: Path) -> None:
    """Raise `RunError`, which names one, where a folder is no run and holds some."""
    if runs := list_runs(folder):
        raise RunError(f"{folder} holds {len(runs)} runs and is none itself; name one of them: {runs[0]}")


@dataclass(frozen=True)
class Description:
    """What config.json of a model folder says: settings, which backbone they belong to, what was seen."""

    settings: ModelSettings
    identity: str
    normalisation: tuple[list[float], list[float]]
    postprocessing: PostprocessingSettings | None
    seen: Profile | None = None
    calibration: ConfidenceSettings | None = None


def require_method(described: Any, path: Path) -> None:
    """Raise `RunError`, with the way to get it, where the method of a described model is not known here."""
    method = described["settings"]["decoder"]["method"]
    if method in METHODS:
        return
    if problem := METHODS.find_problems().get(method):
        raise RunError(f"{path} needs what is broken here: {problem}")
    fix = "upgrade with pip install -U dinoseg"
    if "method_package" in described:  # no method of ours
        fix = "call dinoseg.methods.register(card) first, or install a package that offers it"
        if package := described["method_package"]:
            fix = f"install the package that it came with: pip install {_read_package(package)}"
    raise RunError(f"{path} needs method {method!r}, and here are {', '.join(METHODS)}; {fix}")


def read_description(path: Path) -> Description:
    """What the config.json of a model folder says.

    Raises:
        RunError: it is damaged, of a newer dinoseg, or of a method that is not known here.
    """
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        version = described["format"]
        if version != FORMAT:
            raise RunError(
                f"{path} has format {version}, this dinoseg reads {FORMAT}; "
                "upgrade with pip install -U dinoseg"
            )
        require_method(described, path)
        settings = from_yaml(ModelSettings, json.dumps(described["settings"], ensure_ascii=False))
        backbone = described["backbone"]
        # Models of older versions do not say: they computed in float32.
        settings = override(settings, {"backbone.precision": backbone.get("precision", "float32")})
        cleaning = described.get("postprocessing")
        seen = described.get("seen")
        return Description(
            settings=settings,
            identity=str(backbone["digest"]),
            normalisation=(backbone["mean"], backbone["std"]),
            postprocessing=None if cleaning is None else _read_postprocessing(cleaning, settings),
            seen=None if seen is None else Profile.read(seen),
            calibration=read_confidence(described),
        )
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it or train again") from error


def read_training_cases(folder: Path) -> TrainingCases | None:
    """What a model folder keeps of its training cases; None for models of older versions, and imported ones.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / TRAINING_CASES
    if not path.is_file():
        return None
    try:
        return TrainingCases.read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it or train again") from error


def _read_package(name: Any) -> str:
    """The name of a package, which is nothing but a name."""
    if not re.fullmatch(r"[\w.-]+", str(name)):
        raise ValueError(f"method_package is {name!r}")
    return str(name)


def _read_postprocessing(described: Any, settings: ModelSettings) -> PostprocessingSettings:
    found = from_yaml(PostprocessingSettings, json.dumps(described))
    if foreign := sorted(set(found.classes) - set(settings.classes)):
        raise ConfigError(f"postprocessing of the classes {foreign}, which the model does not have")
    return found
