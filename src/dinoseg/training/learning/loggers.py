"""Where a training is logged: Lightning's loggers, each in a folder of its own below logs/ of the run."""

from __future__ import annotations

import logging
import shlex
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from dinoseg.config import to_yaml
from dinoseg.errors import DinosegError, RunError
from dinoseg.model.settings import RunSettings
from dinoseg.outputs import lent, record, write_text
from dinoseg.progress import Progress
from dinoseg.training.learning.guards import explaining_logs

LOGS = "logs"
HPARAMS = TensorBoardLogger.NAME_HPARAMS_FILE
PROJECT = "dinoseg"
RUN_ID = "run.txt"  # by which a resumed run is the same one for W&B and MLflow
LIBRARIES = {"wandb": "W&B", "mlflow": "MLflow"}


@dataclass(frozen=True)
class _Run:
    """What a logger is opened for."""

    root: Path
    settings: RunSettings
    progress: Progress

    @property
    def logs(self) -> Path:
        """Where all loggers write."""
        return self.root / LOGS

    @property
    def values(self) -> dict[str, Any]:
        """The settings as hyperparameters."""
        return self.settings.model_dump(mode="json")


@contextmanager
def logging_to(root: Path, settings: RunSettings, progress: Progress) -> Iterator[list[Logger]]:
    """The loggers that a run asks for, open until the block ends.

    Args:
        root: the run folder.
        settings: of the run; they are logged as hyperparameters.
        progress: told where the logs are, where that is not logs/ of the run.

    Raises:
        OutputError: the disk is full, or the run folder is not writable.
        RunError: W&B or MLflow failed.
    """
    with explaining_logs(root / LOGS), _explaining_libraries(), ExitStack() as stack:
        run = _Run(root, settings, progress)
        yield [stack.enter_context(_OPEN[name](run)) for name in settings.train.logger]


@contextmanager
def _open_tensorboard(run: _Run) -> Iterator[Logger]:
    """The log of TensorBoard, known to be ours from its first byte on."""
    logger = TensorBoardLogger(run.root, name="", version=LOGS, default_hp_metric=False)
    folder = Path(logger.log_dir)
    if not (folder / HPARAMS).is_file():
        write_text(folder / HPARAMS, to_yaml(run.settings))  # where Lightning would write {}, in one move
    before = set(folder.iterdir())
    writer = logger.experiment.file_writer  # creates the file
    for path in set(folder.iterdir()) - before:
        record(path)
    for summary in _summarise(run.values):
        writer.add_summary(summary)
    yield logger


def _summarise(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """The settings for TensorBoard's table of hyperparameters, beside the validation Dice.

    Not by `log_hyperparams`, which has to log a score that is not there yet.
    """
    from torch.utils.tensorboard.summary import hparams

    found: tuple[Any, ...] = hparams(_flatten(values), {"val_dice": 0.0})  # type: ignore[no-untyped-call]
    return found


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str | float | bool]:
    flat: dict[str, str | float | bool] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


@contextmanager
def _open_csv(run: _Run) -> Iterator[Logger]:
    folder = run.logs / "csv"
    with lent(folder):  # a resumed run gets the next version_N: Lightning would begin the table anew
        logger = CSVLogger(run.logs, name=folder.name)
        logger.log_hyperparams(run.values)
        yield logger
        logger.save()


@contextmanager
def _open_wandb(run: _Run) -> Iterator[Logger]:
    folder = run.logs / "wandb"
    identity = _remember(folder / RUN_ID, lambda: uuid.uuid4().hex[:8])
    with lent(folder):
        with _quiet("wandb"):
            opened = _begin_wandb(run, identity)
        try:
            if run.settings.train.wandb_mode == "offline":
                kept = shlex.quote(str(Path(opened.dir).parent))
                run.progress.note(f"W&B keeps the log offline and sends nothing: wandb sync {kept}")
            logger = WandbLogger(experiment=opened)
            logger.log_hyperparams(run.values)
            yield logger
        finally:
            opened.finish()


def _begin_wandb(run: _Run, identity: str | None) -> Any:
    """A run of W&B; Lightning would set an environment variable, and go on with one that is not ours."""
    wandb = import_module("wandb")
    online = run.settings.train.wandb_mode == "online"
    opened = wandb.init(
        project=PROJECT,
        name=run.root.name,
        id=identity,
        dir=run.logs,
        mode="online" if online else "offline",
        resume="allow" if online else None,
        reinit="create_new",
        settings=wandb.Settings(symlink=False, silent=True, console="off"),
    )
    opened.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return opened


@contextmanager
def _open_mlflow(run: _Run) -> Iterator[Logger]:
    folder, address = run.logs / "mlflow", run.settings.train.mlflow_uri
    folder.mkdir(parents=True, exist_ok=True)
    with lent(folder), _keeping_mlflow_address():
        # A new name for a new run: MLflow keeps files open, also those that were deleted by --overwrite.
        file = next(folder.glob("*.db"), folder / f"{uuid.uuid4().hex[:8]}.db")
        store = f"sqlite:///{file.absolute()}"
        with _quiet("mlflow", "alembic", "lightning.pytorch.loggers.mlflow"):
            logger = MLFlowLogger(
                experiment_name=PROJECT,
                run_name=run.root.name,
                tracking_uri=address or store,
                artifact_location=None if address else (folder / "files").absolute().as_uri(),
                run_id=_remember(folder / RUN_ID),
            )
            identity = str(logger.run_id)
        if _remember(folder / RUN_ID) is None:
            logger.log_hyperparams(run.values)  # once: no parameter of a run may change, such as more epochs
            _remember(folder / RUN_ID, lambda: identity)
        if address is None:
            run.progress.note(f"to look at the log: mlflow ui --backend-store-uri {shlex.quote(store)}")
        yield logger


@contextmanager
def _keeping_mlflow_address() -> Iterator[None]:
    """Give back the address that Lightning sets for the whole process."""
    with _quiet("mlflow"):
        mlflow = import_module("mlflow")
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


_OPEN: Mapping[str, Callable[..., Any]] = {
    "tensorboard": _open_tensorboard,
    "csv": _open_csv,
    "wandb": _open_wandb,
    "mlflow": _open_mlflow,
}


def _remember(path: Path, create: Callable[[], str] | None = None) -> str | None:
    """What a file says; the first time what is written to it, if anything is."""
    if not path.is_file():
        if create is None:
            return None
        write_text(path, create() + "\n")
    return path.read_text(encoding="utf-8").strip()


@contextmanager
def _quiet(*libraries: str) -> Iterator[None]:
    """Let libraries wake up without their news and the warnings about what they use themselves."""
    loggers = [logging.getLogger(name) for name in libraries]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _explaining_libraries() -> Iterator[None]:
    """Let a failure of W&B or MLflow be one line."""
    try:
        yield
    except DinosegError:
        raise
    except Exception as error:
        library = LIBRARIES.get(type(error).__module__.partition(".")[0])
        if library is None:
            raise
        reason = " ".join(str(error).split())[:300]
        raise RunError(
            f"{library} failed: {reason}; --resume --set train.logger=none goes on without it"
        ) from error
