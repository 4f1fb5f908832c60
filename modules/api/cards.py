"""The previews of the page's cards. The page names a card by its digest, so no path comes from outside."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import Response

from modules.engine.cards import Cards
from modules.gallery.thumbnails import MEDIA_TYPE, Thumbnails

CardId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
"""Behind the address stands the picture's version."""


def router(cards: Cards, thumbnails: Thumbnails) -> APIRouter:
    """The route for the page, which is not part of the API."""
    routes = APIRouter(prefix="/cards", include_in_schema=False)

    @routes.get("/{card_id}")
    def preview(card_id: CardId) -> Response:
        return Response(thumbnails.get(cards.picture(card_id)), media_type=MEDIA_TYPE, headers=FOR_EVER)

    @routes.get("/{card_id}/examples/{number}")
    def example(card_id: CardId, number: Annotated[int, Path(ge=0)]) -> Response:
        return Response(cards.example(card_id, number), media_type=MEDIA_TYPE, headers=FOR_EVER)

    return routes
