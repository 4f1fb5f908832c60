"""The FastAPI application: WebUI's endpoints, errors as one sentence of JSON, and the gate in front of everything."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from modules.api import (
    catalog,
    controlnet,
    detail,
    docs,
    extras,
    generation,
    internal,
    interrogate,
    jobs,
    models,
    openai_images,
    options,
    remove,
    scripts,
    steps,
    timetable,
)
from modules.api.gate import Gate, problem
from modules.api.schema import in_webui_words
from modules.engine.engine import Engine
from modules.errors import OUR_FAULT, UserError
from modules.jobs.queue import JobQueue
from modules.settings import Settings
from modules.text.infotext import VERSION

log = logging.getLogger(__name__)

COMPRESSION = 5
"""Of gzip: 9 takes four times as long and saves 2 % more of the page."""


def create_api(engine: Engine, queue: JobQueue, settings: Settings) -> FastAPI:
    """The application with every route of the API. A page may be mounted at "/" afterwards: earlier routes win.

    FastAPI's own page of documentation loads from another host, so /docs is ours.
    """
    app = FastAPI(title="Inpaint WebUI", version=VERSION.rpartition(" ")[2], docs_url=None, redoc_url=None,
                  strict_content_type=False)  # scripts leave it out; who asks from a browser is the gate's concern
    app.include_router(generation.router(engine, queue, settings))
    app.include_router(options.router(engine, queue))
    app.include_router(catalog.router(engine, settings))
    app.include_router(models.router(engine, queue))
    app.include_router(scripts.router(engine))
    app.include_router(extras.router(engine, queue, settings))
    app.include_router(controlnet.router(engine, queue, settings))
    app.include_router(detail.router(engine))
    app.include_router(interrogate.router(engine, queue, settings))
    app.include_router(remove.router(engine, queue, settings))
    app.include_router(internal.router(engine, queue, settings))
    app.include_router(openai_images.router(engine, queue, settings))
    app.include_router(jobs.router(engine, queue, settings))
    app.include_router(steps.router(engine, queue))
    app.include_router(timetable.router(engine))
    app.add_api_route("/docs", lambda: HTMLResponse(docs.page(app.openapi())), include_in_schema=False)
    for room in ("sdapi", "controlnet", "adetailer", "tagger", "internal", "v1"):
        app.add_api_route(f"/{room}/{{path:path}}", _no_endpoint, methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                          include_in_schema=False)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _internal_error)
    app.add_middleware(GZipMiddleware, compresslevel=COMPRESSION)  # neither event streams nor pictures
    app.add_middleware(Gate, settings=settings)
    return app


async def _no_endpoint(request: Request) -> JSONResponse:
    """Where no other route of the API fits. (Else the page, which is mounted at "/", would answer.)"""
    path = request.url.path
    methods = ", ".join(method.upper() for method in request.app.openapi()["paths"].get(path, ()))
    if methods:
        return problem(405, "MethodNotAllowed", f"{path} takes {methods}, not {request.method}.", {"allow": methods})
    return problem(404, "NotFound", f"There is no endpoint {path}; /docs lists them.")


async def _user_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UserError)
    error = in_webui_words(error)
    if request.url.path.startswith("/v1/images/"):
        kind = "server_error" if error.status >= 500 else "invalid_request_error"
        told = {"message": error.message, "type": kind, "param": error.field, "code": type(error).__name__}
        return JSONResponse({"error": told, "detail": error.message}, error.status)
    return problem(error.status, type(error).__name__, error.message)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"][1:])
        if item["type"] == "json_invalid":
            found.append(f"The body is not JSON: {item['ctx']['error']} at character {where}")
        elif item["type"] == "value_error" and not where:
            found.append(str(item["ctx"]["error"]))
        elif not where:
            found.append("The body must be a JSON object, sent as application/json")
        else:
            found.append(f"{where}: {item['msg']}")
    return problem(422, "InvalidInput", "; ".join(found[:10]) + ".")


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, type(error).__name__, str(error.detail), dict(error.headers or {}))


async def _internal_error(request: Request, error: Exception) -> JSONResponse:
    """Starlette raises the error again after this answer, so that the server's log has its traceback."""
    return problem(500, "InternalError", OUR_FAULT)
