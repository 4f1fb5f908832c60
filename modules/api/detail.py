"""The detailer's passes in a body's `alwayson_scripts`, under the names and with the defaults of the ADetailer
extension's API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ValidationError, create_model

from modules.api.body import Body, Integer, Number, Text, first_problem
from modules.engine.engine import Engine
from modules.errors import InvalidInput
from modules.request.detail import MOST_PASSES, DetailPass
from modules.request.fields import declared

ADETAILER = "adetailer"
"""The script's name in small letters."""
BEFORE = "ad_"
"""What the extension's API puts before the name of a field."""

_TYPES: dict[type, Any] = {bool: bool, int: Integer, float: Number, str: Text}
_FIELDS: dict[str, Any] = {BEFORE + item.name: (_TYPES[item.kind], item.default) for item in declared(DetailPass)}
PassBody: type[BaseModel] = create_model("PassBody", __base__=Body, **_FIELDS | {
    "ad_model": (Text, "None"), "ad_tap_enable": (bool, True), "ad_tab_enable": (bool, True)})
"""One pass. Both spellings of the last field are in use."""


def router(engine: Engine) -> APIRouter:
    """The extension's lists for programs: the detectors, and the fields of a pass as a JSON schema."""
    api = APIRouter(prefix="/adetailer/v1")

    @api.get("/ad_model")
    def ad_model() -> dict[str, list[str]]:
        return {"ad_model": engine.detectors.names()}

    @api.get("/schema")
    def schema() -> dict[str, Any]:
        return PassBody.model_json_schema()

    return api


def detail_passes(scripts: Mapping[str, Any]) -> tuple[DetailPass, ...]:
    """The passes of a body's `alwayson_scripts` that are switched on. `args` are [on, skip img2img, pass, ...]; the two
    flags may be left out. Raises InvalidInput naming the pass and its field."""
    passes = []
    for number, arg in _args(scripts):
        where = f"alwayson_scripts.{ADETAILER}.args.{number}"
        try:
            body = PassBody.model_validate(arg).model_dump()
            if body["ad_model"] in ("", "None") or not (body["ad_tap_enable"] and body["ad_tab_enable"]):
                continue
            passes.append(DetailPass(**{item.name: body[BEFORE + item.name] for item in declared(DetailPass)}))
        except ValidationError as error:
            raise _named(first_problem(error), where) from error
        except InvalidInput as error:
            raise _named(InvalidInput(f"{BEFORE}{error.message}", field=f"{BEFORE}{error.field}"), where) from error
    if len(passes) > MOST_PASSES:
        raise InvalidInput(f"ADetailer makes {MOST_PASSES} passes at most, not {len(passes)}.",
                           field=f"alwayson_scripts.{ADETAILER}")
    return tuple(passes)


def detail_warnings(scripts: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing that was asked for and is not done."""
    given = _given(scripts)
    if len(given) > 1 and given[0] is True and given[1] is True:
        return ["ADetailer: Skip img2img is not to be had here; the picture was made as usual."]
    return []


def _given(scripts: Mapping[str, Any]) -> list[Any]:
    script = next((script for name, script in scripts.items() if name.lower() == ADETAILER), None)
    args = script.get("args") if isinstance(script, Mapping) else None
    return args if isinstance(args, list) else []


def _args(scripts: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the passes that are given, with their places; none where the first flag is off. Raises InvalidInput."""
    args = _given(scripts)
    if args and args[0] is False:
        return
    for number, arg in enumerate(args):
        if isinstance(arg, dict):
            yield number, arg
        elif not isinstance(arg, bool):
            raise InvalidInput("A pass of ADetailer must be an object of its fields.",
                               field=f"alwayson_scripts.{ADETAILER}.args.{number}")


def _named(error: InvalidInput, where: str) -> InvalidInput:
    return InvalidInput(f"ADetailer: {error.message}", field=f"{where}.{error.field}" if error.field else where)
