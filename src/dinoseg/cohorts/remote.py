"""Scans and masks in an object store: a few files at a time are fetched, segmented here, and sent.

Any place that fsspec knows will do: s3://, gs://, az://, memory://. Nothing of the store stays on this
machine but what is under way, and what is finished is on record in the store before the next are fetched.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dinoseg.cohorts.places import PLACE
from dinoseg.config import Inference
from dinoseg.data.sources.source import guess_kind
from dinoseg.errors import LayoutError, OutputError, UsageError
from dinoseg.inference import predict_files
from dinoseg.inference.files.shard import ALL, Shard
from dinoseg.inference.results.report import PredictionReport, describe_settings
from dinoseg.model.network import Network
from dinoseg.outputs import digest_json, to_plain
from dinoseg.progress import Progress, Silent

AT_ONCE = 32  # files that are on this machine at one time, or one series
PARTS = "predictions.parts"
LINES = "predictions.jsonl"
_CHANNEL = re.compile(r"_\d{4}(?=\.)")
_HEADERS = re.compile(r"\.(mhd|nhdr|raw|zraw|raw\.gz)$", re.IGNORECASE)


@dataclass(frozen=True)
class RemoteReport:
    """What came of a call.

    Attributes:
        out: address of the folder that holds everything written.
        done: files that were segmented now.
        skipped: files that were there already.
        failures: source -> reason.
        seconds: of the call.
    """

    out: str
    done: int
    skipped: int
    failures: Mapping[str, str]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 when every file was done, 3 when some could not be read."""
        return 3 if self.failures else 0

    def describe(self) -> dict[str, Any]:
        """For programs."""
        failures = [{"source": source, "reason": reason} for source, reason in self.failures.items()]
        counts = {"done": self.done, "skipped": self.skipped, "failed": len(self.failures)}
        return {"counts": counts, "failures": failures, "seconds": round(self.seconds, 3)}


