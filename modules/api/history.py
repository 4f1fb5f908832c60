"""The pictures of the History tab. The page names them by number only, so no path comes from outside."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse, Response

from modules.gallery.folder import MEDIA_TYPES
from modules.gallery.history import History
from modules.gallery.thumbnails import MEDIA_TYPE, Thumbnails, as_png

FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
"""A number never means another picture, and a changed file gets a new one."""


Number = Annotated[int, Path(ge=1, lt=2**63)]


def router(history: History, thumbnails: Thumbnails) -> APIRouter:
    """The routes for the page, which are not part of the API."""
    routes = APIRouter(prefix="/history", include_in_schema=False)

    @routes.get("/thumbnails/{picture_id}")
    def thumbnail(picture_id: Number) -> Response:
        return Response(thumbnails.get(history.file(picture_id)), media_type=MEDIA_TYPE, headers=FOR_EVER)

    @routes.get("/pictures/{picture_id}")
    def picture(picture_id: Number) -> FileResponse:
        file = history.file(picture_id)
        return FileResponse(file, media_type=MEDIA_TYPES[file.suffix.lower()], headers=FOR_EVER)

    @routes.get("/shown/{picture_id}")
    def shown(picture_id: Number) -> Response:
        file = history.file(picture_id)
        if MEDIA_TYPES[file.suffix.lower()] != "image/tiff":
            return picture(picture_id)
        return Response(as_png(file), media_type="image/png", headers=FOR_EVER)

    return routes
