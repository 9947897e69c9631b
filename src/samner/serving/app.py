"""The application: routes over catalog, batches and jobs. What they take and answer is in ``schemas``."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from samner.data.validation import example_from_fields, to_record
from samner.display import known_names
from samner.entities import EntityType, Example, to_fields
from samner.errors import DataError, SamnerError
from samner.integrations import label_studio
from samner.selection.result import check_count
from samner.serving import errors
from samner.serving.batching import Answers, Batcher, Question
from samner.serving.catalog import Catalog
from samner.serving.errors import ApiError, as_api_error
from samner.serving.guards import Bodies, Crowd, Hosts, Patience, Tokens
from samner.serving.jobs import Job, Jobs
from samner.serving.limits import Limits, too_long
from samner.serving.metrics import Measured, Metrics
from samner.serving.schemas import (
    AdaptRequest,
    ExtractRequest,
    ExtractResponse,
    Health,
    JobAnswer,
    JobList,
    Label,
    Labels,
    ModelAnswer,
    ModelList,
    Overlaps,
    PoolAnswer,
    Problem,
)
from samner.task_model import STRATEGIES, TaskModel, modes

log = logging.getLogger(__name__)

_VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NDJSON = "application/x-ndjson"

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No token, or a wrong one, where the server wants one."},
    408: {"model": Problem, "description": "The body did not come in time."},
    413: {"model": Problem, "description": "The body is too long."},
    422: {"model": Problem, "description": "The request is not valid, or asks for too much."},
    429: {"model": Problem, "description": "Too much is under way; Retry-After says when to try again."},
}
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "There is none of that name."}}
_LATE: dict[int | str, dict[str, Any]] = {504: {"model": Problem, "description": "There was no answer in time."}}


def create_app(
    catalog: Catalog,
    limits: Limits | None = None,
    *,
    tokens: Iterable[str] = (),
    hosts: Iterable[str] = (),
    page: bool = False,
) -> FastAPI:
    """Make the application.

    Args:
        catalog: What is served.
        limits: How much is taken.
        tokens: One of them is asked for; if there are none, everyone is let in.
        hosts: The names by which it is asked; if there are none, any.
        page: Whether there is a page at ``/``; needs Gradio.
    """
    limits = limits or Limits()
    metrics = Metrics()
    batcher, jobs = Batcher(metrics), Jobs(catalog, metrics, limits.jobs)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.gather(asyncio.to_thread(jobs.close), asyncio.to_thread(batcher.close))

    app = FastAPI(
        title="samner",
        summary="Entities of a domain nobody labelled.",
        version=version("samner"),
        lifespan=lifespan,
        docs_url=None,  # what shows it would be loaded from elsewhere
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    errors.install(app)
    service = _Service(catalog, limits, batcher, jobs)
    app.include_router(_api(service))
    if catalog.models:  # Label Studio knows these paths itself
        paths = label_studio.router(catalog.models, service.annotate)
        app.include_router(paths, prefix="/label-studio", include_in_schema=False)
    _operations(app, metrics, batcher, jobs)
    if page:
        from samner.serving.page import mount

        # what is mounted at / answers for every path that is left, which is not to be so for those of programs
        for path in ("v1", "label-studio", "health", "metrics"):
            for below in ("", "/{path:path}"):
                app.add_api_route(f"/{path}{below}", _nothing, methods=list(_VERBS), include_in_schema=False)
        mount(app, catalog, limits, batcher, jobs)
    app.state.patience = Patience(limits.body_seconds)
    app.add_middleware(Bodies, limits=limits, patience=app.state.patience)
    app.add_middleware(Crowd, limits=limits)
    if tokens := tuple(tokens):
        app.add_middleware(Tokens, tokens=tokens)
    if hosts := tuple(hosts):
        app.add_middleware(Hosts, hosts=hosts)
    app.add_middleware(Measured, metrics=metrics)
    return app


async def _no_other_parameters(request: Request) -> None:
    if not request.url.path.startswith("/v1/"):  # what watches a server may add its own
        return
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    if unknown := [name for name in request.query_params if name not in known]:
        there = f"there are {', '.join(known)}" if known else "this path takes none"
        raise ApiError(422, f"there is no such parameter in a query; {there}", unknown[0])


async def _nothing() -> None:
    raise ApiError(404, "there is nothing at this path, or it takes other methods; see /openapi.json")


def _api(service: _Service) -> APIRouter:
    # for the description alone: tokens are looked at before any route is
    bearer = HTTPBearer(auto_error=False, description="Where the server was started with tokens: one of them.")
    app = APIRouter(dependencies=[Depends(bearer), Depends(_no_other_parameters)])

    @app.post(
        "/v1/extract",
        tags=["extract"],
        summary="Find the entities of some texts",
        response_model=ExtractResponse,
        responses=_PROBLEMS | _UNKNOWN | _LATE,
    )
    async def extract(request: Request, asked: ExtractRequest) -> Response:
        service.check_texts(asked.texts)
        name, question = service.question(asked.model, asked.labels, asked.threshold, asked.mode, asked.overlaps)
        found: Answers = []
        async for _, part in service.answers(question, asked.texts):
            found += part
            if await request.is_disconnected():
                break
        results = [
            {"entities": [to_fields(entity, text) for entity in entities]}
            for text, entities in zip(asked.texts, found, strict=False)
        ]
        return JSONResponse({"model": name, "results": results})

    @app.post(
        "/v1/extract/stream",
        tags=["extract"],
        summary="Find the entities of many texts, a line each",
        description="JSON Lines in (objects with a `text`, of which everything else is kept, or strings), JSON Lines "
        "out, as `samner extract` writes them: in the same order, as soon as they are there. All lines are checked "
        "before the first is answered. If something goes wrong later, the last line is an object with an `error`.",
        response_class=StreamingResponse,
        responses={200: {"content": {NDJSON: {"example": _STREAMED}}}} | _PROBLEMS | _UNKNOWN,
        openapi_extra={
            "requestBody": {"required": True, "content": {NDJSON: {"schema": {"type": "string"}, "example": _LINES}}}
        },
    )
    async def stream(
        request: Request,
        model: Annotated[str | None, Query(description="Its name; the first of /v1/models by default.")] = None,
        label: Annotated[
            list[str] | None,
            Query(
                description="A type to look for: `name` or `name: description`; may be repeated. By default those "
                "that the model was adapted to.",
                examples=[["disease", "drug: a medicine"]],
            ),
        ] = None,
        threshold: Annotated[float | None, Query(gt=0, lt=1, description="Score from which an entity counts.")] = None,
        overlaps: Annotated[Overlaps, Query(description="Which entities may overlap.")] = "flat",
        mode: Annotated[str | None, Query(description="Another way to unite the parts of the model.")] = None,
    ) -> Response:
        examples = _examples(await request.body(), service.limits)
        parts = [one.partition(": ") for one in label or ()]
        labels: Labels | None = [Label(name=name.strip(), description=said.strip()) for name, _, said in parts] or None
        _, question = service.question(model, labels, threshold, mode, overlaps, field="label")
        return StreamingResponse(_lines(service, question, examples), media_type=NDJSON)

    @app.post(
        "/v1/adapt",
        tags=["adapt"],
        summary="Adapt a pool to a domain, as a job",
        description="The experts that fit the texts are selected and merged; nothing is trained. Once the job is "
        "done, the model answers under its name, as long as it is kept.",
        status_code=HTTPStatus.ACCEPTED,
        response_model=JobAnswer,
        responses=_PROBLEMS | _UNKNOWN | {409: {"model": Problem, "description": "The name is taken."}},
    )
    async def adapt(asked: AdaptRequest, response: Response) -> dict[str, Any]:
        job = service.adapt(asked)
        response.headers["Location"] = f"/v1/adapt/{job.id}"
        return service.shown(job)

    @app.get("/v1/adapt", tags=["adapt"], summary="List jobs", response_model=JobList)
    async def adaptations() -> dict[str, Any]:
        return {"jobs": [service.shown(job) | {"result": None} for job in service.jobs.all()]}

    @app.get(
        "/v1/adapt/{id}", tags=["adapt"], summary="How far a job is", response_model=JobAnswer, responses=_UNKNOWN
    )
    async def adaptation(id: str) -> dict[str, Any]:
        return service.shown(service.jobs.get(id))

    @app.delete(
        "/v1/adapt/{id}",
        tags=["adapt"],
        summary="Cancel a job, or drop its model",
        description="A job that runs ends before its next step.",
        response_model=JobAnswer,
        responses=_UNKNOWN,
    )
    async def cancel(id: str) -> dict[str, Any]:
        return service.shown(service.jobs.cancel(id))

    @app.get("/v1/models", tags=["models"], summary="What can be asked and adapted", response_model=ModelList)
    async def models() -> dict[str, Any]:
        return service.models()

    return app


def _operations(app: FastAPI, metrics: Metrics, batcher: Batcher, jobs: Jobs) -> None:
    @app.get("/health/live", tags=["operations"], summary="The process answers", response_model=Health)
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @app.get(
        "/health/ready",
        tags=["operations"],
        summary="Requests are taken",
        response_model=Health,
        responses={503: {"model": Problem, "description": "Not now."}},
    )
    async def ready() -> dict[str, str]:
        if not (batcher.alive and jobs.alive):
            raise ApiError(503, "the server is stopping, or a thread of it has ended")
        return {"status": "ready"}

    for path, answer in (("/health/live", live), ("/health/ready", ready)):  # some probes ask for the head alone
        app.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)

    @app.get("/metrics", tags=["operations"], summary="For Prometheus", response_class=Response)
    async def metrics_page() -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)


class _Service:
    """What routes share: from what was asked to what the models are asked, within the limits."""

    def __init__(self, catalog: Catalog, limits: Limits, batcher: Batcher, jobs: Jobs) -> None:
        self.catalog = catalog
        self.limits = limits
        self.batcher = batcher
        self.jobs = jobs

    def check_texts(self, texts: Sequence[str], field: str = "texts") -> None:
        if len(texts) > self.limits.texts:
            raise ApiError(422, f"there are {len(texts)} texts, more than {self.limits.texts}", field)
        if (characters := sum(map(len, texts))) > self.limits.characters:
            raise ApiError(422, f"the texts have {characters:,} characters, over {self.limits.characters:,}", field)
        for place, text in enumerate(texts):
            if said := too_long(text, self.limits):
                raise ApiError(422, said, f"{field}[{place}]")

    def check_labels(self, count: int, field: str) -> None:
        if not 1 <= count <= self.limits.labels:
            raise ApiError(422, f"give 1 to {self.limits.labels} labels, not {count}", field)

    def types(self, labels: Labels, field: str = "labels") -> tuple[EntityType, ...]:
        self.check_labels(len(labels), field)
        types: dict[str, EntityType] = {}
        for place, label in enumerate(labels):
            try:
                one = EntityType(label) if isinstance(label, str) else EntityType(label.name, label.description)
            except SamnerError as error:
                raise ApiError(422, str(error), f"{field}[{place}]") from error
            if one.name in types:
                raise ApiError(422, f"the label {one.name!r} is given twice", f"{field}[{place}]")
            types[one.name] = one
        return tuple(types.values())

    def question(
        self,
        model: str | None,
        labels: Labels | None,
        threshold: float | None,
        mode: str | None,
        overlaps: str,
        *,
        field: str = "labels",
    ) -> tuple[str, Question]:
        name, found = self.catalog.model(model)
        types = found.types if labels is None else self.types(labels, field)
        if mode is not None and mode not in _held(found):
            raise ApiError(422, f"{name} can be asked in the modes {', '.join(_held(found))}, not {mode!r}", "mode")
        own = {label.name.strip(): label.threshold for label in labels or () if isinstance(label, Label)}
        scores = ((one.name, own.get(one.name) or threshold) for one in types)
        thresholds = tuple((name, score) for name, score in scores if score is not None)
        counted = name if name in self.catalog.models else "adapted"
        return name, Question(counted, found, types, thresholds, mode or found.mode, overlaps)

    async def answers(self, question: Question, texts: Sequence[str]) -> AsyncIterator[tuple[int, Answers]]:
        """The answers part by part, each with the place of its first text; each part is waited for in turn."""
        until = time.monotonic() + self.limits.seconds
        for start, end in self.batcher.parts(texts):
            try:
                future = self.batcher.submit(question, texts[start:end])
                left = until - time.monotonic()
                yield start, await asyncio.wait_for(asyncio.wrap_future(future), max(left, 0))
            except TimeoutError as error:
                raise ApiError(
                    504, f"no answer within {self.limits.seconds:g} s; send fewer texts at a time"
                ) from error

    async def annotate(self, name: str, texts: Sequence[str], types: Sequence[EntityType]) -> Answers:
        """The answers to the tasks of Label Studio."""
        _, model = self.catalog.model(name)
        self.check_texts(texts, "tasks")
        if tuple(types) != model.types:
            self.check_labels(len(types), "label_config")
        question = Question(name, model, tuple(types), (), model.mode)
        return [found async for _, part in self.answers(question, texts) for found in part]

    def adapt(self, asked: AdaptRequest) -> Job:
        self.check_texts(asked.texts)
        if not any(text.strip() for text in asked.texts):
            raise ApiError(422, "at least one text must not be blank", "texts")
        types = self.types(asked.labels)
        for place, label in enumerate(asked.labels):
            if isinstance(label, Label) and label.threshold is not None:
                raise ApiError(422, "thresholds of labels are given when texts are read", f"labels[{place}].threshold")
        if asked.mode not in modes():
            raise ApiError(422, f"unknown mode {asked.mode!r}; known are {', '.join(modes())}", "mode")
        try:
            check_count(asked.experts)
        except SamnerError as error:
            raise ApiError(422, str(error), "experts") from error
        name, pool = self.catalog.pool(asked.pool)
        experts = pool.experts
        for place, expert in enumerate(asked.exclude):
            if expert not in experts:
                there = known_names(expert, experts)
                raise ApiError(422, f"{name} has no expert {expert!r}; it has: {there}", f"exclude[{place}]")
        options = {key: getattr(asked, key) for key in ("mode", "experts", "samples", "seed", "exclude", "threshold")}
        return self.jobs.submit(asked.name, name, asked.texts, types, options)

    def shown(self, job: Job) -> dict[str, Any]:
        fields = ("id", "model", "pool", "status", "step", "error", "created", "seconds", "result")
        return {name: getattr(job, name) for name in fields} | {"kept": self.catalog.keeps(job.model, job.made)}

    def models(self) -> dict[str, Any]:
        found = []
        for name in self.catalog.names():
            try:
                model = self.catalog.peek(name)
            except KeyError:  # dropped since
                continue
            found.append(
                ModelAnswer(
                    name=name,
                    labels=[Label.model_construct(name=t.name, description=t.description) for t in model.types],
                    mode=model.mode,
                    modes=_held(model),
                    threshold=model.threshold,
                    experts={part: list(merge.experts) for part, merge in model.merges.items()},
                    adapted=name not in self.catalog.models,
                    warnings=list(model.warnings),
                )
            )
        pools = [PoolAnswer(name=name, experts=list(pool.names)) for name, pool in self.catalog.pools.items()]
        return {"models": found, "pools": pools}


def _held(model: TaskModel) -> list[str]:
    """The modes in which a model can be asked."""
    both = ["union", "intersection"] if all(name in model.merges for name in STRATEGIES) else []
    return [*both, *model.merges]


def _examples(body: bytes, limits: Limits) -> list[Example]:
    """The lines of a stream.

    Raises:
        ApiError: If one is no text; it names the line.
    """
    examples = []
    for number, line in enumerate(body.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if isinstance(record, str):
                record = {"text": record}
            if not isinstance(record, dict) or "text" not in record:
                raise DataError('must be an object with a "text", or a string')
            meta = {key: value for key, value in record.items() if key not in ("text", "entities")}
            example = example_from_fields(record["text"], None, meta)
            if long := too_long(example.text, limits):
                raise DataError(long)
        except (DataError, ValueError, RecursionError) as error:
            said = str(error) if isinstance(error, DataError) else f"is no JSON ({error})"
            raise ApiError(422, said, f"line {number}") from error
        examples.append(example)
    if not examples:
        raise ApiError(422, "there are no lines; send an object with a text in each")
    return examples


async def _lines(service: _Service, question: Question, examples: Sequence[Example]) -> AsyncIterator[str]:
    try:
        for start, end in service.batcher.parts([example.text for example in examples]):
            part = examples[start:end]
            async for _, answers in service.answers(question, [example.text for example in part]):
                for example, entities in zip(part, answers, strict=True):
                    record = to_record(Example(example.text, tuple(entities), example.meta))
                    yield json.dumps(record, ensure_ascii=False) + "\n"
    except Exception as error:  # the status was sent
        if not isinstance(error, (ApiError, SamnerError)):
            log.exception("a stream failed")
        yield json.dumps(as_api_error(error).body(), ensure_ascii=False) + "\n"


_LINES = '{"text": "Aspirin relieves headache.", "id": 7}\n{"text": "Nothing here.", "id": 8}\n'
_STREAMED = (
    '{"text": "Aspirin relieves headache.", "entities": [{"start": 0, "end": 7, "label": "drug", "text": "Aspirin", '
    '"score": 0.93, "found_by": ["similarity"]}], "id": 7}\n{"text": "Nothing here.", "entities": [], "id": 8}\n'
)
