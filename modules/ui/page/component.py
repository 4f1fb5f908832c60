"""The metaclass of our own Gradio components, and the components that need little more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta, updateable
from gradio.data_classes import ImageData


def assets(folder: Path) -> Callable[[str], str]:
    """What reads a component's templates, styles and scripts, by file name, from `folder`."""
    return lambda name: (folder / name).read_text(encoding="utf-8")


class WithoutStub(ComponentMeta):
    """Makes a component class as Gradio's metaclass does, but writes no .pyi file beside the source."""

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        if "__init__" in attrs:
            attrs["__init__"] = updateable(attrs["__init__"])  # type: ignore[no-untyped-call]
        return super(ComponentMeta, cls).__new__(cls, name, bases, attrs)


class Image(gr.Image, metaclass=WithoutStub):
    """Gradio's Image with the path of the uploaded file, unopened, as its value in Python.

    The file may be anything. Gradio itself would open it before it calls a handler, and if that failed the page would
    show no message.
    """

    def preprocess(self, payload: ImageData | None) -> str | None:
        return payload.path if payload else None
