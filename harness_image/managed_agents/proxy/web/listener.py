"""The web tools in the hand protocol, on the hand listener (port 7302, docs/internal-api.md)."""

import time
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from managed_agents.proxy.bindings import object_from
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.web.calls import WebCalls, WebResult, error_result
from managed_agents.proxy.web.fetching import WebFetch
from managed_agents.proxy.web.problems import UNKNOWN_TOOL
from managed_agents.proxy.web.search.searching import WebSearch

_CALL = "/v1/hands/web/calls/{tool_use_id:[A-Za-z0-9_.:-]{1,128}}"
_ID_CHARACTERS_MAX = 128


class WebListener:
    """Handlers that parse, run a tool and render. There is nothing to provision."""

    def __init__(self, calls: WebCalls, fetch: WebFetch, search: WebSearch) -> None:
        self._calls = calls
        self._fetch = fetch
        self._search = search

    def routes(self) -> list[web.RouteDef]:
        """Return what this listener serves."""
        return [
            web.post("/v1/hands/web/execute", self._execute),
            web.get(_CALL, self._lookup, allow_head=False),
            web.post(f"{_CALL}/cancel", self._cancel),
        ]

    async def _execute(self, request: web.Request) -> web.StreamResponse:
        body = object_from(await request.read())
        call_id = body.get("tool_use_id")
        if not isinstance(call_id, str) or not 1 <= len(call_id) <= _ID_CHARACTERS_MAX:
            raise RefusedError(400, "invalid_request", "tool_use_id: a text of 1 to 128 characters is required")
        given, config = _object(body, "input"), _object(body, "config")
        started = time.perf_counter()
        result = await self._calls.run(call_id, lambda: self._run(str(body.get("name")), given, config))
        took = round((time.perf_counter() - started) * 1000, 2)
        return _json({**result.rendered(), "run_ms": took})

    async def _run(self, name: str, given: Mapping[str, Any], config: Mapping[str, Any]) -> WebResult:
        if name == "web_fetch":
            return WebResult(content=await self._fetch.run(given, config))
        if name == "web_search":
            return await self._search.run(given, config)
        return error_result(UNKNOWN_TOOL)

    async def _lookup(self, request: web.Request) -> web.StreamResponse:
        result = self._calls.lookup(request.match_info["tool_use_id"])
        if result is None:
            return _json({"state": "running"})
        return _json({"state": "finished", "result": result.rendered()})

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        await self._calls.cancel(request.match_info["tool_use_id"])
        return _json({})


def _object(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RefusedError(400, "invalid_request", f"{key}: an object is required")
    return value


def _json(document: object) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")
