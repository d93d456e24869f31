"""Sends one request on and streams its answer back, byte for byte and as it comes."""

import os
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    web,
)
from yarl import URL

from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.headers import response_headers
from managed_agents.proxy.note import NOTE

WHOLE_BYTES_MAX = 64 * 1024
"""An answer that announces at most this many bytes is passed on in one write."""


Rewrite = Callable[[bytes], bytes]
"""Told each piece of an answer and, at its end, an empty one; returns what is passed on."""

Judge = Callable[[ClientResponse], Rewrite | None]
"""Looks at the head of an answer; may refuse it, or say how it is rewritten."""


class UnreachableError(Exception):
    """The other side did not answer at all. The text names what failed, without addresses of callers or any header."""


class NotConnectedError(UnreachableError):
    """There was no connection to the other side, so nothing of the request reached it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One request as the other side is to get it."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | AsyncIterable[bytes]
    timeout: ClientTimeout


async def forward(
    request: web.Request,
    client: ClientSession,
    upstream: Upstream,
    judge: Judge | None = None,
) -> web.StreamResponse:
    """Send `upstream` and answer `request` with what comes back, unless `judge` raises at its head.

    An answer that breaks off in the middle breaks the caller's connection too, so that it never looks complete.
    Raises: UnreachableError when no answer began; RefusedError, 502, on a redirect, which is never followed: it would
    carry the credential to another host (A18).
    """
    try:
        answer = await client.request(
            upstream.method,
            upstream.url,
            headers=upstream.headers,
            data=upstream.body or None,
            timeout=upstream.timeout,
            allow_redirects=False,
        )
    except (ClientConnectorError, ConnectionTimeoutError) as problem:
        raise NotConnectedError(reason_of(problem)) from None
    except (ClientError, TimeoutError, OSError) as problem:
        raise UnreachableError(reason_of(problem)) from None
    async with answer:
        refuse_redirect(answer)
        rewrite = judge(answer) if judge is not None else None
        if rewrite is not None:
            return await _stream(request, answer, rewrite)
        if (answer.content_length or WHOLE_BYTES_MAX + 1) <= WHOLE_BYTES_MAX:
            return await _whole(answer)
        return await _stream(request, answer)


async def _whole(answer: ClientResponse) -> web.StreamResponse:
    try:
        body = await answer.read()
    except (ClientError, TimeoutError, OSError) as problem:
        raise UnreachableError(reason_of(problem)) from None
    return web.Response(status=answer.status, reason=answer.reason, headers=response_headers(answer.headers), body=body)


async def _stream(request: web.Request, answer: ClientResponse, rewrite: Rewrite | None = None) -> web.StreamResponse:
    headers = response_headers(answer.headers)
    if rewrite is not None:
        headers.popall("Content-Length", None)
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    try:
        await response.prepare(request)
        while chunk := await _next_chunk(answer):
            passed = chunk if rewrite is None else rewrite(chunk)
            await response.write(passed)  # waits while the caller reads slower than the other side sends
            request[NOTE].bytes_out += len(chunk)
        if rewrite is not None:
            await response.write(rewrite(b""))
        await response.write_eof()
    except UnreachableError:
        _break(request)
    except ConnectionError:
        request[NOTE].caller_gone = True
    return response


async def _next_chunk(answer: ClientResponse) -> bytes:
    try:
        return await answer.content.readany()
    except (ClientError, TimeoutError, OSError) as problem:
        raise UnreachableError(reason_of(problem)) from None


def _break(request: web.Request) -> None:
    """Close the caller's connection without an end of the body."""
    request[NOTE].broken = True
    if request.transport is not None:
        request.transport.abort()


def refuse_redirect(answer: ClientResponse) -> None:
    """Raises: RefusedError, 502, when the answer is a redirect; its target is not repeated, it may hold a secret."""
    if 300 <= answer.status < 400:
        host = answer.url.host
        raise RefusedError(502, "bad_gateway", f"{host} answered with a redirect ({answer.status}); none is followed")


def reason_of(problem: BaseException) -> str:
    """Say in a few words why a connection failed, without addresses: the system's words, else the error's name."""
    match problem:
        case TimeoutError():
            return "timed out"
        case ClientConnectorCertificateError():
            return "its TLS certificate is not trusted"
        case ClientConnectorDNSError():
            return "its name cannot be resolved"
        case OSError() if problem.errno and problem.errno > 0:
            return os.strerror(problem.errno)
        case _:
            return type(problem).__name__
