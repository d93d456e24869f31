"""The hand protocol for the harness (port 7302, docs/internal-api.md)."""

from collections.abc import Sequence

import orjson
from aiohttp import web

from managed_agents.proxy.bindings import Binding, wanted_from
from managed_agents.proxy.files.outputs import Outputs
from managed_agents.proxy.files.uploads import Uploads
from managed_agents.proxy.packages import Packages
from managed_agents.proxy.sandbox_hand import SandboxHand

_CALL = "/v1/hands/sandbox/calls/{tool_use_id:[A-Za-z0-9_.:-]{1,128}}"


class HandListener:
    """Handlers that parse, call the hand and render; no secret of a binding is ever rendered."""

    def __init__(self, hand: SandboxHand, uploads: Uploads, outputs: Outputs, packages: Packages) -> None:
        self._hand = hand
        self._outputs = outputs
        self._packages = packages
        self._uploads = uploads

    def routes(self) -> list[web.RouteDef]:
        """Return what this listener serves."""
        return [
            web.post("/v1/hands/sandbox/provision", self._provision),
            web.post("/v1/hands/sandbox/execute", self._execute),
            web.get(_CALL, self._lookup, allow_head=False),
            web.post(f"{_CALL}/cancel", self._cancel),
        ]

    async def _provision(self, request: web.Request) -> web.StreamResponse:
        claimed = await self._hand.provision(wanted_from(await request.read()))
        if isinstance(claimed, Binding):
            claimed = await self._packages.supplied(claimed) or claimed
        pod = {"pod_name": claimed.pod_name, "generation": claimed.generation}
        if isinstance(claimed, Binding):
            return _json({"state": "ready", **pod})
        return _json({"state": "pending", **pod, "reason": claimed.reason, "message": claimed.message})

    async def _execute(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        await self._uploads.settled()
        result = await self._hand.execute(body)
        self._outputs.called()
        return _json(with_notices(result, self._uploads.notices()))

    async def _lookup(self, request: web.Request) -> web.StreamResponse:
        return _json(await self._hand.lookup(request.match_info["tool_use_id"]))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        return _json(await self._hand.cancel(request.match_info["tool_use_id"]))


def with_notices(result: dict[str, object], notices: Sequence[str]) -> dict[str, object]:
    """Add to a tool result what the model has to know about files that are missing."""
    content = result.get("content")
    if not notices or not isinstance(content, list):
        return result
    return {**result, "content": [*content, *({"type": "text", "text": notice} for notice in notices)]}


def _json(document: object) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")
