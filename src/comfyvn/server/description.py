"""What the server says about itself: the OpenAPI description of its routes, which docs/http.md is made from.

FastAPI knows paths, parameters and shapes. What it can't know is added here: the scope that each route
needs, the problems that it may answer, and those that every route may.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import Response

from comfyvn import errors
from comfyvn.errors import ComfyVNError
from comfyvn.server.access import Scope, may_administer, may_read, may_write
from comfyvn.server.answers import PROBLEM_JSON, json_answer
from comfyvn.server.examples import example_of_problem, recorded
from comfyvn.server.schemas import Problem

__all__ = ["NOT_MODIFIED", "DescribedApp", "binary", "problems", "router"]

Responses = dict[int | str, dict[str, Any]]
"""What a route takes as ``responses``."""

router = APIRouter(dependencies=[Depends(may_read)])

_ABOUT: Final = """The asset registry of a visual novel over HTTP.

Errors are problem details (RFC 9457): `type` is stable. Lists page by cursor. Answers may grow by keys."""
_TAGS: Final = {
    "lists": ("Looking", "Lists of assets, single assets, and what is known of them."),
    "files": ("Files", "Content and previews."),
    "changes": ("Changing", "Metadata, removal, and taking things back."),
    "lineage": ("Lineage", "What came from what."),
    "uploads": ("Uploading", "New files over the wire."),
    "jobs": ("Jobs", "What takes long, in the background."),
    "stream": ("Events", "What changes, as it changes."),
    "webhooks": ("Webhooks", "What changes, sent to other servers."),
    "older": ("Older scripts", "Routes of older releases."),
    "": ("Server", "The server itself, and who comes in."),
}
_SCOPES: Final[Mapping[object, Scope]] = {
    may_read: "assets.read",
    may_write: "assets.write",
    may_administer: "admin",
}
_UNUSABLE: Final = (errors.RegistryBusy, errors.RegistryUnusable, errors.StorageUnwritable)
_EVERYWHERE: Final = (
    errors.HeadersTooLarge,
    errors.HostRefused,
    errors.MalformedRequest,
    errors.ServerFault,
    errors.TooBusy,
    errors.TooLong,
    errors.TooManyAttempts,
    errors.TooSlow,
    errors.TokenRefused,
    *_UNUSABLE,
)
_WITH_TOKEN: Final = (errors.ScopeMissing, errors.TokenMissing)
_WITH_JSON: Final = (errors.InvalidBody, errors.InvalidRequest, errors.WrongBodyType)
_PATH_WORDS: Final = {"seq": "The change.", "uid": "The asset.", "webhook_id": "The webhook."}
_UNSAFE: Final = frozenset({"post", "put", "patch", "delete"})

NOT_MODIFIED: Final[Responses] = {304: {"description": "You have it already (`If-None-Match`)."}}
"""For ``responses`` of a route whose answer has an entity tag."""


def problems(*kinds: type[ComfyVNError]) -> Responses:
    """Declare what may go wrong, for ``responses=`` of a route.

    What may go wrong everywhere (tokens, hosts, limits, an unusable library) is added to all routes.
    """
    return {
        status: {"description": "", "x-problems": [kind.__name__ for kind in kinds if kind.status == status]}
        for status in sorted({kind.status for kind in kinds})
    }


def binary(media_type: str, what: str) -> Responses:
    """Declare an answer that is no JSON, for ``responses=`` of a route."""
    schema = {"type": "string", "contentMediaType": media_type}
    return {200: {"description": what, "content": {media_type: {"schema": schema}}}}


@router.get("/openapi.json", response_model=dict[str, Any], responses=NOT_MODIFIED)
async def show_description(request: Request) -> Response:
    """Return this description (OpenAPI 3.1)."""
    app: Any = request.app
    return json_answer(app.openapi(), request=request)


class DescribedApp(FastAPI):
    """FastAPI with our description.

    FastAPI asks for an operation id for every route, and that is how their dependencies get known here, also
    those of routers that are included.
    """

    def __init__(self, **options: Any) -> None:
        self._described: dict[str, APIRoute] = {}
        super().__init__(openapi_url=None, generate_unique_id_function=self._name, **options)

    def _name(self, route: APIRoute) -> str:
        self._described[route.name] = route
        return route.name

    def openapi(self) -> dict[str, Any]:
        """Return the description; it is made once."""
        if self.openapi_schema is None:
            made = get_openapi(
                title="comfyvn", version="1", description=_ABOUT, routes=self.routes, tags=_tag_list()
            )
            _complete(made, self._described)
            self.openapi_schema = made
        return self.openapi_schema


def _complete(made: dict[str, Any], routes: Mapping[str, APIRoute]) -> None:
    components = made.setdefault("components", {})
    schemas = {**components.get("schemas", {}), "Problem": Problem.model_json_schema()}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components.update(schemas=schemas, examples={}, responses={}, securitySchemes=_SECURITY)
    for path in made["paths"].values():
        for method, operation in path.items():
            _complete_operation(method, operation, routes[operation["operationId"]], components)
    for kind in ("examples", "responses", "schemas"):
        components[kind] = dict(sorted(components[kind].items()))


def _complete_operation(
    method: str, operation: dict[str, Any], route: APIRoute, components: dict[str, Any]
) -> None:
    scope = _scope_of(route.dependant)
    operation["tags"] = [_tag_of(route)]
    operation["summary"], operation["description"] = _texts_of(route)
    operation["security"] = [{name: [scope]} for name in _SECURITY] if scope else []
    _tidy_parameters(operation)
    _tidy_body(operation, components["schemas"])
    _tidy_success(operation)
    _show_example(operation)
    declared = set(_declared(operation))
    _add_conditions(operation, declared)
    kinds = declared | set(_general(method, operation, scope))
    answers = {**_described(kinds, components), **operation["responses"]}
    operation["responses"] = dict(sorted(answers.items()))


_SECURITY: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of `comfyvn token create`, as `Authorization: Bearer TOKEN`.",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "comfyvn_session_8765",
        "description": "For pages in a browser: `POST /session` gives a cookie that stands for a token. Its"
        " name ends with the port of the server; 8765 is the default one.",
    },
}


def _tag_list() -> list[dict[str, Any]]:
    return [{"name": name, "description": about} for name, about in _TAGS.values()]


def _tag_of(route: APIRoute) -> str:
    module = "older" if route.path.startswith("/api/") else route.endpoint.__module__.rpartition(".")[2]
    return _TAGS.get(module, _TAGS[""])[0]


def _texts_of(route: APIRoute) -> tuple[str, str]:
    """Return the first sentence of the docstring, and all of it, in Markdown."""
    text = inspect.cleandoc(route.endpoint.__doc__ or "").replace("``", "`")
    first = text.partition("\n\n")[0].replace("\n", " ")
    return first.partition("; ")[0].rstrip("."), text


def _scope_of(dependant: Dependant) -> Scope | None:
    for call in _calls(dependant):
        if call in _SCOPES:
            return _SCOPES[call]
    return None


def _calls(dependant: Dependant) -> Iterator[Any]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


def _tidy_parameters(operation: dict[str, Any]) -> None:
    """Leave out titles, and null as a value of what may be left out: a query has no null."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            parameter.setdefault("description", _PATH_WORDS.get(parameter["name"], ""))
        schema = parameter["schema"]
        choices = [each for each in schema.pop("anyOf", []) if each != {"type": "null"}]
        if len(choices) == 1:
            schema.update(choices[0])
        elif choices:
            schema["anyOf"] = choices
        for needless in ("title", "description"):
            schema.pop(needless, None)


