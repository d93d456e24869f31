"""The OpenAPI 3.1 document of the public API, made from the route table. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from managed_agents.server.routes.route import Query, Route
from managed_agents.server.services.files import EXPIRES_SECONDS

Schema = dict[str, Any]

ERRORS: Mapping[str, str] = {
    "400": "invalid_request_error: a field is wrong; the message names it",
    "401": "authentication_error: no credential, or one that is not valid here",
    "403": "permission_error: the credential may not do this",
    "404": "not_found_error: there is no such object in this workspace",
    "409": "conflict_error: a version or a name is another's",
    "413": "request_too_large",
    "422": "invalid_request_error: an Idempotency-Key was used for another request",
    "429": "rate_limit_error: try again after `retry-after` seconds",
    "503": "api_error: try again after `retry-after` seconds",
}

_ERROR: Schema = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": ["object", "null"], "properties": {"error_code": {"type": ["string", "null"]}}},
            },
        },
        "request_id": {"type": "string"},
    },
}
_PARAMETER = re.compile(r"\{(\w+)\}")


def document(routes: Iterable[Route], *, version: str) -> Schema:
    """Return the document: one operation a route, the error envelope for every failure."""
    paths: dict[str, Schema] = {}
    schemas: dict[str, Schema] = {"Error": _ERROR}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Managed Agents",
            "version": version,
            "description": "A self-hosted Managed Agents API; docs/api-compatibility.md tells how it differs.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
        "security": [{"bearer": []}, {"apiKey": []}],
    }


def _operation(route: Route, schemas: dict[str, Schema]) -> Schema:
    operation: Schema = {
        "operationId": operation_id(route),
        "tags": [route.family],
        "summary": route.summary,
        "parameters": [*map(_path_parameter, _PARAMETER.findall(route.path)), *map(_query_parameter, route.query)],
        "responses": {
            "200": {"description": f"{route.answers}", "content": {route.gives: {"schema": _answer(route, schemas)}}},
            **{status: _failure(text) for status, text in ERRORS.items()},
        },
    }
    if (body := _body(route, schemas)) is not None:
        operation["requestBody"] = {"required": True, "content": {route.takes: {"schema": body}}}
    return operation


def operation_id(route: Route) -> str:
    """Return a name that is one route's alone: the method and the path's words."""
    words = [word for word in re.split(r"[^a-zA-Z0-9_]+", route.path) if word not in ("", "v1")]
    return "_".join([route.method.lower(), *words])


def _path_parameter(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query_parameter(query: Query) -> Schema:
    name, schema = (
        (f"{query.name}[]", {"type": "array", "items": query.schema})
        if query.is_list
        else (
            query.name,
            query.schema,
        )
    )
    parameter: Schema = {"name": name, "in": "query", "schema": schema}
    return parameter | ({"description": query.summary} if query.summary else {})


def _body(route: Route, schemas: dict[str, Schema]) -> Schema | None:
    if route.takes == "multipart/form-data":
        file: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
        least, most = EXPIRES_SECONDS
        expires: Schema = {"type": "integer", "minimum": least, "maximum": most}
        properties = {"file": file, "expires_in_seconds": expires}
        return {"type": "object", "required": ["file"], "additionalProperties": False, "properties": properties}
    if route.body is None:
        return None
    model = route.body.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= model.pop("$defs", {})
    schemas[route.body.__name__] = model
    return {"$ref": f"#/components/schemas/{route.body.__name__}"}


def _answer(route: Route, schemas: dict[str, Schema]) -> Schema:
    if route.gives != "application/json":
        return {"type": "string"}
    if route.answers.startswith("list of "):
        kind = route.answers.removeprefix("list of ")
        properties = {"data": {"type": "array", "items": _object(kind, schemas)}}
        return {"type": "object", "required": ["data"], "properties": properties}
    return _object(route.answers, schemas)


def _object(kind: str, schemas: dict[str, Schema]) -> Schema:
    name = "".join(word.capitalize() for word in kind.split("_"))
    schemas.setdefault(
        name, {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}, "title": kind}
    )
    return {"$ref": f"#/components/schemas/{name}"}


def _failure(text: str) -> Schema:
    return {
        "description": text,
        "headers": {"request-id": {"schema": {"type": "string"}, "required": True}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
