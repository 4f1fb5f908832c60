"""The pictures of the Train tab: those of the folders in `datasets/`, and the samples of trainings. Names are looked up
among those that are there; no path comes from outside."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse, Response

from modules.errors import NotFound
from modules.gallery.thumbnails import MEDIA_TYPE, Thumbnails
from modules.settings import Settings
from modules.training.folders import Folders

FOR_A_WHILE = {"cache-control": "private, max-age=3600"}


def router(settings: Settings, thumbnails: Thumbnails) -> APIRouter:
    """The routes for the page, which are not part of the API."""
    routes, folders = APIRouter(prefix="/datasets", include_in_schema=False), Folders(settings.datasets_dir)

    @routes.get("/pictures/{folder}/{name}")
    def picture(folder: str, name: str) -> Response:
        return Response(thumbnails.get(folders.picture(folder, name)), media_type=MEDIA_TYPE, headers=FOR_A_WHILE)

    @routes.get("/samples/{name}/{sample}")
    def sample(name: str, sample: Annotated[str, Path(pattern=r"^\d{7}-\d$")]) -> Response:
        path = Folders(settings.trainings_dir).path(name) / f"{sample}.png"
        if not path.is_file():
            raise NotFound("This picture is no longer there.")
        return FileResponse(path, headers=FOR_A_WHILE)

    return routes
