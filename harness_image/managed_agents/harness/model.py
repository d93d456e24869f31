"""The model: one streamed request over the official SDK, through the proxy, which holds the key."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, Self

import anthropic
import httpx2

from managed_agents.contracts import causes
from managed_agents.harness.history.request import Body
from managed_agents.harness.reply import Reply
from managed_agents.harness.retry import ModelFailureError, failure_for
from managed_agents.harness.settings import Settings

Preview = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Sends a preview to whoever watches; it is never stored and may be lost."""

_CONNECT_SECONDS = 5.0
_FAST_MODE = "fast-mode-2026-02-01"


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
        timeout = httpx2.Timeout(settings.silence_seconds, connect=_CONNECT_SECONDS)
        # The proxy is plain HTTP on loopback. A trust store that trusts nobody saves 50 ms of loading the usual one.
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        http = anthropic.DefaultAsyncHttpxClient(verify=nobody, trust_env=False)
        self._client = anthropic.AsyncAnthropic(
            base_url=settings.model_url, api_key="in-proxy", max_retries=0, timeout=timeout, http_client=http
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def stream(self, body: Body, reply: Reply, preview: Preview) -> None:
        """Send an encoded request and feed the response to `reply`. Raises: ModelFailureError."""
        try:
            await self._stream(body, reply, preview)
        except anthropic.APIStatusError as error:
            raise failure_for(error.status_code, _error_of(error.body), error.response.headers) from error
        except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
            detail = error.__cause__ or error
            raise _unreachable(f"{type(detail).__name__}: {detail}") from error
        except (anthropic.AnthropicError, ValueError, KeyError, TypeError) as error:
            raise _unreachable(f"the response is not one of the Messages API ({type(error).__name__})") from error
        if not reply.complete:
            raise _unreachable("the response ended before message_stop")

    async def _stream(self, body: Body, reply: Reply, preview: Preview) -> None:
        # A beta is named by header alone; the endpoint is the same.
        headers = {"anthropic-beta": _FAST_MODE} if b'"speed":"fast"' in body.pieces[0][:4096] else {}
        headers["Content-Length"] = str(len(body))  # else pieces are sent chunked, which not every provider takes
        events = await self._client.post(
            "/v1/messages",
            content=_sent(body),
            cast_to=object,
            options={"headers": headers},
            stream=True,
            stream_cls=anthropic.AsyncStream[object],
        )
        async with events:
            async for event in events:
                for shown in reply.feed(event):  # type: ignore[arg-type]  # cast_to=object leaves the JSON as it is
                    await preview(shown)


async def _sent(body: Body) -> AsyncIterator[bytes]:
    for piece in body.pieces:
        yield piece


def _unreachable(message: str) -> ModelFailureError:
    return ModelFailureError(cause=causes.MODEL_UNREACHABLE, message=f"Model request failed: {message}.")


def _error_of(body: object) -> Mapping[str, Any]:
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}
