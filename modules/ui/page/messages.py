"""Telling a person what went wrong: one sentence on the screen, the traceback in the log."""

from __future__ import annotations

import functools
import html
import logging
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from modules.errors import OUR_FAULT, UserError

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def tell(sentence: str) -> None:
    """Shows `sentence` for a while, without stopping anything."""
    gr.Warning(_literal(sentence), title="")


def told(function: Callable[P, T]) -> Callable[P, T]:
    """An event handler whose errors become a sentence on the screen; what it would have changed stays as it was."""

    @functools.wraps(function)
    def handler(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except gr.Error:
            raise
        except UserError as error:
            raise gr.Error(_literal(error.message), title="", print_exception=False) from error
        except Exception as error:
            log.exception("%s failed", function.__name__)
            raise gr.Error(OUR_FAULT, title="", print_exception=False) from error

    return handler


def _literal(sentence: str) -> str:
    """`sentence` for Gradio's messages, which are HTML: a name or a prompt in it may hold a "<"."""
    return html.escape(sentence, quote=False)


def answered(function: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """A function that a part of the page asks by itself, with one JSON object.

    A problem is answered with {"problem": one sentence}.
    """

    @functools.wraps(function)
    def answer(question: Any) -> dict[str, Any]:
        try:
            return function(question if isinstance(question, dict) else {})
        except UserError as error:
            return {"problem": error.message}
        except Exception:
            log.exception("%s failed", function.__name__)
            return {"problem": OUR_FAULT}

    return answer
