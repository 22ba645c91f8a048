"""Volumes as folders of slices and back: images/, masks/ and volumes.json, which remembers the grids.

A slice is a PNG of 8 or 16 bits: value = low + step × pixel, with `low` and `step` of each volume and
channel in volumes.json. Integers keep their exact values where their range fits the bits; floats are
rounded to a 65535th of their range; a window cuts off what lies outside.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.data.case import IGNORE_ID
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.cases.volumes import (
    VolumeCase,
    read_volume_case,
    summarise_doubts,
    take_label_slice,
)
from dinoseg.data.conversion.raw_folders import VOLUME_ENDING, RawWriter, name_channels
from dinoseg.data.images import write_mask
from dinoseg.data.labels.declarations import write_declaration
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.volumes import (
    Geometry,
    LabelVolume,
    Plane,
    Volume,
    find_orientation,
    stack_slices,
    take_slice,
)
from dinoseg.data.volumes.forms import NiftiForms
from dinoseg.data.volumes.slices import plane_axis
from dinoseg.errors import DataError, LayoutError, UsageError
from dinoseg.outputs import atomic_path, write_csv, write_json, write_text
from dinoseg.progress import Progress

SIDECAR = "volumes.json"
FORMAT = 1
_ROUNDING = 1e-6
Bits = Literal[8, 16]


@dataclass(frozen=True)
class SliceOptions:
    """How a volume is cut into pictures.

    Attributes:
        plane: of the slices.
        bits: of a pixel.
        window: (centre, width) in the units of the volumes; None keeps the whole range of each.
        channel: which one of several channels; None keeps one or three of them.
    """

    plane: Plane = "axial"
    bits: Bits = 16
    window: tuple[float, float] | None = None
    channel: int | None = None


@dataclass(frozen=True)
class StoredVolume:
    """What volumes.json says about one volume.

    Attributes:
        shape: (D, H, W) in the file's orientation.
        affine: (4, 4) of (d, h, w).
        spacing_known: whether the voxel size was measured.
        dtype: of the voxels before.
        lows: value of pixel 0, per channel.
        steps: difference of neighbouring pixel values, per channel.
        plane: of the slices.
        group: patient.
        split: "train", "val", "test" or None.
        forms: how the NIfTI file said where its voxels lie; None for other files.
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    spacing_known: bool
    dtype: str
    lows: tuple[float, ...]
    steps: tuple[float, ...]
    plane: Plane
    group: str
    split: str | None
    forms: NiftiForms | None = None

    @property
    def geometry(self) -> Geometry:
        """Grid in the file's orientation."""
        return Geometry(self.shape, np.array(self.affine), self.spacing_known, forms=self.forms)


def write_slices(dataset: Dataset, root: Path, options: SliceOptions, progress: Progress) -> tuple[str, ...]:
    """Write every slice of every volume as PNG, masks as class ids, and what the way back needs.

    Returns:
        Lines that a person should see, for example where values were rounded.

    Raises:
        UsageError: two, or more than three, channels and none is chosen; or three of 16 bits.
    """
    volumes: dict[str, StoredVolume] = {}
    rows: list[dict[str, str]] = []
    lists: dict[str, list[str]] = defaultdict(list)
    rounded: list[float] = []
    doubts: dict[str, str] = {}
    for files in progress.track(dataset.cases, total=len(dataset.cases), label="Converting"):
        case = read_volume_case(files, dataset.labels)
        image = _choose_channel(case.image, options)
        doubts[case.id] = image.geometry.placement_doubt
        stored = _measure(image, files, options)
        rounded += [step / 2 for step in stored.steps if not _is_exact(image, step)]
        names = _write_volume(root, case, image, stored, options)
        volumes[case.id] = stored
        rows += [{"case": name, "group": case.group} for name in names]
        if files.split:
            lists[files.split] += names
    write_folder_texts(dataset, root, rows, lists)
    content = {name: asdict(volume) for name, volume in volumes.items()}
    channels = _name_kept(dataset, options, next(iter(volumes.values())))
    write_json(root / SIDECAR, {"format": FORMAT, "channel_names": channels, "volumes": content})
    notes = [f"values are rounded to within {max(rounded):.3g}"] if rounded else []
    if options.window:
        notes.append("values outside the window are cut to its ends")
    return (*notes, *summarise_doubts(doubts))


