"""dataset.yaml: what a person declares about a data set.

classes: {0: background, 1: polyp}
values: {0: 0, 255: 1}        # or colours: {"#000000": 0, "#ff0000": 1}
threshold: 128                # instead of values: from 128 up is class 1
ignore: 7                     # or [4, 5]: what nobody decided: counts in no loss and no score
palette: indices              # or colours: how palette files are read, where that cannot be told
merge: union                  # several masks of one image become one; or {_MA: 1, _EX: 2}, class by name
regions: {whole: [1, 2]}      # unions of classes, by id, that are scored as well
axes: xyz                     # order of the axes of HDF5 files; zyx (slices first) where nothing is said
names: {Liver: 1, hepar: 1}   # segments of DICOM SEG or structures of RTSTRUCT -> class ids; 0 leaves out
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from dinoseg.data.case import IGNORE_ID
from dinoseg.data.images import PaletteReading
from dinoseg.data.labels.mapping import LabelMapping, keep_ids
from dinoseg.data.labels.named_files import find_named
from dinoseg.data.labels.parts import Merge
from dinoseg.errors import LabelError
from dinoseg.outputs import write_text

FILE_NAME = "dataset.yaml"
FILE_NAMES = (FILE_NAME, "dataset.yml")
_KEYS = ("classes", "values", "threshold", "ignore", "regions", "palette", "merge", "axes", "names", "masks")
_DRAWN = ("upright", "stored")
_PALETTES: tuple[PaletteReading, ...] = ("indices", "colours")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Declaration:
    """The content of dataset.yaml, or of nnU-Net's dataset.json; empty where there is neither.

    Attributes:
        classes: class id -> name, ids from 0 without a hole; empty if not declared.
        labels: the declared mapping of mask values, or None.
        channel_names: what the channels of the images are ("CT", "T1"); empty if not declared.
        regions: name -> the class ids whose union it is, where a data set scores unions.
        palette: how palette files are read, or None.
        merge: how several masks of one image are joined, or None.
        axes: order of the axes of HDF5 files, or "" where nothing is said.
        names: name of a segment or structure in DICOM labels -> class id; 0 leaves it out.
        stored: masks were drawn on the pixels as stored, before the EXIF orientation of their image.
    """

    classes: Mapping[int, str] = field(default_factory=dict)
    labels: LabelMapping | None = None
    channel_names: tuple[str, ...] = ()
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    palette: PaletteReading | None = None
    merge: Merge | None = None
    axes: str = ""
    names: Mapping[str, int] = field(default_factory=dict)
    stored: bool = False


def read_declaration(folder: Path) -> Declaration:
    """Read dataset.yaml (or .yml, upper or lower case) of `folder`, if there is one.

    Raises:
        LabelError: the file is not YAML, or holds other keys or values than it may.
        LayoutError: there are two of them.
    """
    path = find_named(folder, *FILE_NAMES)
    if path is None:
        return Declaration()
    content = _load(path)
    unknown = [str(key) for key in content if key not in _KEYS]
    if unknown:
        raise LabelError(f"{path} has the unknown key {unknown[0]!r}; accepted are {', '.join(_KEYS)}")
    classes = _read_classes(content.get("classes", {}), path)
    labels = _add_ignore(_read_labels(content, path), content, classes, path)
    palette = _read_palette(content, labels, path)
    if labels and classes and labels.class_count > len(classes):
        raise LabelError(
            f"{path} maps a value to class {labels.class_count - 1}, but names {len(classes)} classes"
        )
    return Declaration(
        classes,
        replace(labels, palette=palette) if labels and palette else labels,
        regions=_read_regions(content.get("regions", {}), classes, path),
        palette=palette,
        merge=_read_merge(content.get("merge"), classes, path),
        axes=_read_axes(content.get("axes", ""), path),
        names=_read_names(content.get("names", {}), classes, path),
        stored=_read_stored(content.get("masks", "upright"), path),
    )


def write_declaration(
    folder: Path, classes: Mapping[int, str], *, ignore: int | None, regions: Mapping[str, Sequence[int]]
) -> None:
    """Write the dataset.yaml of a folder whose masks hold class ids.

    Args:
        folder: where it goes.
        classes: id -> name.
        ignore: the value of what nobody decided, if there is any.
        regions: name -> class ids; may be empty.

    Raises:
        OutputError: there is one already, or it cannot be written.
    """
    content: dict[str, Any] = {"classes": dict(classes)}
    if ignore is not None:
        content["ignore"] = ignore
    if regions:
        content["regions"] = {name: list(ids) for name, ids in regions.items()}
    write_text(folder / FILE_NAME, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _load(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise LabelError(f"{path} cannot be read as YAML: {reason}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise LabelError(f"{path} must hold `classes: {{0: background, 1: name}}` and, if needed, `values:`")
    return content


def _read_stored(content: Any, path: Path) -> bool:
    if content not in _DRAWN:
        raise LabelError(
            f"{path}: masks must be upright or stored: which pixels of a turned photograph they were drawn on"
        )
    return bool(content == "stored")


def _read_classes(content: Any, path: Path) -> dict[int, str]:
    ids = list(content) if isinstance(content, dict) else []
    names = list(content.values()) if isinstance(content, dict) else []
    plain = all(type(id_) is int for id_ in ids) and all(isinstance(name, str) and name for name in names)
    if content and (not plain or sorted(ids) != list(range(len(ids))) or len(set(names)) < len(names)):
        raise LabelError(
            f"{path}: classes must give ids from 0 without a hole to different names "
            "(quote names such as 'on' or '1'), e.g. `classes: {0: background, 1: polyp}`"
        )
    if len(ids) == 1 or len(ids) > 256:
        raise LabelError(f"{path} names {len(ids)} classes; 2 to 256 are possible, 0 is the background")
    return {id_: content[id_] for id_ in sorted(ids)}


def _read_labels(content: Mapping[Any, Any], path: Path) -> LabelMapping | None:
    if "threshold" in content:
        threshold = content["threshold"]
        if "values" in content or type(threshold) is not int or threshold < 1:
            raise LabelError(f"{path}: threshold is a whole number from 1 up, and stands instead of values")
        return LabelMapping(kind="declared", threshold=threshold, palette="colours")  # grey as it is shown
    if "values" not in content:
        return None
    values = content["values"]
    if not isinstance(values, dict) or not values or not all(_is_id(id_) for id_ in values.values()):
        raise LabelError(f"{path}: values must map mask values to class ids, e.g. `values: {{0: 0, 255: 1}}`")
    colour = any(isinstance(raw, str) for raw in values)
    table = {_read_value(raw, path, colour=colour): id_ for raw, id_ in values.items()}
    palette: PaletteReading = "colours" if colour else "indices"
    return LabelMapping(dict(sorted(table.items())), "declared", colour=colour, palette=palette)


def _add_ignore(
    labels: LabelMapping | None, content: Mapping[Any, Any], classes: Mapping[int, str], path: Path
) -> LabelMapping | None:
    """The mapping with the values to ignore; with `classes` alone, values are ids."""
    given = content.get("ignore")
    if given is None:
        return labels
    known = labels or keep_ids(len(classes), kind="declared")
    if known.threshold is not None:
        raise LabelError(f"{path}: ignore needs `values` that name every class, not `threshold`")
    listed = given if isinstance(given, list) else [given]
    if not listed:
        raise LabelError(f"{path}: ignore is an empty list; give a mask value such as 255, or leave it out")
    ignore = tuple(dict.fromkeys(_read_value(raw, path, colour=known.colour, key="ignore") for raw in listed))
    taken = [raw for raw in ignore if raw in known.table]
    if taken or not known.table:
        reason = f"{taken[0]} is a class as well" if taken else "it stands alone"
        raise LabelError(
            f"{path}: ignore: {given!r}: {reason}; give every other value a class, the background too, "
            f"`values: {_propose_values(ignore)}`"
        )
    if known.class_count > IGNORE_ID:
        raise LabelError(f"{path}: with ignore, {IGNORE_ID} classes are possible, not {known.class_count}")
    return replace(known, table={**known.table, **dict.fromkeys(ignore, IGNORE_ID)}, ignore=ignore)


def _propose_values(ignore: Sequence[int]) -> str:
    """`{1: 0, 2: 1}`: values that are free, the first of them for the background."""
    free = [value for value in range(len(ignore) + 2) if value not in ignore][:2]
    return "{" + ", ".join(f"{value}: {id_}" for id_, value in enumerate(free)) + "}"


def _read_palette(
    content: Mapping[Any, Any], labels: LabelMapping | None, path: Path
) -> PaletteReading | None:
    given = content.get("palette")
    if given is None:
        return None
    if given not in _PALETTES:
        raise LabelError(f"{path}: palette: {given!r}; accepted are {' and '.join(_PALETTES)}")
    if labels and labels.colour and given == "indices":
        raise LabelError(f"{path}: palette: indices does not go with colours under `values`; drop one")
    return _PALETTES[_PALETTES.index(given)]


def _read_merge(given: Any, classes: Mapping[int, str], path: Path) -> Merge | None:
    if given is None:
        return None
    if given == "union":
        return Merge()
    endings = given.items() if isinstance(given, dict) else ()
    if not endings or not all(isinstance(end, str) and end and _is_id(id_) and id_ for end, id_ in endings):
        raise LabelError(
            f"{path}: merge: {given!r}; accepted are `merge: union` and endings with their classes, "
            "`merge: {_MA: 1, _EX: 2}`"
        )
    highest = max(given.values())
    if highest >= (len(classes) or IGNORE_ID):
        raise LabelError(f"{path}: merge gives class {highest}, but {len(classes)} classes are named")
    return Merge(dict(given))


def _read_regions(content: Any, classes: Mapping[int, str], path: Path) -> dict[str, tuple[int, ...]]:
    if not isinstance(content, dict) or not all(isinstance(name, str) and name for name in content):
        raise LabelError(f"{path}: regions must give names to lists of class ids: `regions: {{all: [1, 2]}}`")
    regions: dict[str, tuple[int, ...]] = {}
    for name, ids in content.items():
        known = isinstance(ids, list) and all(type(id_) is int and id_ in classes for id_ in ids)
        if not ids or not known or 0 in ids:
            accepted = f"ids of `classes` from 1 to {len(classes) - 1}" if classes else "with `classes` only"
            raise LabelError(f"{path}: region {name!r} is {ids!r}; accepted is a list of ids, {accepted}")
        regions[name] = tuple(sorted(set(ids)))
        if name in classes.values() and [classes[id_] for id_ in regions[name]] != [name]:
            raise LabelError(f"{path}: region {name!r} has the name of a class; give it another name")
    return regions


def _read_axes(content: Any, path: Path) -> str:
    order = content.lower() if isinstance(content, str) else "?"
    if order and sorted(order.replace("c", "", 1)) != ["x", "y", "z"]:
        raise LabelError(f"{path}: axes is {content!r}; accepted are x, y and z once each, e.g. xyz or zyx")
    return order


def _read_names(content: Any, classes: Mapping[int, str], path: Path) -> dict[str, int]:
    named = isinstance(content, dict) and all(isinstance(name, str) and name for name in content)
    if not named or not all(type(id_) is int and (id_ == 0 or id_ in classes) for id_ in content.values()):
        raise LabelError(
            f"{path}: names must give names of segments or structures to ids of `classes` (0 leaves out), "
            "e.g. `names: {Liver: 1, BODY: 0}`"
        )
    return dict(content)


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255


def _read_value(raw: Any, path: Path, *, colour: bool, key: str = "values") -> int:
    if colour and isinstance(raw, str) and _COLOUR.fullmatch(raw):
        return int(raw[1:], 16)
    if not colour and type(raw) is int and raw >= 0:
        return raw
    raise LabelError(
        f'{path}: {key}: {raw!r} is no mask value; give whole numbers from 0 up, or colours as "#rrggbb"'
    )
