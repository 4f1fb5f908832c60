"""Declarations of scripts and of extension controls: a title and inputs in WebUI's order.

From one declaration come the HTTP API's script-info, the page's widgets, the validation of arguments, and the keys of
the parameters text.
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
"""The kind of widget. `values` is a dropdown with several selections, `checkboxes` a group of check boxes, `note`
a text without a value."""

Arguments = Mapping[str, Any]
"""Values of inputs by name: numbers, flags, texts. A choice is its label, several choices a tuple of labels."""

Run = Callable[[Txt2Img, Arguments, GenerationContext], Sequence[GeneratedImage]]
"""(request without its script, arguments, context) -> the pictures to return; the context saves pictures.

Seeds of the request may be -1; `GenerationContext.resolve` draws them."""

Choices = tuple[str, ...] | Callable[[Available], Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input.

    `help` says in one sentence what it does and when to change it; the page shows it as a tooltip.
    `key` is its name in the parameters text; "" leaves it out, and so does the value `default`. `low`, `high` and
    `step` belong to sliders. Programs must respect `low`, but may go beyond `high`. A `hidden` input is for programs
    only; the page does not show it. Programs may choose by index: labels in `absent` keep their index but cannot be
    chosen, and an index past the last label means the label `beyond`, if there is one. `for_programs` are the labels
    that programs choose from, where those are more than the page shows. The key of a `sign` is in the parameters text
    with the default too, and says there that the script was in use.
    """

    name: str
    label: str
    kind: Kind
    default: Any
    help: str = ""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: Choices = ()
    for_programs: Choices = ()
    key: str = ""
    sign: bool = False
    hidden: bool = False
    absent: tuple[str, ...] = ()
    beyond: str = ""

    def labels(self, available: Available, *, for_programs: bool = False) -> list[str]:
        """The labels of the choices, on the page or for programs."""
        choices = (for_programs and self.for_programs) or self.choices
        return list(choices(available) if callable(choices) else choices)

    def read(self, value: Any, available: Available) -> Any:
        """Return `value` as the script gets it. None stands for the default.

        A choice may be given by its label, in any case, or by its index. Raises InvalidInput.
        """
        if value is None:
            value = self.default
        if self.kind == "slider":
            return self._number(value)
        if self.kind == "checkbox":
            return value.strip().lower() == "true" if isinstance(value, str) else bool(value)
        if self.kind in ("dropdown", "radio"):
            return self._choice(value, self.labels(available, for_programs=True))
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
        """Check values given in the order of the inputs and return them by name. Missing ones get their defaults.

        Raises InvalidInput.
        """
        if len(values) > len(self.inputs):
            raise InvalidInput(f"{self.title!r} takes {len(self.inputs)} arguments, not {len(values)}.",
                               field="script_args")
        given = [*values, *(one.default for one in self.inputs[len(values):])]
        return {one.name: one.read(value, available) for one, value in zip(self.inputs, given, strict=True)}

    @property
    def mark(self) -> dict[str, Any]:
        """The key and value with which the parameters text says that this form was in use."""
        raise NotImplementedError

    def describe(self, arguments: Arguments) -> dict[str, Any]:
        """The keys of the parameters text for these arguments; `recall` reads them back."""
        keys = self.mark
        for one in self.inputs:
            value = arguments[one.name]
            if one.key and (one.sign or value != one.default):
                keys[one.key] = ",".join(value) if isinstance(value, tuple) else value
        return keys

    def recall(self, parameters: Mapping[str, Any]) -> ScriptCall:
        """The call described by a parsed parameters text; the inverse of `describe`."""
        return ScriptCall(self.title, tuple(parameters.get(one.key, one.default) for one in self.inputs))


@dataclass(frozen=True, kw_only=True)
class Script(Form):
    """One script, for txt2img, for img2img and inpaint, or for both.

    A parameters text names it in the key `Script`. If it has inputs that are a `sign`, their keys together say instead
    that it was in use. `whole`: where workers make the pictures, one of them runs the script, as it must for a script
    that uses the model itself.
    """

    run: Run
    txt2img: bool = False
    img2img: bool = True
    whole: bool = False

    @property
    def mark(self) -> dict[str, Any]:
        return {} if self._signs else {"Script": self.title}

    def is_in(self, parameters: Mapping[str, Any]) -> bool:
        """Whether a parsed parameters text says that this script was in use."""
        if "Script" in parameters:
            return str(parameters["Script"]).lower() == self.title.lower()
        return bool(self._signs) and all(key in parameters for key in self._signs)

    @property
    def _signs(self) -> list[str]:
        return [one.key for one in self.inputs if one.sign]


@dataclass(frozen=True, kw_only=True)
class Controls(Form):
    """The controls that an extension adds to a tab, behind a switch with its title.

    In the HTTP API the arguments are the switch, then the inputs. An input's `key` should begin with the title, since
    all extensions share one parameters text.
    """

    @property
    def mark(self) -> dict[str, Any]:
        return {f"{self.title} enabled": True}
