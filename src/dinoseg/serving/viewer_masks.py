"""Masks as viewers want them: a file of their format on the grid of the image, and facts beside it."""

from __future__ import annotations

import gzip
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dinoseg.config import Inference
from dinoseg.data.sources.source import open_case, open_volume
from dinoseg.inference.engine import prepare, segment
from dinoseg.inference.volumes import segment_volume
from dinoseg.serving.jobs import Reporter
from dinoseg.serving.models import Served
from dinoseg.serving.options import WIDEST
from dinoseg.serving.segmenting import OUTPUTS, Reporting
from dinoseg.serving.uploads import Upload

_SEGMENTATION = ".dcm"
_NRRD = ".nrrd"
_MASK = "mask"
FLIPS = ("model", "yes", "no")  # what viewers offer; the first is what the model does by itself
_END_OF_HEADER = b"\n\n"


def _read_flips(given: Any) -> Any:
    """What a viewer says, which may send the whole list that it was offered where nobody chose."""
    chosen = given[0] if isinstance(given, list) and given else given
    return None if chosen == FLIPS[0] else chosen


class MaskWishes(BaseModel):
    """What a viewer says about the answer that it wants; what else it sends is for other servers."""

    model_config = ConfigDict(extra="ignore")

    result_extension: Literal[".nrrd", ".nii.gz", ".nii", ".mha"] | None = None
    result_dtype: Literal["uint8", "uint16"] | None = None
    result_compress: bool | None = None
    flips: Annotated[bool | None, BeforeValidator(_read_flips)] = Field(
        None, description="average over mirrored copies, or not; null, model: as the model does by itself"
    )
    window: int = Field(0, ge=0, le=WIDEST, description="side in px of sliding windows; 0 for none")

    def to_inference(self, series: str | None) -> Inference:
        """How the model is applied."""
        return Inference(window=self.window or None, flips=self.flips, series=series)


@dataclass(frozen=True)
class MaskRequest:
    """What is to be computed, and how the answer is written.

    Attributes:
        served: the model.
        upload: the image or volume.
        how: the model is applied.
        wishes: about the file.
        as_dicom: whether a DICOM SEG is wanted.
    """

    served: Served
    upload: Upload
    how: Inference
    wishes: MaskWishes
    as_dicom: bool = False


def segment_for_viewer(request: MaskRequest, folder: Path, reporter: Reporter) -> Mapping[str, Any]:
    """Predict, and write one file; `file` of the result is its name, `params` what is said beside it.

    Raises:
        DinosegError: it cannot be read, predicted or written.
    """
    started = time.perf_counter()
    out = folder / OUTPUTS
    out.mkdir()
    run = _segment_volume if request.upload.is_volume else _segment_image
    path, mask, warnings = run(request, out, reporter)
    classes = request.served.network.settings.classes
    return describe_mask(path, mask, classes, request.wishes, started=started, warnings=warnings)


def describe_mask(
    path: Path,
    mask: NDArray[np.uint8],
    classes: Mapping[int, str],
    wishes: MaskWishes,
    *,
    started: float,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The result of a job whose mask was written to `path`, which gets the form that a viewer reads.

    Args:
        path: of the mask.
        mask: class ids, in the order of the file's axes.
        classes: id -> name.
        wishes: about the file.
        started: when the work began, on the clock of performance.
        warnings: what is doubtful, one line each.
    """
    if path.suffix == _NRRD:
        path.write_bytes(format_nrrd(path.read_bytes(), wishes))
    params = {
        "label_names": {label: index for index, label in sorted(classes.items()) if index},
        "centroids": find_centroids(mask, classes),
        "latencies": {"total": round(time.perf_counter() - started, 3)},
        "warnings": [*warnings],
    }
    return {"outputs": [path.name], "file": path.name, "params": params}


def _segment_volume(
    request: MaskRequest, out: Path, reporter: Reporter
) -> tuple[Path, NDArray[np.uint8], list[str]]:
    network, how = request.served.network, request.how
    channels = network.settings.preprocessing.channels
    volume = open_volume(request.upload.source, channels=channels, series=how.series)
    found = segment_volume(network, volume, how=how, scratch=out, progress=Reporting(reporter))
    reporter.check()
    suffix = _SEGMENTATION if request.as_dicom else request.wishes.result_extension or ".nii.gz"
    path = out / f"{_MASK}{suffix}"
    found.save(path)
    return path, found.mask, [*found.warnings]


def _segment_image(
    request: MaskRequest, out: Path, reporter: Reporter
) -> tuple[Path, NDArray[np.uint8], list[str]]:
    case = open_case(request.upload.source)
    prepared = prepare(request.served.network, case, request.how)
    (item,) = segment(request.served.network, [prepared], request.how, progress=Reporting(reporter))
    path = out / f"{_MASK}.png"
    item.prediction.save(path)
    return path, item.prediction.mask, []


def find_centroids(mask: NDArray[np.uint8], classes: Mapping[int, str]) -> dict[str, list[str]]:
    """Name -> id and centre in voxels, first axis of the file first, of each class that occurs."""
    centres = {}
    for index, name in classes.items():
        inside = mask == index
        if index and (total := int(np.count_nonzero(inside))):
            axes = range(mask.ndim)
            counts = [inside.sum(axis=tuple(a for a in axes if a != axis)) for axis in reversed(axes)]
            places = [round(float(count @ np.arange(len(count))) / total, 1) for count in counts]
            centres[name] = [str(index), *map(str, places)]
    return centres


def format_nrrd(content: bytes, wishes: MaskWishes) -> bytes:
    """A NRRD of ours with the type of numbers and the compression that a viewer can read."""
    header, _, packed = content.partition(_END_OF_HEADER)
    is_wide = b"type: unsigned short" in header
    voxels = gzip.decompress(packed)
    if wishes.result_dtype == "uint16" and not is_wide:
        header = header.replace(b"type: unsigned char", b"type: unsigned short")
        voxels = np.frombuffer(voxels, np.uint8).astype("<u2").tobytes()
    if wishes.result_compress is False:
        return header.replace(b"encoding: gzip", b"encoding: raw") + _END_OF_HEADER + voxels
    return header + _END_OF_HEADER + gzip.compress(voxels, 6, mtime=0)


def pack_parts(params: Mapping[str, Any], name: str, content: bytes) -> tuple[bytes, str]:
    """A body of multipart/form-data with `params` and `image`, and its content type.

    The names of the headers are written as viewers look for them in the text.
    """
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n',
        "Content-Type: application/json\r\n\r\n",
        f"{json.dumps(params)}\r\n--{boundary}\r\n",
        f'Content-Disposition: form-data; name="image"; filename="{name}"\r\n',
        "Content-Type: application/octet-stream\r\n\r\n",
    ]
    body = "".join(parts).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"
