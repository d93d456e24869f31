"""One bounded HTTP exchange of JSON, for the calls that the proxy makes on its own behalf."""

from collections.abc import Mapping

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from managed_agents.proxy.bindings import MalformedError, error_from
from managed_agents.proxy.forward import UnreachableError, reason_of
from managed_agents.proxy.settings import BODY_BYTES_MAX


async def json_call(
    client: ClientSession,
    method: str,
    url: URL,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    timeout: ClientTimeout,
) -> object:
    """Send a request, its JSON already encoded, and return the JSON of its answer.

    Raises: UnreachableError when no complete answer came; RefusedError with the answer's own status and error when
    it is not a 200; MalformedError when it is not JSON, too large, or a redirect.
    """
    sent = headers if body is None else {**headers, "Content-Type": "application/json"}
    try:
        async with client.request(
            method, url, headers=sent, data=body, timeout=timeout, allow_redirects=False
        ) as answer:
            content = await _read(answer)
    except (ClientError, TimeoutError, OSError) as problem:
        raise UnreachableError(reason_of(problem)) from None
    try:
        document: object = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise MalformedError(f"body: not JSON in an answer with status {answer.status}") from None
    if answer.status != 200:
        raise error_from(answer.status, document)
    return document


async def _read(answer: ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await answer.content.readany():
        size += len(part)
        if size > BODY_BYTES_MAX:
            answer.close()
            raise MalformedError(f"body: larger than {BODY_BYTES_MAX} bytes")
        parts.append(part)
    return b"".join(parts)
