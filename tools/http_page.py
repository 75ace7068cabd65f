"""docs/http.md: what stands between its marks is made from the description of the server."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from comfyvn.config import settings_table
from comfyvn.server import create_app
from comfyvn.server.examples import recorded
from comfyvn.studio.core import AssetRegistry

_ADDRESS: Final = "http://127.0.0.1:8765"
_EXAMPLE_LINES: Final = 24
_LIMITS: Final = (
    "upload_bytes", "uploads_at_once", "request_bytes", "request_nesting", "header_bytes", "request_time_s",
    "idle_time_s", "connections", "page_size", "bulk_assets", "event_streams", "event_backlog",
    "metadata_bytes", "metadata_nesting", "metadata_values", "tags_per_asset", "tag_length",
)  # fmt: skip

Node = dict[str, Any]


def http_page(page: Path) -> str:
    """Return the page with its made parts made anew; what was written by hand stays."""
    description = _describe()
    text = page.read_text("utf-8")
    made: Mapping[str, Callable[[], Iterable[str]]] = {
        "limits": _limits,
        "problems": lambda: _problems_of_all(description),
        "routes": lambda: _routes(description),
        "shapes": lambda: _shapes(description),
    }
    for name, make in made.items():
        begin, end = f"<!-- made: {name} -->\n", f"<!-- end: {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"{page.name} lacks the marks of {name}"
        text = before + begin + "\n".join(make()) + "\n" + end + after
    return text


def _limits() -> Iterator[str]:
    rows = {row["name"]: row for row in settings_table()}
    yield "| setting | default | what it is |\n|---|---|---|"
    for name in _LIMITS:
        yield f"| `{name}` | {rows[name]['default']} | {rows[name]['doc']} |"


# -- problems ---------------------------------------------------------------------------------------------


def _describe() -> Node:
    """Return the description of a server, with a library that nobody sees."""
    with tempfile.TemporaryDirectory(prefix="comfyvn-") as folder:
        home = Path(folder)
        with AssetRegistry(
            home / "ledger.db", assets_root=home / "assets", thumb_root=home / "thumbs", durability="off"
        ) as registry:
            return create_app(registry).openapi()


def _problems_of_all(description: Node) -> Iterator[str]:
    everywhere, changing = _common(description)
    yield f"Any route may answer {_listed(everywhere)}.\n"
    yield f"Any change may besides answer {_listed(changing - everywhere)}."


def _common(description: Node) -> tuple[set[str], set[str]]:
    """Return the problems of all routes that need a scope, and those of all of these that change."""
    every = [
        (method, set(_problems(description, operation)))
        for path in description["paths"].values()
        for method, operation in path.items()
        if operation["security"]
    ]
    everywhere = set.intersection(*(found for _, found in every))
    return everywhere, set.intersection(*(found for method, found in every if method != "get"))


def _problems(description: Node, operation: Node) -> Iterator[str]:
    """Yield the problems of a route, as ``404 asset-not-found``."""
    for status, answer in operation["responses"].items():
        name = answer.get("$ref", "").rpartition("/")[2]
        content = description["components"]["responses"][name]["content"] if name else {}
        for kind in content.get("application/problem+json", {}).get("examples", {}):
            example = description["components"]["examples"][kind]["value"]
            yield f"{status} `{example['type'].rpartition(':')[2]}`"


def _listed(problems: Iterable[str]) -> str:
    return ", ".join(sorted(problems))


# -- routes -----------------------------------------------------------------------------------------------


def _routes(description: Node) -> Iterator[str]:
    common = set.union(*_common(description))
    for tag in description["tags"]:
        yield f"## {tag['name']}\n\n{tag['description']}\n"
        for path, operations in description["paths"].items():
            for method, operation in operations.items():
                if operation["tags"] == [tag["name"]]:
                    yield from _route(description, method, path, operation, common)


def _route(description: Node, method: str, path: str, operation: Node, common: set[str]) -> Iterator[str]:
    yield f"### {method.upper()} {path}\n\n{operation['description']}\n"
    scope = _scope(operation)
    yield f"Scope: {f'`{scope}`' if scope else 'none; everybody may ask'}.\n"
    yield from _parameters(operation)
    yield from _body(operation)
    yield f"Answers: {'; '.join(_answers(operation))}.\n"
    own = set(_problems(description, operation)) - common
    if own:
        yield f"Problems: {_listed(own)}.\n"
    yield from _example(operation)


def _scope(operation: Node) -> str:
    """Return the scope that a route asks for; empty where everybody may ask."""
    return next((scope for each in operation["security"] for found in each.values() for scope in found), "")


def _parameters(operation: Node) -> Iterator[str]:
    found = operation.get("parameters", [])
    if found:
        yield "| parameter | in | type | what it is |\n|---|---|---|---|"
        for each in found:
            default = each["schema"].get("default")
            usual = f" Default: `{default}`." if default not in (None, "") else ""
            about = each.get("description", "") + usual
            yield f"| `{each['name']}` | {each['in']} | {_type(each['schema'])} | {_cell(about.strip())} |"
        yield ""


def _body(operation: Node) -> Iterator[str]:
    body = operation.get("requestBody")
    if body is None:
        return
    kinds = list(body["content"])
    schema = body["content"][kinds[0]]["schema"]
    optional = "" if body.get("required") else "; may be left out"
    yield f"Body: {' or '.join(f'`{kind}`' for kind in kinds)}{optional}. {schema.get('description', '')}\n"
    if schema.get("properties"):
        yield from _keys(schema)


def _answers(operation: Node) -> Iterator[str]:
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            continue
        content = answer.get("content", {})
        shapes = [
            _type(each["schema"]) if "$ref" in each.get("schema", {}) else f"`{kind}`"
            for kind, each in content.items()
        ]
        about = "" if answer["description"] == "Done." else answer["description"].rstrip(".")
        yield " ".join(part for part in (f"`{status}`", ", ".join(shapes), about) if part)


def _example(operation: Node) -> Iterator[str]:
    found = recorded()[operation["operationId"]]
    yield f"```sh\n{_curl(operation, found)}\n```"
    text = json.dumps(found["answer"], indent=2, ensure_ascii=False) if found["answer"] else ""
    if text and text.count("\n") < _EXAMPLE_LINES:
        yield f"\n```json\n{text}\n```"
    yield ""


def _curl(operation: Node, found: Node) -> str:
    parts = ["curl"]
    if found["method"] not in ("GET", "POST") or (found["method"] == "POST" and not _sends(operation, found)):
        parts += ["-X", found["method"]]
    scope = _scope(operation)
    if scope == "admin" or (scope and found["method"] != "GET"):
        parts += ["-H", f'"Authorization: Bearer ${"ADMIN" if scope == "admin" else "TOKEN"}"']
    content = next(iter(operation.get("requestBody", {}).get("content", {})), "")
    if content == "multipart/form-data":
        parts += [
            "-F",
            "file=@mara.png",
            "-F",
            "asset_type=characters",
            "-F",
            '\'metadata={"tags": ["mara"]}\'',
        ]
    elif found["body"] is not None:
        body = json.dumps(found["body"], ensure_ascii=False)
        parts += ["-H", '"Content-Type: application/json"', "-d", shlex.quote(body)]
    name = found["path"].partition("?")[0].rpartition("/")[2]
    flags = {
        "text/event-stream": "-N",
        "*/*": "-OJ",
        "application/octet-stream": f"-o {name}.bin",
        "image/*": f"-o {name}.webp",
    }
    kinds = operation["responses"].get("200", {}).get("content", {})
    parts += [flag for kind, flag in flags.items() if kind in kinds]
    return " ".join([*parts, shlex.quote(_ADDRESS + found["path"])])


def _sends(operation: Node, found: Node) -> bool:
    return found["body"] is not None or "multipart/form-data" in operation.get("requestBody", {}).get(
        "content", {}
    )


# -- shapes -----------------------------------------------------------------------------------------------


def _shapes(description: Node) -> Iterator[str]:
    for name, schema in description["components"]["schemas"].items():
        yield f"### {name}\n\n{_cell(schema.get('description', ''))}\n"
        yield from _keys(schema)


def _keys(schema: Node) -> Iterator[str]:
    needed = schema.get("required", [])
    yield "| key | type | what it is |\n|---|---|---|"
    for name, each in schema.get("properties", {}).items():
        about = each.get("description", "")
        default = each.get("default")
        usual = f" Default: `{json.dumps(default)}`." if default not in (None, "") else ""
        absent = "" if name in needed or usual else " May be absent."
        yield f"| `{name}` | {_type(each)} | {_cell((about + usual + absent).strip())} |"
    yield ""


def _type(schema: Any) -> str:
    """Return the type of a value in words, with a link where it is a shape."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "contentMediaType" in schema:
        return "JSON text" if schema["contentMediaType"] == "application/json" else "file"
    kind = schema.get("type", "any JSON")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return words.get(kind, str(kind))


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
