"""Which headers pass the proxy, as pure rules. Requests by a list of the allowed, answers by a list of the removed.

What a caller says about who it is never passes (A19): Authorization, x-api-key, Cookie and the like are on no list.
"""

from collections.abc import Mapping
from typing import Final

from multidict import CIMultiDict

ANTHROPIC_VERSION: Final = "2023-06-01"
"""The Messages API's version where the caller names none."""

_REQUEST = frozenset({"accept", "accept-encoding", "content-type", "user-agent", "x-request-id"})
_MODEL_REQUEST = _REQUEST | {"idempotency-key", "anthropic-version", "anthropic-beta"}
_MODEL_REQUEST_PREFIX = "x-stainless-"

_MCP_REQUEST = _REQUEST - {"accept-encoding"} | {
    "mcp-session-id",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    "last-event-id",
}

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Of one connection only (RFC 9110 §7.6.1)."""
_NOT_FOR_THE_HARNESS = frozenset({"set-cookie", "alt-svc", "strict-transport-security", "www-authenticate"})


def model_request_headers(incoming: Mapping[str, str], *, api_key: str) -> CIMultiDict[str]:
    """Return the headers of a request to a provider: the allowed ones, the key and the API's version."""
    headers = CIMultiDict(
        (name, value)
        for name, value in incoming.items()
        if (lower := name.lower()) in _MODEL_REQUEST or lower.startswith(_MODEL_REQUEST_PREFIX)
    )
    headers.setdefault("anthropic-version", ANTHROPIC_VERSION)
    headers["x-api-key"] = api_key
    return headers


def server_request_headers(incoming: Mapping[str, str], *, token: str) -> CIMultiDict[str]:
    """Return the headers of a request to the server: the allowed ones and the Pod's token."""
    headers = CIMultiDict((name, value) for name, value in incoming.items() if name.lower() in _REQUEST)
    headers["Authorization"] = f"Bearer {token}"
    return headers


def mcp_request_headers(incoming: Mapping[str, str], *, bearer: str | None) -> CIMultiDict[str]:
    """Return the headers of a request to an MCP server: the allowed ones, and the credential where there is one."""
    headers = CIMultiDict((name, value) for name, value in incoming.items() if name.lower() in _MCP_REQUEST)
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer}"
    return headers


def response_headers(upstream: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the headers of an answer for the harness: all but those of the connection and those that set state.

    `request-id` and `retry-after` pass; so does Content-Length, because bodies pass byte for byte.
    """
    named = {name.strip().lower() for name in upstream.get("Connection", "").split(",")}
    removed = _HOP_BY_HOP | _NOT_FOR_THE_HARNESS | named
    return CIMultiDict((name, value) for name, value in upstream.items() if name.lower() not in removed)
