"""How a component of our own is made of one of Gradio's."""

from __future__ import annotations

from typing import Any

from gradio.component_meta import ComponentMeta, updateable


class WithoutStub(ComponentMeta):
    """Makes a component class as Gradio does, but writes no .pyi file beside its source."""

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        if "__init__" in attrs:
            attrs["__init__"] = updateable(attrs["__init__"])  # type: ignore[no-untyped-call]
        return super(ComponentMeta, cls).__new__(cls, name, bases, attrs)