def _add_conditions(operation: dict[str, Any], declared: set[type[ComfyVNError]]) -> None:
    """Name the headers that a request may have, and those of the answer, by what the route answers."""
    wanted = []
    if "304" in operation["responses"]:
        wanted.append(("If-None-Match", "The `ETag` that you have: 304 if nothing has changed since."))
        for answer in operation["responses"].values():
            answer.setdefault("headers", {})["ETag"] = {"schema": {"type": "string"}}
    if errors.Changed in declared:
        wanted.append(("If-Match", "The `ETag` that you have: 412 if it is another one by now."))
    if errors.RangeRefused in declared:
        wanted.append(("Range", "One part of the file, such as `bytes=0-99`."))
        wanted.append(("If-Range", "The `ETag` that you have: the whole file if it is another one by now."))
    for name, about in wanted:
        header = {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        operation.setdefault("parameters", []).append({**header, "description": about})


def _tidy_body(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Move the shapes inside a body's to the others: references start at the top of the description."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        inner = content["schema"].pop("$defs", {})
        content["schema"] = _refer(content["schema"])
        schemas.update({name: _refer(shape) for name, shape in inner.items()})


def _refer(shape: Any) -> Any:
    if isinstance(shape, dict):
        return {
            name: value.replace("#/$defs/", "#/components/schemas/") if name == "$ref" else _refer(value)
            for name, value in shape.items()
            if name != "title" or not isinstance(value, str)
        }
    return [_refer(each) for each in shape] if isinstance(shape, list) else shape


def _tidy_success(operation: dict[str, Any]) -> None:
    """Leave out the empty JSON that FastAPI adds to what is declared as something else."""
    for status, answer in operation["responses"].items():
        content = answer.get("content", {})
        if len(content) > 1 and content.get("application/json") == {"schema": {}}:
            del content["application/json"]
        if status[0] == "2" and answer["description"] == "Successful Response":
            answer["description"] = "Done."


def _show_example(operation: dict[str, Any]) -> None:
    found = recorded().get(operation["operationId"])
    if found is None:
        return
    for status, answer in operation["responses"].items():
        content = answer.get("content", {})
        if status == str(found["status"]) and "application/json" in content and found["answer"] is not None:
            content["application/json"]["example"] = found["answer"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None and found["body"] is not None:
        body["example"] = found["body"]


def _declared(operation: dict[str, Any]) -> Iterator[type[ComfyVNError]]:
    """Take out the problems that the route declares, and what FastAPI says of invalid parameters."""
    for status, answer in list(operation["responses"].items()):
        if "x-problems" in answer:
            yield from (getattr(errors, name) for name in answer["x-problems"])
            del operation["responses"][status]
        elif status == "422":
            yield errors.InvalidRequest
            del operation["responses"][status]


def _general(method: str, operation: dict[str, Any], scope: Scope | None) -> Iterator[type[ComfyVNError]]:
    yield from _EVERYWHERE
    if scope is not None:
        yield from _WITH_TOKEN
    if method in _UNSAFE:
        yield from (errors.OriginMissing, errors.OriginRefused, errors.TooLarge)
    if operation.get("parameters"):
        yield errors.InvalidRequest
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        yield from _WITH_JSON


def _described(kinds: Iterable[type[ComfyVNError]], components: dict[str, Any]) -> dict[str, Any]:
    """Return the answers for these problems, by status; what many routes share is described once."""
    by_status: dict[int, list[type[ComfyVNError]]] = {}
    for kind in sorted(kinds, key=lambda kind: kind.__name__):
        by_status.setdefault(kind.status, []).append(kind)
        components["examples"][kind.__name__] = {"value": example_of_problem(kind)}
    answers = {}
    for status, found in by_status.items():
        name = ".".join(kind.__name__ for kind in found)
        components["responses"][name] = _describe_problems(found, components["examples"])
        answers[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return answers


def _describe_problems(kinds: list[type[ComfyVNError]], examples: Mapping[str, Any]) -> dict[str, Any]:
    names = [kind.__name__ for kind in kinds]
    values = [examples[name]["value"] for name in names]
    return {
        "description": " ".join(f"{value['title']}." for value in values),
        "content": {
            PROBLEM_JSON: {
                "schema": {
                    "allOf": [{"$ref": "#/components/schemas/Problem"}],
                    "properties": {
                        "type": {"enum": [value["type"] for value in values]},
                        "status": {"const": kinds[0].status},
                    },
                },
                "examples": {name: {"$ref": f"#/components/examples/{name}"} for name in names},
            }
        },
    }
