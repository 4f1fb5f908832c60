"""Reports errors to the user: one sentence on the screen, the traceback in the log."""

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
    """Show `sentence` as a message that goes away by itself. The handler goes on."""
    gr.Warning(_literal(sentence), title="")


def told(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate an event handler: an exception becomes a message on the screen, and the outputs stay as they were."""

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
    """`sentence` escaped for Gradio's messages, which are HTML: a name or a prompt in it may hold a "<"."""
    return html.escape(sentence, quote=False)


def answered(function: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """Decorate a function that a script of the page calls with one JSON object.

    An exception gives the answer {"problem": one sentence}.
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
