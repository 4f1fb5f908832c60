"""Gradio's Blocks, which open the files that a client has uploaded and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from modules.errors import InvalidInput


class Page(gr.Blocks):
    """The page.

    Gradio downloads a file whose path is an address, and looks at where a path leads only if `launch` was called; this
    page is mounted.
    """

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> Any:
        """Gradio's conversion of an event's JSON to Python values. Raises gr.Error for a file that was not uploaded."""
        try:
            check_uploaded(inputs, Path(get_upload_folder()))
        except InvalidInput as error:
            raise gr.Error(error.message, title="", print_exception=False) from error
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)


def check_uploaded(value: Any, folder: Path) -> None:
    """Raise InvalidInput if somewhere in JSON `value` is a file (in Gradio's form) that does not lie in `folder`."""
    rest, folder = [value], folder.resolve()
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            if "meta" in one and isinstance(path := one.get("path"), str) and not _lies_in(path, folder):
                raise InvalidInput("Only files that were uploaded here are opened.")
            rest += one.values()
        elif isinstance(one, list | tuple):
            rest += one


def _lies_in(path: str, folder: Path) -> bool:
    """Whether the file of that path is in `folder`. Gradio takes what begins like an address for one."""
    try:
        return "://" not in path and Path(path).resolve().is_relative_to(folder)
    except (OSError, ValueError, RuntimeError):  # no path, or links in a circle
        return False