def restore_volumes(dataset: Dataset, root: Path, progress: Progress) -> None:
    """Put slices back together as volumes on their own grids, in nnU-Net's raw layout.

    Raises:
        LayoutError: a slice is missing, or volumes.json is damaged.
        DataError: a slice was resized.
    """
    sidecar = read_sidecar(dataset.root)
    slices = _assign(dataset, sidecar.volumes)
    writer = RawWriter(root, dataset)
    for name in progress.track(sidecar.volumes, total=len(sidecar.volumes), label="Converting"):
        stored = sidecar.volumes[name]
        writer.add_volume(_restore(name, stored, slices[name], dataset), slices[name][0].split)
    writer.finish(sidecar.channel_names, VOLUME_ENDING)


@dataclass(frozen=True)
class Sidecar:
    """The content of volumes.json."""

    channel_names: tuple[str, ...]
    volumes: Mapping[str, StoredVolume]


def read_sidecar(root: Path) -> Sidecar:
    """Read volumes.json.

    Raises:
        LayoutError: it is no such file.
    """
    path = root / SIDECAR
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise LayoutError(f"{path} has format {content['format']}, this dinoseg reads {FORMAT}")
        volumes = {name: _parse(value) for name, value in content["volumes"].items()}
        for stored in volumes.values():
            _ = stored.geometry
        return Sidecar(tuple(content["channel_names"]), volumes)
    except (OSError, ValueError, KeyError, TypeError, DataError) as error:
        raise LayoutError(f"{path} cannot be read ({error}); convert the volumes again") from error


def _parse(value: Mapping[str, Any]) -> StoredVolume:
    lists = {key: tuple(value[key]) for key in ("shape", "lows", "steps")}
    stated = value.get("forms")
    forms = stated and NiftiForms(**{key: _freeze(item) for key, item in stated.items()})
    return StoredVolume(**{**value, **lists, "affine": _freeze(value["affine"]), "forms": forms or None})


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value


def _choose_channel(image: Volume, options: SliceOptions) -> Volume:
    if options.channel is not None:
        if not 0 <= options.channel < image.channels:
            raise UsageError(f"{image.source} has {image.channels} channels, given channel {options.channel}")
        chosen = image.array[options.channel : options.channel + 1]
        return Volume(chosen, image.geometry, image.source, image.id)
    if image.channels not in (1, 3) or (image.channels == 3 and options.bits == 16):
        raise UsageError(
            f"{image.source} has {image.channels} channels; a PNG holds one, or three of 8 bits: "
            "choose one with --channel (from 0)" + (", or --bits 8" if image.channels == 3 else "")
        )
    return image


def _measure(image: Volume, files: CaseFiles, options: SliceOptions) -> StoredVolume:
    top = 2**options.bits - 1
    lows, steps = [], []
    for channel in image.array:
        low, high = float(channel.min()), float(channel.max())
        if options.window:
            centre, width = options.window
            low, step = centre - width / 2, width / top
        elif image.array.dtype.kind in "iu" and high - low <= top:
            step = 1 / max(top // max(int(high - low), 1), 1)
        else:
            step = (high - low) / top or 1.0
        lows.append(low)
        steps.append(step)
    geometry = image.geometry
    return StoredVolume(
        shape=geometry.shape,
        affine=tuple(tuple(row) for row in geometry.affine.tolist()),
        spacing_known=geometry.spacing_known,
        dtype=image.array.dtype.name,
        lows=tuple(lows),
        steps=tuple(steps),
        plane=options.plane,
        group=files.group,
        split=files.split,
        forms=geometry.forms,
    )


def _is_exact(image: Volume, step: float) -> bool:
    return image.array.dtype.kind in "iu" and step <= 1 and abs(1 / step - round(1 / step)) < _ROUNDING


def _write_volume(
    root: Path, case: VolumeCase, image: Volume, stored: StoredVolume, options: SliceOptions
) -> list[str]:
    orientation = case.orientation
    upright = orientation.apply(image)
    label = None if case.label is None else orientation.apply(case.label)
    names = []
    for index in range(upright.geometry.shape[plane_axis(options.plane)]):
        name = f"{case.id}_{index:04d}"
        raw = take_slice(upright, index, plane=options.plane)  # (C, H, W)
        _write_png(root / "images" / f"{name}.png", _to_pixels(raw, stored, options.bits))
        if label is not None:
            write_mask(root / "masks" / f"{name}.png", take_label_slice(label, index, plane=options.plane))
        names.append(name)
    return names


def _to_pixels(raw: NDArray[Any], stored: StoredVolume, bits: Bits) -> NDArray[Any]:
    """(C, H, W) in the units of the volume to pixels (H, W) or (H, W, 3)."""
    top = 2**bits - 1
    dtype = np.uint8 if bits == 8 else np.uint16
    planes = [
        np.rint((channel.astype(np.float64) - low) / step).clip(0, top).astype(dtype)
        for channel, low, step in zip(raw, stored.lows, stored.steps, strict=True)
    ]
    return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)


