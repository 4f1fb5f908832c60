"""What all bodies of the HTTP API have in common, and the types of their fields."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modules.api.json_values import check_answerable
from modules.api.loose import TEXT, WHOLE
from modules.errors import InvalidInput

Number = Annotated[float, Field(allow_inf_nan=False)]
Integer = Annotated[int, Field(ge=-(2**64), le=2**64), WHOLE]
Text = Annotated[str, Field(max_length=100_000), TEXT]


class Body(BaseModel):
    """Common to all bodies: unknown fields are ignored, null is as good as absent."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        check_answerable(data)
        return {name: value for name, value in data.items() if value is not None}


def first_problem(error: ValidationError) -> InvalidInput:
    """What is wrong with a body that was not checked by FastAPI."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    message = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
    return InvalidInput(f"{name}: {message}." if name else f"{message}.", field=name or None)
