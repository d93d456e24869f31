"""The model: one streamed request of the Messages API, through the proxy, which holds the key.

A client of our own: importing the official SDK costs each harness two seconds of CPU and most of its memory, for what
is one POST and a stream of events here. tests/unit/harness/test_model.py holds it to the SDK.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, Self

import aiohttp
import orjson

from managed_agents.contracts import causes, limits
from managed_agents.harness.history.request import Body
from managed_agents.harness.reply import Reply
from managed_agents.harness.retry import ModelFailureError, failure_for
from managed_agents.harness.settings import Settings
from managed_agents.harness.sse import events_of

Preview = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Sends a preview to whoever watches; it is never stored and may be lost."""

_CONNECT_SECONDS = 5.0
_FAST_MODE = "fast-mode-2026-02-01"
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream",
    "anthropic-version": "2023-06-01",
    "x-api-key": "in-proxy",
}
"""The key is the proxy's, which puts it in this one's place."""

_ERROR_BYTES_MAX = 1024 * 1024


async def no_preview(_: Mapping[str, Any]) -> None:
    """Show nothing to nobody."""


class Model(Protocol):
    """Something that answers Messages API requests."""

    async def stream(self, body: Body, reply: Reply, preview: Preview) -> None:
        """Send an encoded request and feed the response to `reply`, until it is complete.

        Raises: ModelFailureError when it does not come or not come whole; `reply` then holds what came.
        """
        ...


class MessagesModel:
    """The Messages API at the proxy. Requests are sent as the bytes they are; nothing is retried here."""

    def __init__(self, settings: Settings) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=settings.silence_seconds)
        self._http = aiohttp.ClientSession(timeout=timeout)
        self._url = f"{settings.model_url}/v1/messages"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def stream(self, body: Body, reply: Reply, preview: Preview) -> None:
        """Send an encoded request and feed the response to `reply`. Raises: ModelFailureError."""
        try:
            await self._stream(body, reply, preview)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise _unreachable(f"{type(error).__name__}: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise _unreachable(f"the response is not one of the Messages API ({type(error).__name__})") from error
        if not reply.complete:
            raise _unreachable("the response ended before message_stop")

    async def _stream(self, body: Body, reply: Reply, preview: Preview) -> None:
        headers = {**_HEADERS, "Content-Length": str(len(body))}  # else sent chunked, which not every provider takes
        if b'"speed":"fast"' in body.pieces[0][:4096]:  # a beta is named by header alone
            headers["anthropic-beta"] = _FAST_MODE
        data = body.pieces[0] if len(body.pieces) == 1 else _sent(body)
        async with self._http.post(self._url, data=data, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                error = _error_of(await response.content.read(_ERROR_BYTES_MAX))
                raise failure_for(response.status, error, response.headers)
            async for event in events_of(response, limits.EVENT_BODY_BYTES_MAX):
                if event.name == "error":
                    raise failure_for(response.status, _error_of(event.data), response.headers)
                if event.data and event.name != "ping":
                    for shown in reply.feed(orjson.loads(event.data)):
                        await preview(shown)


async def _sent(body: Body) -> AsyncIterator[bytes]:
    for piece in body.pieces:
        yield piece


def _unreachable(message: str) -> ModelFailureError:
    return ModelFailureError(cause=causes.MODEL_UNREACHABLE, message=f"Model request failed: {message}.")


def _error_of(content: bytes | str) -> Mapping[str, Any]:
    """Return the API's error object, empty where an answer holds none."""
    try:
        error = orjson.loads(content).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        return {}
    return error if isinstance(error, dict) else {}
