"""The page at /docs: every endpoint with its fields, from the OpenAPI schema. It needs no script and no other host."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
details { border: 1px solid #8886; border-radius: 6px; margin: .4rem 0 }
summary { padding: .4rem .7rem; cursor: pointer; overflow-wrap: anywhere }
code { font: 14px ui-monospace, monospace }
b { display: inline-block; min-width: 3.2rem }
details > :not(summary) { margin: .3rem .9rem }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .15rem .8rem .15rem 0; border-top: 1px solid #8883; overflow-wrap: anywhere }
"""


def page(schema: Schema) -> str:
    """The whole page, as HTML."""
    title = html.escape(f"{schema['info']['title']} {schema['info']['version']}: HTTP API")
    endpoints = "\n".join(_endpoint(schema, method, path, operation)
                          for path, methods in schema["paths"].items() for method, operation in methods.items())
    words = 'Names, defaults and answers are WebUI\'s. For programs: <a href="openapi.json">openapi.json</a>.'
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{title}</h1>'
            f"<p>{words}</p>\n{endpoints}\n</html>")


def _endpoint(schema: Schema, method: str, path: str, operation: Schema) -> str:
    rows = [*_query(operation), *_body(schema, operation)]
    head = f"<summary><b>{method.upper()}</b> <code>{html.escape(path)}</code></summary>"
    if not rows:
        return f"<details>{head}<p>No fields.</p></details>"
    cells = "\n".join("<tr>" + "".join(f"<td><code>{html.escape(cell)}</code></td>" for cell in row) + "</tr>"
                      for row in rows)
    return f"<details>{head}<table><tr><th>Field</th><th>Kind</th><th>Default</th></tr>\n{cells}</table></details>"


def _query(operation: Schema) -> Iterator[tuple[str, str, str]]:
    for parameter in operation.get("parameters", ()):
        yield f"?{parameter['name']}", _kind(parameter["schema"]), _default(parameter["schema"])


def _body(schema: Schema, operation: Schema) -> Iterator[tuple[str, str, str]]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    for name, field in _resolved(schema, content).get("properties", {}).items():
        yield name, _kind(field), _default(field)


def _resolved(schema: Schema, part: Schema) -> Schema:
    name = str(part.get("$ref", "")).rpartition("/")[2]
    found: Schema = schema["components"]["schemas"][name] if name else part
    return found


def _kind(field: Schema) -> str:
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"])
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return str(field.get("type", "anything"))


def _default(field: Schema) -> str:
    return json.dumps(field["default"]) if "default" in field else ""
