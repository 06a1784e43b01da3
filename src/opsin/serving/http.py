"""The HTTP side: routes, and our errors as answers. The only file that knows the web framework."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from opsin.core.version import version
from opsin.serving.docs import docs_page
from opsin.serving.guard import PATH, REQUEST_ID, Guard
from opsin.serving.handler import ModelInfo, Service
from opsin.serving.hosts import Hosts
from opsin.serving.line import Outcome, Ticket
from opsin.serving.metrics import CONTENT_TYPE, Metrics
from opsin.serving.refusal import ClientGone, Refusal, internal_error, not_ready
from opsin.serving.schema import (
    ErrorAnswer,
    ModelAnswer,
    PredictAnswer,
    StateAnswer,
    error_answer,
    model_answer,
    predict_answer,
)
from opsin.serving.uploads import InFlight, disconnected, read_upload

_PAGE = Path(__file__).with_name("page")
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_BINARY = {"type": "string", "format": "binary"}
_PREDICT_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": _BINARY},
                "description": "one file, in a field of any name",
            }
        },
        "image/*": {"schema": {**_BINARY, "description": "the picture's bytes as they are"}},
    },
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorAnswer, "description": text}
    for code, text in {
        400: "The body is empty or malformed",
        408: "The request was not complete in time",
        413: "Too many bytes or too many pixels",
        415: "Not a picture of a kind that is read",
        422: "The picture is truncated, too small or damaged, or a parameter is wrong",
        429: "Too many requests wait; see Retry-After",
        500: "The model answered with something that is not a number",
        503: "No worker is ready, or it was lost; see Retry-After",
    }.items()
}


def create_app(service: Service, *, hosts: Hosts) -> Guard:
    """The ASGI application for a service that was (or will be) started by somebody else."""
    in_flight = InFlight(service.limits.in_flight_bytes)
    metrics = Metrics(service, in_flight)
    app = FastAPI(
        title="Opsin",
        version=version(),
        description="A model in service: send a picture, get the probability of each class.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    _answer_errors(app)
    _serve_page(app)

    @app.post(
        "/predict",
        summary="Predict one picture",
        response_description="The prediction",
        responses=_ERRORS,
        openapi_extra={"requestBody": _PREDICT_BODY},
    )
    async def predict(
        request: Request,
        top: Annotated[
            int | None,
            Query(ge=1, le=100_000, description="how many classes to answer; all if absent"),
        ] = None,
    ) -> PredictAnswer:
        """JPEG, PNG, WebP, GIF, BMP or TIFF, as a form's file or as the bytes themselves."""
        service.check_room()
        with in_flight.hold() as take:
            upload = await read_upload(request.scope, request.receive, service.limits, take)
            ticket = service.submit(upload.data, upload.name)
            outcome = await _answer_or_leave(service, ticket, request)
        metrics.predicted(outcome.timings_ms)
        return predict_answer(
            outcome, _info(service), request_id=request.scope[REQUEST_ID], top=top
        )

    @app.get(
        "/model",
        summary="The model in service, its classes and limits",
        response_description="The model",
    )
    async def model() -> ModelAnswer:
        return model_answer(_info(service), service.limits)

    @app.head("/live", include_in_schema=False)
    @app.get("/live", summary="Is the server running?", response_description="It is")
    async def live() -> StateAnswer:
        return StateAnswer(status="live")

    @app.head("/ready", include_in_schema=False)
    @app.get(
        "/ready",
        summary="Is a worker ready that gave the recorded answers to the golden samples?",
        response_description="There is",
        responses={503: {"model": ErrorAnswer, "description": "No worker is ready"}},
    )
    async def ready() -> StateAnswer:
        if not service.ready:
            raise not_ready()
        return StateAnswer(status="ready")

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_description="Text format",
        response_class=Response,
    )
    async def prometheus() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    known = {getattr(route, "path", "") for route in app.routes}

    async def named(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] in known:
            scope[PATH] = scope["path"]
        await app(scope, receive, send)

    return Guard(named, hosts=hosts, metrics=metrics)


def _info(service: Service) -> ModelInfo:
    if service.info is None:
        raise not_ready()
    return service.info


async def _answer_or_leave(service: Service, ticket: Ticket, request: Request) -> Outcome:
    """The prediction, or `ClientGone` as soon as nobody waits for it any more."""
    answer = asyncio.wrap_future(ticket.future)
    gone = asyncio.ensure_future(disconnected(request.receive))
    try:
        waiting: set[asyncio.Future[Any]] = {answer, gone}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientGone
        return await answer
    finally:
        gone.cancel()
        if not answer.done():
            service.cancel(ticket)


def _answer_errors(app: FastAPI) -> None:
    async def refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        headers = {}
        if error.retry_after_s is not None:
            headers["retry-after"] = str(error.retry_after_s)
        return _error(request, error, headers)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return _error(
            request,
            Refusal(f"{field}: {first['msg']}", status=422, code="invalid", field=field),
        )

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, message = {
            404: ("not_found", "there is nothing at this path"),
            405: ("method_not_allowed", "this path does not take that method; see Allow"),
        }.get(error.status_code, ("refused", str(error.detail)))
        return _error(
            request,
            Refusal(message, status=error.status_code, code=code),
            dict(error.headers or {}),
        )

    async def bug(request: Request, error: Exception) -> Response:
        return _error(request, internal_error())

    app.add_exception_handler(Refusal, refusal)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, bug)


def _error(
    request: Request, refusal: Refusal, headers: dict[str, str] | None = None
) -> JSONResponse:
    answer = error_answer(refusal, request.scope.get(REQUEST_ID, ""))
    return JSONResponse(answer.model_dump(), status_code=refusal.status, headers=headers)


def _serve_page(app: FastAPI) -> None:
    for path, (name, kind) in _FILES.items():
        app.add_route(path, _file(_PAGE / name, kind), methods=["GET"], include_in_schema=False)


def _file(path: Path, kind: str) -> Any:
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return answer
