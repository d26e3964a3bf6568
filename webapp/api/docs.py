"""The OpenAPI document, made from the endpoints, and a page that shows it."""

from __future__ import annotations

import functools
import re
from typing import Any

from flask import Blueprint, Response, render_template
from pydantic import BaseModel

from webapp.api import PREFIX, modules, schemas
from webapp.api.endpoint import IDEMPOTENCY, Endpoint, text_of
from webapp.security import PUBLIC, needs
from webapp.services.permissions import PERMISSIONS, roles_with
from webapp.version import VERSION

pages = Blueprint("docs", __name__)
_ALWAYS = (400, 401, 403, 429)
_WITH_BODY = (413, 415)
_REF = "#/components/schemas/{model}"
_SAID = {
    400: "The request cannot be read.",
    401: "No token, or a wrong one.",
    403: "The role or the scope does not allow it.",
    404: "There is no such thing.",
    409: "The state of things does not allow it now.",
    412: "It was changed by somebody else.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The request does not fit; `errors` says where.",
    429: "Too many wrong tries; Retry-After says how long to wait.",
    503: "Something that is needed cannot be used now.",
}


@pages.get("/api/openapi.json")
@needs(PUBLIC)
def document() -> Response:
    """OpenAPI 3.1."""
    return Response(text_of(openapi()), content_type="application/json")


@pages.get("/api/docs")
@needs(PUBLIC)
def page() -> str:
    """The same for people, without a script."""
    return render_template("api.html", endpoints=endpoints(), roles_with=roles_with, prefix=PREFIX)


def endpoints() -> list[Endpoint]:
    """All of them, by path."""
    every = [each for module in modules() for each in module.ROUTES]
    return sorted(every, key=lambda each: (each.path, each.method))


@functools.cache
def openapi() -> dict[str, Any]:
    """The document; models that are asked for are components."""
    components: dict[str, Any] = {"Problem": dict(schemas.PROBLEM)}
    paths: dict[str, Any] = {}
    for each in endpoints():
        path = PREFIX + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", each.path)
        paths.setdefault(path, {})[each.method.lower()] = _operation(each, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Holdfast", "version": VERSION},
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(endpoint: Endpoint, components: dict[str, Any]) -> dict[str, Any]:
    needed = PERMISSIONS[endpoint.permission]
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": f"Roles: {', '.join(roles_with(endpoint.permission))}. Scope of a token: {needed.scope}.",
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint),
    }
    if endpoint.body is not None:
        schema = _component(endpoint.body, components)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"<(?:\w+:)?(\w+)>", endpoint.path)
    ]
    if endpoint.query is not None:
        schema = endpoint.query.model_json_schema(by_alias=True)
        for name, part in schema["properties"].items():
            is_needed = name in schema.get("required", ())
            found.append({"name": name, "in": "query", "required": is_needed, "schema": _without_null(part)})
    if endpoint.starts_work:
        key = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}
        found.append({"name": IDEMPOTENCY, "in": "header", "required": False, "schema": key})
    if 412 in endpoint.errors:
        tag = {"type": "string", "pattern": r'^(\*|"\d{1,9}")$'}
        found.append({"name": "If-Match", "in": "header", "required": False, "schema": tag})
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query's parameter is there or not; it is never null."""
    rest = {key: value for key, value in schema.items() if key not in ("title", "default", "anyOf")}
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    return {**rest, **(kinds[0] if kinds else {})}


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    statuses = {*_ALWAYS, *endpoint.errors, *(_WITH_BODY if endpoint.body else ())}
    if endpoint.body or endpoint.query or endpoint.starts_work or 412 in endpoint.errors or "<" in endpoint.path:
        statuses.add(422)
    good: dict[str, Any] = {"description": endpoint.summary}
    if endpoint.answer is not None:
        good["content"] = {endpoint.media: {"schema": endpoint.answer}}
    if endpoint.headers:
        good["headers"] = {name: {"required": True, "schema": {"type": "string"}} for name in endpoint.headers}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    bad = {str(status): {"description": _SAID[status], "content": problem} for status in sorted(statuses)}
    return {str(endpoint.status): good, **bad}


def _component(model: type[BaseModel], components: dict[str, Any]) -> dict[str, str]:
    schema = model.model_json_schema(by_alias=True, ref_template=_REF)
    components.update(schema.pop("$defs", {}))
    components[model.__name__] = schema
    return {"$ref": _REF.format(model=model.__name__)}
