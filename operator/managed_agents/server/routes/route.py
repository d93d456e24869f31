"""One route of the public API, as data: the router, the OpenAPI document and the compatibility register read it."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Permit = Callable[[web.Request], Awaitable[object]]
Family = Literal["agents", "environments", "sessions", "events", "threads", "resources", "files", "models", "vaults"]
ContentType = Literal["application/json", "multipart/form-data", "text/event-stream", "application/octet-stream"]


PERMITS = web.AppKey("permits", dict[Handler, Permit])
"""What each handler of a POST asks of its caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query parameter. `schema` is its JSON Schema; `is_list` ones are sent as `name[]`, as often as wanted."""

    name: str
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})
    is_list: bool = False
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A method and a path with what they take and answer.

    `path` holds parameters in braces. `body` is the model that the handler checks the JSON body with, null for none.
    `permit` raises where a POST's handler would refuse its caller: a repeat is answered without the handler, and not
    without that. `answers` is the `type` of the object in the answer, or `list of TYPE`, or `stream of events`, or
    `bytes`.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler
    family: Family
    summary: str
    answers: str
    query: tuple[Query, ...] = ()
    body: type[BaseModel] | None = None
    permit: Permit | None = None
    takes: ContentType = "application/json"
    gives: ContentType = "application/json"


def add_all(app: web.Application, routes: Iterable[Route]) -> None:
    """Add routes to an application."""
    app[PERMITS] = permits = {}
    for route in routes:
        app.router.add_route(route.method, route.path, route.handler)
        if route.permit is not None:
            permits[route.handler] = route.permit
