"""POSTs of the public API: each leads to one result, however often it is sent."""

import asyncio
import hashlib

from aiohttp import web
from aiohttp.typedefs import Handler

from managed_agents.contracts.errors import RejectedError
from managed_agents.server.connection import ApiConnection
from managed_agents.server.context import context_of
from managed_agents.server.routes.access import WORKSPACE_HEADER
from managed_agents.server.routes.route import PERMITS
from managed_agents.server.services.callers import Caller
from managed_agents.server.services.replies import Answering, Asked, Replies, Result

KEY_HEADER = "Idempotency-Key"
KEY_LENGTH_MAX = 255
RETRY_HEADER = "x-stainless-retry-count"

BODY_SECONDS = 120.0
"""How long a body may take to arrive; a form has its own bound, for each part of it."""

ANSWERING = web.RequestKey("answering", Answering)
"""The request as its handler may keep the result itself, in the commit that makes it."""


async def answered_once(request: web.Request, handler: Handler, caller: Caller) -> web.StreamResponse:
    """Answer a POST by its handler, or as an earlier one that it repeats. Raises: KeyReusedError, RejectedError."""
    asked = await _asked(request, caller)
    if not asked.repeats and is_form(request):
        return await handler(request)  # its boundary is new each time, so a repeat could never be told

    async def run(answering: Answering) -> Result:
        request[ANSWERING] = answering
        response = await handler(request)
        body = response.body if isinstance(response, web.Response) and isinstance(response.body, bytes) else b""
        return Result(status=response.status, body=body)

    replies = context_of(request).replies
    answering, result = await replies.answer(asked, run, lambda: _permit(request))
    return _Answer(result, request, answering, replies)


async def _permit(request: web.Request) -> None:
    await request.config_dict[PERMITS][request.match_info.handler](request)


class _Answer(web.Response):
    """An answer that says whether its client got it."""

    def __init__(self, result: Result, request: web.Request, answering: Answering, replies: Replies) -> None:
        super().__init__(status=result.status, body=result.body, content_type="application/json")
        self._protocol = request.protocol
        self._answering = answering
        self._replies = replies

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        answering, replies = self._answering, self._replies
        replies.delivered(answering, True)
        if isinstance(self._protocol, ApiConnection):
            self._protocol.on_undelivered(lambda: replies.delivered(answering, False))


async def _asked(request: web.Request, caller: Caller) -> Asked:
    key = request.headers.get(KEY_HEADER)
    if key is not None and not (1 <= len(key) <= KEY_LENGTH_MAX and key.isascii() and key.isprintable()):
        raise RejectedError(f"{KEY_HEADER}: must have 1 to {KEY_LENGTH_MAX} ASCII characters", field=KEY_HEADER)
    retry = request.headers.get(RETRY_HEADER, "0")
    body = str(request.content_length).encode() if is_form(request) else await _body(request)
    return Asked(
        caller=caller.id,
        target=f"{request.method} {request.path} {request.headers.get(WORKSPACE_HEADER, '')}",
        digest=hashlib.sha256(body).digest(),
        key=key,
        is_retry=retry.isascii() and retry.isdigit() and retry.strip("0") != "" and not is_form(request),
    )


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise RejectedError(f"the body did not arrive within {BODY_SECONDS:.0f} s") from None


def is_form(request: web.Request) -> bool:
    """Tell whether the body is a form: read as it comes, never whole; of a form, its length stands for its body."""
    return request.content_type.startswith("multipart/")
