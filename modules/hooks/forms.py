"""What a script is: a title, its inputs in WebUI's order, and a function that carries it out; and what an extension
adds to a tab: a title and inputs.

The inputs are declared once; the HTTP API's script-info, the page's controls, the check of what was sent and the
parameters text are all drawn from that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modules.errors import InvalidInput
from modules.hooks.choices import Available
from modules.hooks.types import GenerationContext
from modules.request import ScriptCall, Txt2Img
from modules.request.result import GeneratedImage

Kind = Literal["slider", "checkbox", "text", "lines", "dropdown", "radio", "checkboxes", "values", "note"]
"""What the page shows: `values` is a dropdown of several, `checkboxes` a few of fixed ones, `note` only words."""

Arguments = Mapping[str, Any]
"""A script's inputs by name: numbers, flags, texts; a choice by its label; several as a tuple of labels."""

Run = Callable[[Txt2Img, Arguments, GenerationContext], Sequence[GeneratedImage]]
"""(request without its script, arguments, context) -> what is returned; the context has saved what is to be saved.

Seeds of the request may be -1: `GenerationContext.resolve` draws them."""


Choices = tuple[str, ...] | Callable[[Available], Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input. `key` is its name in the parameters text, where `default` need not be written; "" keeps it out.

    `low`, `high` and `step` are a slider's; only `low` binds programs, which may ask for more than a slider shows.
    `hidden` ones are for programs: the page has no use for them. Programs choose by index: `absent` labels keep their
    place in the order and cannot be chosen, and an index behind the last label means `beyond`, if that is given.
    """

    name: str
    label: str
    kind: Kind
    default: Any
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: Choices = ()
    key: str = ""
    hidden: bool = False
    absent: tuple[str, ...] = ()
    beyond: str = ""

    def labels(self, available: Available) -> list[str]:
        """What can be chosen."""
        return list(self.choices(available) if callable(self.choices) else self.choices)

    def read(self, value: Any, available: Available) -> Any:
        """`value` as the script gets it: choices come by label, whatever its case, or by index; texts may hold numbers.

        Raises InvalidInput.
        """
        if value is None:
            value = self.default
        if self.kind == "slider":
            return self._number(value)
        if self.kind == "checkbox":
            return value.strip().lower() == "true" if isinstance(value, str) else bool(value)
        if self.kind in ("dropdown", "radio"):
            return self._choice(value, self.labels(available))
        if self.kind in ("checkboxes", "values"):
            values = value.split(",") if isinstance(value, str) else value
            if not isinstance(values, (list, tuple)):
                raise self._wrong(value)
            texts = tuple(text for text in (str(one).strip() for one in values) if text)
            labels = self.labels(available)
            return texts if self.kind == "values" else tuple(self._choice(text, labels) for text in texts)
        return str(value)

    def _number(self, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._wrong(value) from error
        if isinstance(value, bool) or not math.isfinite(number) or (self.low is not None and number < self.low):
            raise self._wrong(value)
        whole = isinstance(self.default, int)
        if whole and not number.is_integer():
            raise self._wrong(value)
        return int(number) if whole else number

    def _choice(self, value: Any, labels: Sequence[str]) -> str:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if value >= len(labels) and self.beyond:
                return self.beyond
            found = labels[int(value)] if value in range(len(labels)) else None
        else:
            found = next((label for label in labels if label.lower() == str(value).lower()), None)
        if found is None:
            raise self._wrong(value)
        if found in self.absent:
            raise InvalidInput(f"{found} is not to be had here.", field="script_args")
        return found

    def _wrong(self, value: Any) -> InvalidInput:
        shown = str(value)[:100]
        return InvalidInput(f"The script's input {self.label!r} cannot be {shown!r}.", field="script_args")


@dataclass(frozen=True, kw_only=True)
class Form:
    """A title and inputs in their order."""

    title: str
    inputs: tuple[Input, ...]

    def bind(self, values: Sequence[Any], available: Available) -> dict[str, Any]:
        """Values in the order of the inputs, by name and checked; those left out get their defaults.

        Raises InvalidInput.
        """
        if len(values) > len(self.inputs):
            raise InvalidInput(f"{self.title!r} takes {len(self.inputs)} arguments, not {len(values)}.",
                               field="script_args")
        given = [*values, *(one.default for one in self.inputs[len(values):])]
        return {one.name: one.read(value, available) for one, value in zip(self.inputs, given, strict=True)}

    @property
    def mark(self) -> dict[str, Any]:
        """The key of the parameters text that says that this was in use, and its value."""
        raise NotImplementedError

    def describe(self, arguments: Arguments) -> dict[str, Any]:
        """The keys of the parameters text that bring this back with these arguments."""
        keys = self.mark
        for one in self.inputs:
            value = arguments[one.name]
            if one.key and value != one.default:
                keys[one.key] = ",".join(value) if isinstance(value, tuple) else value
        return keys

    def recall(self, parameters: Mapping[str, Any]) -> ScriptCall:
        """The call that a parsed parameters text holds; the inverse of `describe`."""
        return ScriptCall(self.title, tuple(parameters.get(one.key, one.default) for one in self.inputs))


@dataclass(frozen=True, kw_only=True)
class Script(Form):
    """One script, for txt2img, img2img (the inpaint tab included) or both."""

    run: Run
    txt2img: bool = False
    img2img: bool = True

    @property
    def mark(self) -> dict[str, Any]:
        return {"Script": self.title}


@dataclass(frozen=True, kw_only=True)
class Controls(Form):
    """What an extension adds to a tab, behind a switch with its title. The HTTP API's arguments are the switch, then
    the inputs; an input's `key` should begin with the title, since all share one parameters text."""

    @property
    def mark(self) -> dict[str, Any]:
        return {f"{self.title} enabled": True}
