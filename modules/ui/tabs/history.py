"""The History tab: all pictures in the outputs folder, to search, view, compare, send to another tab, or delete.

A script in the page (`history_view/`) draws the tab. It calls the functions of `answers`, and gets the pictures by
their ids from the two routes of `modules.api.history`.
"""

from __future__ import annotations

import datetime
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageOps

from modules.engine.describing import CLIP, DEEPDANBOORU
from modules.engine.meanings import Meanings, Nearest
from modules.errors import InvalidInput, NotFound
from modules.gallery.history import History
from modules.gallery.index import Filter, Picture
from modules.imaging.modes import to_rgb
from modules.text import infotext
from modules.ui.canvas.canvas import MaskData
from modules.ui.page.component import assets
from modules.ui.page.header import Header
from modules.ui.page.messages import answered
from modules.ui.tabs.pnginfo import TARGETS, details_html
from modules.ui.tabs.results import TO_INPAINT
from modules.ui.tabs.tab import Target, connect_send, picture_of

_asset = assets(Path(__file__).parent / "history_view")
SCRIPTS = ("words", "icons", "elements", "grid", "choosing", "big", "versus", "start")
"""The parts of the tab's script. They share one scope, as those of the canvas do."""

LOOK_SECONDS = 2.0
MOST_PICTURES = 600
TITLE_LENGTH = 200

Question = Mapping[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True)
class HistoryTab:
    """The tab's widgets. The value of `view` is the id of the picture to send."""

    history: History
    view: gr.HTML
    buttons: dict[str, gr.Button]


Describe = Callable[[Image.Image, str], str]
"""(picture, captioner or tagger, as `Describers.describe` names them) -> words for it. Raises UserError."""


def build(history: History, meanings: Meanings, describe: Describe, root_path: str) -> HistoryTab:
    """Draw the tab here. `root_path` is the path under which the page is served, "" or "/sd"."""
    view = gr.HTML(0, html_template=_asset("view.html"), css_template=_asset("style.css"),
                   js_on_load="".join(_asset(f"{name}.js") for name in SCRIPTS), apply_default_css=False,
                   server_functions=answers(history, meanings, describe, root_path), to_inpaint=TO_INPAINT,
                   elem_id="history_view")
    buttons = {name: gr.Button(f"Send to {name}", visible="hidden", elem_id=f"history_send_to_{name}")
               for name in TARGETS}
    return HistoryTab(history, view, buttons)


def connect(tab: HistoryTab, tabs_by_name: Mapping[str, Target], tabs: gr.Tabs, header: Header) -> None:
    """Connect the "Send to" buttons."""

    def source(number: Any) -> tuple[MaskData, str]:
        picture = tab.history.get(_number(number))
        return picture_of(tab.history.file(picture.id)), picture.text

    for name, button in tab.buttons.items():
        connect_send(button, source, [tab.view], tabs_by_name[name], tabs, header)


