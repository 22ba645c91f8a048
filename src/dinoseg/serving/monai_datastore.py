"""The datastore of MONAI Label's protocol: images to open, and labels to save and to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, BackgroundTasks, File, Form, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict

from dinoseg.config import Inference
from dinoseg.data.dicom import read_series
from dinoseg.data.images.decoding import SUFFIXES
from dinoseg.data.sources.source import is_series
from dinoseg.data.volumes import volume_suffix
from dinoseg.data.volumes.nifti import write_grid
from dinoseg.errors import DinosegError
from dinoseg.serving.jobs import hide_folder
from dinoseg.serving.monai_label import count_labels, merge_classes, read_params
from dinoseg.serving.refusals import Refusal, list_refusals, status_of
from dinoseg.serving.scratch import remove_folder
from dinoseg.serving.service import Service, TheService
from dinoseg.serving.studies import FINAL, Datastore, Study, check_tag, refuse_missing
from dinoseg.serving.study_labels import read_study_label
from dinoseg.serving.uploads import INPUT, make_safe, refuse_large, store_files

router = APIRouter(prefix="/datastore", tags=["MONAI Label"])

ImageId = Annotated[str, Query(description="id of the image")]
LabelId = Annotated[str, Query(description="id of its image")]
Tag = Annotated[str, Query(description="of the label; final where nothing is said")]
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the file",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    **list_refusals(404, 422),
}


class SegmentInfo(BaseModel):
    """A segment of a label, by the name that a viewer shows."""

    model_config = ConfigDict(extra="ignore")

    name: str


class LabelParams(BaseModel):
    """What a viewer says about a label that it saves."""

    model_config = ConfigDict(extra="ignore")

    label_info: list[SegmentInfo] = []


@router.get("/", responses=list_refusals(404, 422))
def tell_datastore(
    service: TheService, output: Annotated[Literal["stats", "all", "train"], Query()] = "stats"
) -> dict[str, Any] | list[dict[str, str]]:
    """How many images and labels there are; all of them; or the pairs to train on."""
    store = service.require_datastore()
    if output == "stats":
        return count_labels(store)
    labelled = [(study, store.list_tags(study)) for study in store.list_studies()]
    if output == "train":
        return [{"image": study.id, "label": study.id} for study, tags in labelled if FINAL in tags]
    names = merge_classes(service)
    return {
        "name": store.name,
        "description": "",
        "images_dir": "",
        "labels_dir": "labels",
        "objects": {study.id: _describe(study, tags, names) for study, tags in labelled},
    }


def _describe(study: Study, tags: Sequence[str], names: dict[str, int]) -> dict[str, Any]:
    return {
        "image": {"ext": _suffix_of(study.name), "info": {"name": study.name}},
        "labels": {tag: _describe_label(study, names) for tag in tags},
    }


def _describe_label(study: Study, names: dict[str, int]) -> dict[str, Any]:
    suffix = study.label_suffix
    name = f"{study.id.rpartition('/')[2]}{suffix}"
    return {"ext": suffix, "info": {"name": name, "params": {"label_names": names}}}


def _suffix_of(name: str) -> str:
    return volume_suffix(name) or Path(name).suffix.lower()


@router.head("/image", responses=list_refusals(404, 422))
def check_image(service: TheService, image: ImageId) -> None:
    """Answer where there is such an image."""
    service.require_datastore().find(image)


@router.get("/image", response_class=FileResponse, responses=_FILE)
def give_image(service: TheService, image: ImageId, later: BackgroundTasks) -> FileResponse:
    """An image as its file; a DICOM series as NIfTI."""
    store = service.require_datastore()
    study = store.find(image)
    path = _convert(service, store, study, later) if is_series(study.source) else study.source
    return FileResponse(path, media_type="application/octet-stream", filename=study.name)


def _convert(service: Service, store: Datastore, study: Study, later: BackgroundTasks) -> Path:
    folder = service.scratch.make()
    later.add_task(remove_folder, folder)
    try:
        refuse_large(study.source, service.options, Inference(series=study.series))
        volume = read_series(study.source, series=study.series)
        write_grid(folder / "image.nii.gz", volume.array[0], volume.geometry)
    except DinosegError as error:
        remove_folder(folder)
        raise Refusal(status_of(error), hide_folder(str(error), store.root)) from error
    return folder / "image.nii.gz"


@router.get("/image/info", responses=list_refusals(404, 422))
def tell_image(service: TheService, image: ImageId) -> dict[str, Any]:
    """What is known of an image."""
    study = service.require_datastore().find(image)
    return {"name": study.name, "dimension": 3 if study.is_volume else 2}


@router.put("/", include_in_schema=False)
@router.put("/image", responses=list_refusals(404, 408, 409, 413, 422))
def add_image(
    service: TheService,
    file: Annotated[UploadFile, File(description="an image or a volume")],
    image: Annotated[str, Query(description="id that it gets; that of its file if not given")] = "",
) -> dict[str, str]:
    """Add an image to the folder of the studies; nothing there is replaced."""
    store = service.require_datastore()
    folder = service.scratch.make()
    try:
        (name,) = store_files([(file.filename or "upload", file.file)], folder / INPUT)
        path = folder / INPUT / name
        suffix = _suffix_of(name)
        if not (volume_suffix(name) or suffix in SUFFIXES):
            raise Refusal(
                422, f"{name} is no image or volume; send NIfTI, NRRD, MetaImage, PNG, JPEG or TIFF"
            )
        refuse_large(path, service.options)
        return {"image": store.add(make_safe(image or name.removesuffix(suffix)), path, suffix).id}
    except DinosegError as error:
        raise Refusal(status_of(error), hide_folder(hide_folder(str(error), folder), store.root)) from error
    finally:
        remove_folder(folder)


@router.put("/label", responses=list_refusals(404, 408, 409, 413, 422))
def save_label(
    service: TheService,
    image: ImageId,
    label: Annotated[UploadFile, File(description="a label on the grid of the image")],
    tag: Tag = FINAL,
    params: Annotated[str, Form(description="JSON; see LabelParams")] = "{}",
) -> dict[str, str]:
    """Save the label of an image, over an older one that was saved here."""
    store = service.require_datastore()
    study = store.find(image)
    told = read_params(params, LabelParams)
    folder = service.scratch.make()
    try:
        (name,) = store_files([(label.filename or "label.nii.gz", label.file)], folder / INPUT)
        path = folder / INPUT / name
        refuse_large(path, service.options)
        segments = [each.name for each in told.label_info]
        found = read_study_label(path, study, segments=segments, classes=merge_classes(service))
        store.save(study, found, check_tag(tag or FINAL))
    except DinosegError as error:
        raise Refusal(status_of(error), hide_folder(hide_folder(str(error), folder), store.root)) from error
    finally:
        remove_folder(folder)
    return {"image": study.id, "label": study.id}


def _find_label(service: Service, image: str, tag: str) -> Study:
    store = service.require_datastore()
    study = store.find(image)
    refuse_missing(study, tag, store.list_tags(study))
    return study


@router.head("/label", responses=list_refusals(404, 422))
def check_label(service: TheService, image: ImageId, tag: Tag = FINAL) -> None:
    """Answer where there is such a label."""
    _find_label(service, image, tag)


@router.get("/label", response_class=FileResponse, responses=_FILE)
def give_label(service: TheService, label: LabelId, later: BackgroundTasks, tag: Tag = FINAL) -> FileResponse:
    """A label as its file."""
    study = _find_label(service, label, tag)
    folder = service.scratch.make()
    later.add_task(remove_folder, folder)
    path = service.require_datastore().open_label(study, tag, folder)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.get("/label/info", responses=list_refusals(404, 422))
def tell_label(service: TheService, label: LabelId, tag: Tag = FINAL) -> dict[str, Any]:
    """What is known of a label."""
    study = _find_label(service, label, tag)
    info: dict[str, Any] = _describe_label(study, merge_classes(service))["info"]
    return info