def _write_png(path: Path, pixels: NDArray[Any]) -> None:
    with atomic_path(path) as temporary:
        PillowImage.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG")


def write_folder_texts(
    dataset: Dataset, root: Path, rows: Sequence[Mapping[str, str]], lists: Mapping[str, Sequence[str]]
) -> None:
    """Write groups.csv, splits/*.txt and dataset.yaml beside images/ and masks/ with class ids.

    Args:
        dataset: gives the classes and regions.
        root: the folder.
        rows: case and group of every image.
        lists: split -> names, in order.
    """
    write_csv(root / "groups.csv", rows)
    for split, names in lists.items():
        write_text(root / "splits" / f"{split}.txt", "\n".join(names) + "\n")
    ignore = None if dataset.labels.ignore is None else IGNORE_ID
    write_declaration(root, dataset.classes, ignore=ignore, regions=dataset.regions)


def _name_kept(dataset: Dataset, options: SliceOptions, stored: StoredVolume) -> list[str]:
    if options.channel is not None and options.channel < len(dataset.channel_names):
        return [dataset.channel_names[options.channel]]
    return list(name_channels(dataset.channel_names, len(stored.lows)))


def _assign(dataset: Dataset, volumes: Mapping[str, StoredVolume]) -> dict[str, list[CaseFiles]]:
    """Slices of each volume, in order.

    Raises:
        LayoutError: one is missing or belongs to no volume.
    """
    found = {case.id: case for case in dataset.cases}
    slices = {
        name: [f"{name}_{index:04d}" for index in range(_count_upright(stored))]
        for name, stored in volumes.items()
    }
    expected = {name for names in slices.values() for name in names}
    missing, extra = sorted(expected - found.keys()), sorted(found.keys() - expected)
    if missing or extra:
        what = f"has no slice {missing[0]}" if missing else f"holds {extra[0]}, which is of no volume"
        raise LayoutError(f"{dataset.root} {what} of {SIDECAR}; restore the folder, or convert again")
    return {name: [found[item] for item in names] for name, names in slices.items()}


def _count_upright(stored: StoredVolume) -> int:
    axes = find_orientation(stored.geometry).axes
    return stored.shape[axes[plane_axis(stored.plane)]]


def _restore(name: str, stored: StoredVolume, slices: Sequence[CaseFiles], dataset: Dataset) -> VolumeCase:
    orientation = find_orientation(stored.geometry)
    axes = orientation.axes
    shape = (stored.shape[axes[0]], stored.shape[axes[1]], stored.shape[axes[2]])
    source = slices[0].image
    try:
        channels = [
            stack_slices(_read_values(slices, stored, number), plane=stored.plane, shape=shape)
            for number in range(len(stored.lows))
        ]
        labels = (dataset.labels.read(item.label) for item in slices if item.label is not None)
        ids = stack_slices(labels, plane=stored.plane, shape=shape)
    except UsageError as error:
        raise DataError(f"{name}: {error}; slices keep the size of their volume") from error
    empty = np.broadcast_to(np.uint8(0), stored.shape)  # takes no memory
    upright = orientation.apply(LabelVolume(empty, stored.geometry, source, name)).geometry
    image = orientation.undo(Volume(np.stack(channels), upright, source, name))
    label = orientation.undo(LabelVolume(ids, upright, source, name))
    return VolumeCase(name, image, label, stored.group, source)


def _read_values(slices: Sequence[CaseFiles], stored: StoredVolume, channel: int) -> Iterator[NDArray[Any]]:
    """Slices (H, W) of one channel in the units and the type of the volume."""
    dtype = np.dtype(stored.dtype)
    for item in slices:
        with PillowImage.open(item.image) as picture:
            pixels = np.asarray(picture)
        plane = pixels[..., channel] if pixels.ndim == 3 else pixels
        values = plane.astype(np.float64) * stored.steps[channel] + stored.lows[channel]
        yield np.rint(values).astype(dtype) if dtype.kind in "iu" else values.astype(dtype)