def answers(history: History, meanings: Meanings, describe: Describe, root_path: str) -> list[Callable[[Any], Answer]]:
    """The functions that the tab's script calls, each with one JSON object. An error gives {"problem": one
    sentence}."""

    def find(question: Question) -> Answer:
        wanted = _filter(question.get("filter"))
        limit = min(max(_number(question.get("limit")), 1), MOST_PICTURES)
        after = question.get("after")
        now = state()  # read before the pictures: the page asks again if the version has changed meanwhile
        if wanted.words and _is_meant(question.get("filter")) and not after:
            return _nearest(meanings.find(wanted), root_path) | now | lists()
        pictures = history.page(wanted, (_number(after[0]), _number(after[1])) if after else None, limit)
        found = {"pictures": [_shown(picture, root_path) for picture in pictures],
                 # As text: nanoseconds exceed the integers of JavaScript.
                 "cursor": list(map(str, pictures[-1].cursor)) if len(pictures) == limit else None}
        if after:
            return found
        return found | now | lists() | {"count": history.count(wanted)}

    def lists() -> Answer:
        return {"models": history.models(), "samplers": history.samplers(), "knows_meanings": meanings.available}

    def look(question: Question) -> Answer:
        history.look()
        history.wait(LOOK_SECONDS)
        return state()

    def details(question: Question) -> Answer:
        return {"details": [_details(history.get(number)) for number in _numbers(question)]}

    def words(question: Question) -> Answer:
        with Image.open(history.file(_number(question.get("id")))) as file:
            picture = to_rgb(ImageOps.exif_transpose(file))
        return {"words": describe(picture, DEEPDANBOORU if question.get("tags") is True else CLIP)}

    def like(question: Question) -> Answer:
        history.set_favourite(_number(question.get("id")), question.get("favourite") is True)
        return {}

    def trash(question: Question) -> Answer:
        return {"count": history.trash(_numbers(question))} | state()

    def undo(question: Question) -> Answer:
        return {"count": history.undo()} | state()

    def rebuild(question: Question) -> Answer:
        history.rebuild()
        return state()

    def state() -> Answer:
        status = history.status
        return {"version": status.version, "looking": status.looking, "done": status.done, "total": status.total,
                "can_undo": history.can_undo()}

    return [answered(function) for function in (find, look, details, words, like, trash, undo, rebuild)]


def _shown(picture: Picture, root_path: str) -> Answer:
    """The data of a picture's tile. `created` is in milliseconds since 1970."""
    return {"id": picture.id, "name": picture.path.rpartition("/")[2], "created": picture.created // 10**6,
            "width": picture.width, "height": picture.height, "favourite": picture.favourite,
            "prompt": picture.prompt[:TITLE_LENGTH], "url": f"{root_path}/history/pictures/{picture.id}",
            "shown": f"{root_path}/history/shown/{picture.id}",
            "thumbnail": f"{root_path}/history/thumbnails/{picture.id}"}


def _nearest(found: Nearest, root_path: str) -> Answer:
    """The tiles of a search by meaning. `read` is how many of the pictures are read, while that goes on."""
    return {"pictures": [_shown(picture, root_path) for picture in found.pictures], "cursor": None,
            "count": len(found.pictures), "ranked": True, "read": [found.done, found.total] if found.total else None}


def _details(picture: Picture) -> Answer:
    found = infotext.parse(picture.text)
    prompts = [[key, found[key]] for key in ("Prompt", "Negative prompt") if found[key]]
    shown = details_html(picture.text) or f'<p translate="no">{html.escape(picture.text)}</p>'
    return {"text": picture.text, "html": shown,
            "pairs": [*prompts, *map(list, infotext.pairs(picture.text).items())]}


# --- validation of what the page sends

def _filter(value: Any) -> Filter:
    given = {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}
    seed = given.get("seed", "").strip()
    return Filter(words=given.get("words", "")[:500], model=given.get("model", ""), sampler=given.get("sampler", ""),
                  seed=_number(seed, 64) if seed else None, first=_day(given.get("first")),
                  last=_day(given.get("last")), favourites="favourites" in given)


def _is_meant(value: Any) -> bool:
    """Whether the page asks for a search by meaning."""
    return isinstance(value, dict) and "meaning" in value


def _day(text: str | None) -> datetime.date | None:
    """The date in `text`, or None if that is empty. Raises InvalidInput, also for years outside 1970 to 2200."""
    try:
        day = datetime.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not a day.") from error
    if day is not None and not 1970 <= day.year <= 2200:
        raise InvalidInput(f"The year {day.year} is not between 1970 and 2200.")
    return day


def _number(value: Any, bits: int = 63) -> int:
    """The integer in `value`. Raises InvalidInput for anything else, and for one with more than `bits` bits."""
    try:
        number = int(value) if isinstance(value, int | str) else None
    except ValueError:
        number = None
    if number is None or abs(number) >= 2**bits:
        raise InvalidInput(f"{str(value)[:40]!r} is not a whole number.")
    return number


def _numbers(question: Question) -> list[int]:
    numbers = question.get("ids")
    if not isinstance(numbers, list) or not numbers:
        raise NotFound("No picture is chosen.")
    return [_number(number) for number in numbers]
