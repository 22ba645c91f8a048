"""The protocol of MONAI Label: 3D Slicer and OHIF ask here, as they ask its own server.

Addresses, parameters and answers are those of its version 0.8.5; paths of this machine are in no answer.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ValidationError

from dinoseg import __version__
from dinoseg.model.network import refuse_other_size
from dinoseg.serving.job_routes import find_output, wait_for
from dinoseg.serving.jobs import Job, hide_folder
from dinoseg.serving.models import Served, list_classes
from dinoseg.serving.monai_train import list_trainers, measure_trainings
from dinoseg.serving.refusals import Refusal, list_refusals, word_invalid
from dinoseg.serving.scratch import remove_folder
from dinoseg.serving.security import is_token
from dinoseg.serving.service import Service, TheService
from dinoseg.serving.studies import Datastore
from dinoseg.serving.uploads import Upload, accept_source, accept_stored, take_upload
from dinoseg.serving.viewer_masks import FLIPS, MaskRequest, MaskWishes, pack_parts, segment_for_viewer

router = APIRouter(tags=["MONAI Label"])

Output = Literal["image", "json", "all", "dicom_seg"]
T = TypeVar("T", bound=BaseModel)

LEARNER = "teaching"  # the name of what is being taught among the models
_PATIENCE = 2  # times the limit of a job that a viewer waits: others may be before it
_LINES = 300
_MASKS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "facts and mask, or what `output` says",
        "content": {
            "multipart/form-data": {"schema": {"type": "object"}},
            "application/json": {"schema": {"type": "object"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/dicom": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    **list_refusals(404, 408, 413, 422, 429, 500, 503),
}


@router.get("/info/", responses=list_refusals())
def tell_app(service: TheService) -> dict[str, Any]:
    """Models, strategies, and how many images have labels."""
    store = service.datastore
    return {
        "name": "dinoseg",
        "description": "Medical image segmentation on frozen DINO backbones. Not a medical device.",
        "version": __version__,
        "labels": [*merge_classes(service)],
        "models": {
            **describe_learner(service),
            **{each.name: describe_model(each) for each in service.models},
        },
        "trainers": list_trainers(service),
        "strategies": {name: {"description": text} for name, text in list_strategies(store).items()},
        "scoring": {},
        "train_stats": measure_trainings(service),
        "datastore": {} if store is None else count_labels(store),
    }


def describe_model(served: Served) -> dict[str, Any]:
    """A model as viewers list it."""
    told = served.describe()
    return {
        "type": "segmentation",
        "labels": {each.name: each.id for each in told.classes},
        "dimension": 3 if told.volumes else 2,
        "description": f"{told.method} on {told.backbone}",
        "config": {"flips": [*FLIPS], "window": 0},
    }


def describe_learner(service: Service) -> dict[str, Any]:
    """What a project says by now, as a model that viewers can ask; none where no project is open."""
    if service.teaching is None:
        return {}
    return {
        LEARNER: {
            "type": "segmentation",
            "labels": merge_classes(service),
            "dimension": 3 if any(subject.is_volume for subject in service.teaching.subjects) else 2,
            "description": "what was learned so far from strokes and labels",
            "config": {},
        }
    }


def merge_classes(service: Service) -> dict[str, int]:
    """Name -> id in labels that are saved: those of the first model, and what others add to them."""
    if service.datastore is not None and service.datastore.classes is not None:
        return {**service.datastore.classes}
    ids: dict[str, int] = {}
    for served in service.models:
        for each in list_classes(served.network.settings.classes):
            if each.name not in ids:
                ids[each.name] = each.id if each.id not in ids.values() else max(ids.values()) + 1
    return ids


def list_strategies(store: Datastore | None) -> dict[str, str]:
    """Name -> what it does."""
    return {} if store is None else {**store.strategies}


def count_labels(store: Datastore) -> dict[str, Any]:
    """How many studies there are, have a final label, and have labels by tag."""
    tags: dict[str, int] = {}
    studies = store.list_studies()
    for study in studies:
        for tag in store.list_tags(study):
            tags[tag] = tags.get(tag, 0) + 1
    return {
        "total": len(studies),
        "completed": tags.get("final", 0),
        "label_tags": tags,
        "problems": [*store.problems],
    }


@router.post("/infer/{model}", responses=_MASKS, response_class=Response)
async def infer(
    service: TheService,
    model: str,
    image: Annotated[str, Query(description="id of an image of the datastore")] = "",
    session_id: Annotated[str, Query(description="a session that holds the image")] = "",
    output: Annotated[Output, Query()] = "all",
    params: Annotated[str, Form(description="JSON; see MaskWishes")] = "{}",
    file: Annotated[UploadFile | None, File(description="the image itself")] = None,
) -> Response:
    """Segment an image of the datastore, of a session, or one that is sent."""
    service.jobs.refuse_full()
    wishes = read_params(params, MaskWishes)
    if model == LEARNER and service.teaching is not None:
        job = await run_in_threadpool(_begin_learner, service, wishes, image, output)
    else:
        served = service.models.find(model)
        begin = partial(_begin, service, served, wishes, image=image, session=session_id, output=output)
        job = await run_in_threadpool(begin, file=file)
    if not await wait_for(job, service.options.job_seconds * _PATIENCE):
        service.jobs.cancel(job.id)
        raise Refusal(503, "others were before this image for too long; try again", retry_after=60)
    try:
        return await run_in_threadpool(_answer, service, job, output)
    finally:
        if job.is_final:
            service.jobs.cancel(job.id)  # what it wrote is in the answer


def _begin(
    service: Service,
    served: Served,
    wishes: MaskWishes,
    *,
    image: str,
    session: str,
    output: Output,
    file: UploadFile | None,
) -> Job:
    study = service.require_datastore().find(image) if not (file or session) else None
    how = wishes.to_inference(None if study is None else study.series)
    refuse_other_size(served.network, how)
    folder = service.scratch.make()
    try:
        limits: Any = {"network": served.network, "how": how, "options": service.options}
        if file is not None:
            upload = take_upload([(file.filename or "upload.nii.gz", file.file)], folder, **limits)
        elif study is not None:
            upload = accept_source(study.source, study.name, **limits)
        else:
            found = service.sessions.find(session)
            upload = accept_stored(found.place, found.name, **limits)
        _refuse_kind(upload, wishes, output)
        request = MaskRequest(served, upload, how, wishes, as_dicom=output == "dicom_seg")
        return service.jobs.submit("predict", partial(segment_for_viewer, request, folder), folder=folder)
    except BaseException:
        remove_folder(folder)
        raise


def _begin_learner(service: Service, wishes: MaskWishes, image: str, output: Output) -> Job:
    from dinoseg.serving.taught import Taught  # loads torch

    store = service.require_datastore()
    if not image or output == "dicom_seg" or not isinstance(store, Taught):
        raise Refusal(422, f"{LEARNER} answers for images of the project, with a mask; name one by its id")
    study, folder = store.find(image), service.scratch.make()
    try:
        return service.jobs.submit("predict", partial(store.segment, study, wishes, folder), folder=folder)
    except BaseException:
        remove_folder(folder)
        raise


def _refuse_kind(upload: Upload, wishes: MaskWishes, output: Output) -> None:
    if not upload.is_volume and (wishes.result_extension or output == "dicom_seg"):
        raise Refusal(422, f"{upload.name} is an image, and its mask a PNG; leave result_extension out")


def _answer(service: Service, job: Job, output: Output) -> Response:
    if job.answer.state != "done":
        told = job.answer.error or f"the job was {job.answer.state}"
        root = None if service.datastore is None else service.datastore.root
        raise Refusal(422, hide_folder(told, root))
    result: Any = job.answer.result
    if output == "json":
        return JSONResponse(result["params"])
    path = find_output(job, result["file"])
    name, content = f"{job.id[:8]}-{path.name}", path.read_bytes()
    if output == "all":
        body, kind = pack_parts(result["params"], name, content)
        return Response(body, media_type=kind)
    kind = "application/dicom" if output == "dicom_seg" else "application/octet-stream"
    return Response(content, media_type=kind, headers=_attach(name))


def _attach(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def read_params(text: str, model: type[T]) -> T:
    """The `params` of a form.

    Raises:
        Refusal: 422.
    """
    try:
        return model.model_validate_json(text or "{}")
    except ValidationError as error:
        raise Refusal(422, f"params: {word_invalid(error.errors())}") from error


@router.post("/activelearning/{strategy}", responses=list_refusals(404, 422))
def choose_sample(service: TheService, strategy: str) -> dict[str, Any]:
    """The next image to label; nothing where all have a label."""
    store = service.require_datastore()
    if strategy not in store.strategies:
        raise Refusal(
            404, f"the strategy {strategy[:80]!r} is unknown; there are {', '.join(store.strategies)}"
        )
    study = store.choose_next(strategy)
    return {} if study is None else {"id": study.id, "name": study.name, "strategy": strategy}


@router.put("/session/", responses=list_refusals(408, 413, 422))
def create_session(
    service: TheService,
    files: Annotated[list[UploadFile], File(description="an image, a volume, or the files of a series")],
    expiry: Annotated[int, Query(ge=0, description="seconds that it is kept unused; 0 for an hour")] = 0,
) -> dict[str, Any]:
    """Send an image once, to ask about it several times."""
    session = service.sessions.add([(file.filename or "upload", file.file) for file in files], expiry)
    return {"session_id": session.id, "session_info": session.describe()}


@router.get("/session/{session_id}", responses=list_refusals(404, 422))
def tell_session(service: TheService, session_id: str) -> dict[str, Any]:
    """A session that is still there."""
    return service.sessions.find(session_id).describe()


@router.delete("/session/{session_id}", responses=list_refusals(404, 422))
def remove_session(service: TheService, session_id: str) -> dict[str, Any]:
    """Forget a session and its image."""
    return service.sessions.remove(session_id).describe()


@router.get("/logs/", response_class=PlainTextResponse, responses=list_refusals(422))
def tell_logs(service: TheService, lines: Annotated[int, Query(ge=1, le=10_000)] = _LINES) -> Response:
    """One line for each job that is known, the newest last."""
    answers = [job.answer for job in service.jobs.list()][-lines:]
    told = (f"{each.id} {each.kind} {each.state} {each.error or each.message or ''}" for each in answers)
    return PlainTextResponse("".join(f"{line.rstrip()}\n" for line in told))


@router.get("/auth/", responses=list_refusals())
def tell_auth(service: TheService) -> dict[str, Any]:
    """Whether a viewer has to ask for the token; open to all."""
    return {"enabled": service.options.token is not None, "client_id": None, "realm": None}


@router.post("/auth/token", responses=list_refusals(422))
def give_token(
    service: TheService,
    password: Annotated[str, Form(description="the token of the server")],
) -> dict[str, str | None]:
    """What a viewer sends from then on, for the token typed as a password; open to all."""
    token = service.options.token
    if token is None:
        return {"access_token": None, "token_type": None}
    if not is_token(password, token):
        raise Refusal(401, "the password is wrong; it is the token that the server was started with")
    return {"access_token": token, "token_type": "Bearer"}


@router.get("/auth/token/valid", responses=list_refusals())
def check_token() -> dict[str, str]:
    """Answer where the token of the request is right, or none is needed."""
    return {"username": "dinoseg"}
