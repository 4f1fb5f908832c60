"""The previews of the page's cards. The page names a card by its digest, so no path comes from outside."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from modules.engine.cards import Cards
from modules.gallery.thumbnails import MEDIA_TYPE, Thumbnails

FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
"""Behind the address stands the picture's version."""


def router(cards: Cards, thumbnails: Thumbnails) -> APIRouter:
    """The route for the page, which is not part of the API."""
    routes = APIRouter(prefix="/cards", include_in_schema=False)

    @routes.get("/{card_id}")
    def preview(card_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")]) -> Response:
        return Response(thumbnails.get(cards.picture(card_id)), media_type=MEDIA_TYPE, headers=FOR_EVER)

    return routes
