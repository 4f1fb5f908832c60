"""How a component of our own is made of one of Gradio's, and those that take no more than that."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta, updateable
from gradio.data_classes import ImageData


class WithoutStub(ComponentMeta):
    """Makes a component class as Gradio does, but writes no .pyi file beside its source."""

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        if "__init__" in attrs:
            attrs["__init__"] = updateable(attrs["__init__"])  # type: ignore[no-untyped-call]
        return super(ComponentMeta, cls).__new__(cls, name, bases, attrs)


class Image(gr.Image, metaclass=WithoutStub):
    """Gradio's; its value in Python is the path of the uploaded file as it came, which may be anything: Gradio would
    open it before any handler is asked, and say nothing on the page when it cannot."""

    def preprocess(self, payload: ImageData | None) -> str | None:
        return payload.path if payload else None