def predict_remote(
    model: Network,
    sources: Sequence[Path | str],
    out: Path | str,
    *,
    how: Inference,
    overlays: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    shard: Shard = ALL,
    progress: Progress | None = None,
) -> RemoteReport:
    """Segment files of a store, or into a store, as `predict_files` does in folders.

    `out` gets masks, overlays and probabilities, `predictions.parts/` with the lines of what is finished, and
    in the end `predictions.jsonl` with all of them.

    Args:
        model: loaded.
        sources: addresses of files and folders, and paths of this machine.
        out: an address or a folder.
        how: it is applied.
        overlays: also write pictures.
        resume: leave out files that were finished with the same model and settings, and are what they were.
        overwrite: replace what an earlier call wrote.
        shard: only this share of the files.
        progress: counts the files.

    Raises:
        UsageError: fsspec, or what it needs for this kind of store, is not installed.
        LayoutError: there is nothing to do.
        OutputError: the place holds something already, or cannot be written.
    """
    started, shown, store = time.monotonic(), progress or Silent(), _Store.open(out)
    units = shard.take(_list_units(sources))
    if not units:
        raise LayoutError(
            f"{', '.join(map(str, sources))}: no image and no volume; name a folder that has some"
        )
    made = {"model": dict(model.describe()), "how": str(how), "settings": describe_settings(how, model)}
    origin = digest_json(to_plain(made))
    earlier = list(store.read_rows())
    if earlier and not (resume or overwrite):
        raise OutputError(f"{store.address} holds predictions already; add --resume to go on, or --overwrite")
    known = {row["source"]: row for row in earlier if row.get("made_with") == origin} if resume else {}
    left = [unit for unit in units if not all(_is_done(file, known) for file in unit)]
    skipped = len(units) - len(left)
    writer = _Writer(store, origin, replaceable={name for row in earlier for name in row.get("outputs", ())})
    chunks = list(_chunk(left))
    failures: dict[str, str] = {}
    done = 0
    for chunk in shown.track(chunks, total=len(chunks), label="predict"):
        rows = writer.take(model, chunk, how, overlays=overlays)
        failed = {row["source"]: row["error"] for row in rows if "error" in row}
        for source, reason in failed.items():
            shown.note(f"{source}: {reason}")
        failures |= failed
        done += len(rows) - len(failed)
    store.join_rows(shard)
    return RemoteReport(store.address, done, skipped, failures, time.monotonic() - started)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a store: where it is, its name below the folder that was given, and its version there."""

    store: Any
    path: str
    name: str
    address: str

    @property
    def version(self) -> str:
        """Changes when the file does."""
        return str(self.store.ukey(self.path))


Unit = tuple[RemoteFile, ...]  # files that are one image, volume or series


def _is_done(file: RemoteFile, known: Mapping[str, Mapping[str, Any]]) -> bool:
    row = known.get(file.address)
    return row is not None and "error" not in row and row.get("version") == file.version


def _list_units(sources: Sequence[Path | str]) -> list[Unit]:
    """What belongs together: a DICOM series, the files of a volume, or one image; all else is left out."""
    units: dict[tuple[str, str], list[RemoteFile]] = {}
    for source in sources:
        for file in sorted(_list_files(source), key=lambda file: file.name):
            kind, path = guess_kind(file.name), PurePosixPath(file.name)
            if kind == "series":
                units.setdefault((str(source), f"{path.parent}/"), []).append(file)
            elif kind:
                name = _CHANNEL.sub("", file.name)
                whole = _HEADERS.sub("", name)  # a header and its data go together
                units.setdefault((str(source), whole), []).append(file)
    return [tuple(unit) for unit in units.values()]


def _list_files(source: Path | str) -> Iterator[RemoteFile]:
    store, root = _connect(source)
    paths = store.find(root) if store.isdir(root) else [root]
    base = root.rstrip("/") if store.isdir(root) else root.rpartition("/")[0]
    for path in paths:
        name = path[len(base) :].lstrip("/")
        if not any(part.startswith(".") for part in name.split("/")):
            yield RemoteFile(store, path, name, str(store.unstrip_protocol(path)))


def _connect(place: Path | str) -> tuple[Any, str]:
    """The store of an address and the path within it; a place of this machine is a store as well."""
    found = PLACE.fullmatch(str(place))
    address = f"{found['scheme']}://{found['rest']}" if found else str(Path(place).absolute())
    try:
        import fsspec

        store, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise UsageError(f"{address} needs a package that is not here: {error}") from error
    except ValueError as error:
        raise UsageError(f"{address} is no place that fsspec knows: {error}") from error
    return store, str(path)


def _chunk(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    chunk: list[Unit] = []
    for unit in units:
        if chunk and sum(map(len, chunk)) + len(unit) > AT_ONCE:
            yield chunk
            chunk = []
        chunk.append(unit)
    if chunk:
        yield chunk


@dataclass(frozen=True)
class _Store:
    """Where everything is written."""

    files: Any
    root: str
    address: str

    @classmethod
    def open(cls, out: Path | str) -> _Store:
        files, root = _connect(out)
        return cls(files, root.rstrip("/"), str(files.unstrip_protocol(root.rstrip("/"))))

    def read_rows(self) -> Iterator[dict[str, Any]]:
        """Those of all calls; what was written last counts."""
        places = [f"{self.root}/{LINES}"] if self.files.exists(f"{self.root}/{LINES}") else []
        if self.files.exists(f"{self.root}/{PARTS}"):
            places += sorted(self.files.find(f"{self.root}/{PARTS}"))
        for place in places:
            for line in self.files.cat_file(place).decode("utf-8").splitlines():
                yield json.loads(line)

    def write(self, name: str, content: bytes) -> None:
        """One file in one move: a store does that by itself, a folder is helped."""
        path = f"{self.root}/{name}"
        try:
            self.files.makedirs(path.rpartition("/")[0], exist_ok=True)
            if "file" not in self.files.protocol:
                self.files.pipe_file(path, content)
                return
            self.files.pipe_file(f"{path}.part", content)
            self.files.mv(f"{path}.part", path)
        except OSError as error:
            raise OutputError(f"{self.address}/{name} could not be written ({error})") from error

    def join_rows(self, shard: Shard) -> None:
        """All lines in one file; of a share, its lines stay parts."""
        if shard.count > 1:
            return
        latest = {row["source"]: row for row in self.read_rows()}
        self.write(LINES, "".join(f"{json.dumps(row)}\n" for row in latest.values()).encode("utf-8"))


@dataclass(frozen=True)
class _Writer:
    """Fetches, segments and sends; what is there and not ours stays."""

    store: _Store
    origin: str
    replaceable: set[str]

    def take(
        self, model: Network, units: Sequence[Unit], how: Inference, *, overlays: bool
    ) -> list[dict[str, Any]]:
        """Rows of the files of some units, on record in the store."""
        versions = {file.address: file.version for unit in units for file in unit}
        with tempfile.TemporaryDirectory(prefix="dinoseg-remote-") as place:
            fetched = _fetch(units, Path(place) / "in")
            report = predict_files(model, Path(place) / "in", Path(place) / "out", how=how, overlays=overlays)
            outputs = sorted(_list_outputs(report))
            self._refuse(outputs)
            for name in outputs:
                self.store.write(name, (Path(place) / "out" / name).read_bytes())
            rows = list(_list_rows(report, fetched, versions))
        rows = [{**row, "made_with": self.origin} for row in rows]
        text = "".join(f"{json.dumps(to_plain(row))}\n" for row in rows)
        self.store.write(f"{PARTS}/{digest_json(sorted(versions))[:20]}.jsonl", text.encode("utf-8"))
        return rows

    def _refuse(self, outputs: Sequence[str]) -> None:
        for name in outputs:
            if name not in self.replaceable and self.store.files.exists(f"{self.store.root}/{name}"):
                raise OutputError(
                    f"{self.store.address}/{name} was not written by dinoseg; choose another --out, or "
                    "move it away"
                )


def _fetch(units: Sequence[Unit], folder: Path) -> dict[str, list[str]]:
    """Copy the files below `folder`; path of each there, and of the folder it is in -> addresses."""
    fetched: dict[str, list[str]] = {}
    for unit in units:
        for file in unit:
            target = folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            file.store.get_file(file.path, str(target))
            fetched.setdefault(str(target), []).append(file.address)
            fetched.setdefault(str(target.parent), []).append(file.address)
            for other in unit:  # a channel stands for all of its volume
                if other is not file:
                    fetched[str(target)].append(other.address)
    return fetched


def _list_outputs(report: PredictionReport) -> Iterator[str]:
    for file in report.files:
        for path in (file.mask, file.overlay, file.probabilities, file.uncertainty, file.description):
            if path is not None:
                yield path.relative_to(report.out).as_posix()


def _list_rows(
    report: PredictionReport, fetched: Mapping[str, Sequence[str]], versions: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """A row for each file of the store; those of one volume share what was made of it."""
    described = report.describe()
    names = ("mask", "overlay", "probabilities", "uncertainty", "description")
    for row in described["files"]:
        outputs = [row[name] for name in names if name in row]
        for address in dict.fromkeys(fetched.get(row["source"], ())):
            yield {**row, "source": address, "version": versions[address], "outputs": outputs}
    for failure in described["failures"]:
        for address in dict.fromkeys(fetched.get(failure["source"], [failure["source"]])):
            yield {"source": address, "version": versions.get(address, ""), "error": failure["reason"]}
