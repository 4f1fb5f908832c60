"""The fields of a request and of the options, each declared once.

A declaration holds a field's default and all that the program says about it: its label, range and step on the page, its
name in the HTTP API, its key in the parameters text, its command line flag and its axis. `declared` lists them, and the
page, the API, the text, the command line and the X/Y/Z plot are made from that list.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

from modules.errors import InvalidInput

TABS = ("txt2img", "img2img", "inpaint")
"""The page's tabs that make pictures, each for one class of requests."""


def field(default: Any, label: str, help: str = "", *, low: float | None = None, high: float | None = None,
          shown: tuple[float, float] | None = None, limit: str = "", step: float | None = None,
          choices: tuple[str, ...] = (), colour: bool = False, text: str = "", api: str = "", cli: str = "",
          axis: str = "", tabs: tuple[str, ...] = TABS, advanced: bool = False) -> Any:
    """A dataclass field with its declaration.

    `label` and `help` are the words on the page; `help` says what the label does not. A number is accepted from `low`
    to `high`. The page's slider goes from `shown[0]` to `shown[1]` where that is given, at most to the setting named
    `limit`, in steps of `step` (by default 1 for whole numbers, else 0.01). A text is one of `choices`, if there are
    any; `colour` says that it is a colour.

    `text` is its key in the parameters text. A key that `modules.text.infotext.write` has no rule for is written when
    the value is not the default. `api` is its name in the HTTP API if that is another one. `cli` is its flag, `axis`
    the label of its axis; without them it has none. `tabs` are the tabs that it concerns. `advanced` draws it among
    the Advanced controls of those tabs.
    """
    about = {"label": label, "help": help, "low": low, "high": high, "shown": shown, "limit": limit, "step": step,
             "choices": choices, "colour": colour, "text": text, "api": api, "cli": cli, "axis": axis, "tabs": tabs,
             "advanced": advanced}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class Declared:
    """One declared field; see `field`. `kind` is the type of its values, None aside."""

    name: str
    kind: type
    default: Any
    label: str
    help: str
    low: float | None
    high: float | None
    shown: tuple[float, float] | None
    limit: str
    step: float | None
    choices: tuple[str, ...]
    colour: bool
    text: str
    api: str
    cli: str
    axis: str
    tabs: tuple[str, ...]
    advanced: bool

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers. Members of an enumeration are none."""
        return self.kind in (int, float)

    @property
    def is_plain(self) -> bool:
        """Whether its values are flags, numbers or texts."""
        return self.kind in (bool, int, float, str)

    def slider(self, settings: object) -> tuple[float, float, float]:
        """(smallest value, largest value, step) of the page's slider; `settings` has the limits."""
        low, high = self.shown or (self.low, self.high)
        if self.limit:
            high = min(math.inf if high is None else high, getattr(settings, self.limit))
        assert low is not None, f"{self.name} has no smallest value to show"
        assert high is not None, f"{self.name} has no largest value to show"
        return _whole(low), _whole(high), self.step or (1 if self.kind is int else 0.01)

    def read(self, text: str) -> Any:
        """The value that `text` stands for; whole numbers are cut off behind the point. Raises ValueError."""
        if self.kind is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError(f"{text} is neither True nor False")
            return text.lower() == "true"
        if not self.is_number:
            return text
        if self.kind is int and text.lstrip("+-").isdecimal():
            return int(text)
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"{text} is no finite number")
        return int(number) if self.kind is int else number


def declared(table: type) -> tuple[Declared, ...]:
    """The declared fields of a dataclass, inherited ones first; none if `table` is no dataclass."""
    return _declared(table)


@cache
def _declared(table: type) -> tuple[Declared, ...]:
    if not dataclasses.is_dataclass(table):
        return ()
    hints = typing.get_type_hints(table)
    return tuple(Declared(item.name, _kind(hints[item.name]), item.default, **item.metadata)
                 for item in dataclasses.fields(table) if "label" in item.metadata)


def own(table: type) -> tuple[Declared, ...]:
    """The declared fields that `table` adds to those of its base."""
    return tuple(item for item in declared(table) if item not in declared(typing.cast(type, table.__base__)))


def find(table: type, name: str) -> Declared:
    """The declared field of that name."""
    return next(item for item in declared(table) if item.name == name)


def check_ranges(values: object, *, unused: Collection[str] = ()) -> None:
    """Raise InvalidInput for the first number outside its range. None fits; fields in `unused` are passed over."""
    for item in declared(type(values)):
        value = getattr(values, item.name)
        if not item.is_number or value is None or item.name in unused or item.low is None:
            continue
        high = math.inf if item.high is None else item.high
        if not item.low <= value <= high or value == math.inf:  # NaN fails both comparisons
            limits = f"at least {item.low}" if item.high is None else f"between {item.low} and {item.high}"
            raise InvalidInput(f"{item.name} must be {limits}, not {value}.", field=item.name)


def _whole(number: float) -> float:
    """1.0 as 1."""
    return int(number) if float(number).is_integer() else number


def _kind(hint: Any) -> type:
    """The type without None."""
    if isinstance(hint, types.UnionType):
        (hint,) = (one for one in hint.__args__ if one is not types.NoneType)
    return typing.cast(type, hint)
