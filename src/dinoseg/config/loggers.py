"""Where a training is logged: names of loggers, one or several, or none."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator

LoggerName = Literal["tensorboard", "csv", "wandb", "mlflow"]
NONE = "none"


def read_loggers(value: Any) -> tuple[str, ...]:
    """The names in what was set: a word, several with commas, a list, or none.

    Raises:
        ValueError: it is nothing of these, or a name is unknown or stands twice.
    """
    known = get_args(LoggerName)
    words = value.split(",") if isinstance(value, str) else () if value is None else value
    if not isinstance(words, (list, tuple)):
        raise ValueError(f"give a list of {', '.join(known)}, or {NONE}")
    names = tuple(str(word).strip() for word in words)
    if names == (NONE,):
        return ()
    for name in names:
        if name not in known:
            raise ValueError(f"a logger is one of {', '.join(known)}, or {NONE}, not {name!r}")
    if len(set(names)) < len(names):
        raise ValueError("a logger is named twice")
    return names


def _refuse_password(address: str | None) -> str | None:
    if address is not None and "@" in address.partition("://")[2].partition("/")[0]:
        raise ValueError(
            "name no user or password in the address, which config.yaml records; MLflow reads "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    return address


Loggers = Annotated[tuple[LoggerName, ...], BeforeValidator(read_loggers)]
Address = Annotated[str, AfterValidator(_refuse_password)]
