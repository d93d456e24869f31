"""Messages of JSON-RPC 2.0 as MCP uses them. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from managed_agents.harness.mcp.errors import McpBrokenError, McpRefusedError

PROTOCOL_VERSION = "2025-11-25"
"""The revision that we ask for; a server answers with it or with an older one that it speaks."""

VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", PROTOCOL_VERSION})

MESSAGE_BYTES_MAX = 32 * 1024 * 1024
"""One message of a server: the bound of an event in the log, which a result must fit in anyway."""

Message = Mapping[str, Any]


def request(request_id: int, method: str, params: Mapping[str, Any] | None = None) -> Message:
    """Build a request."""
    return {"jsonrpc": "2.0", "id": request_id, "method": method} | ({"params": params} if params else {})


def notification(method: str, params: Mapping[str, Any] | None = None) -> Message:
    """Build a notification."""
    return {"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {})


def answer_to(asked: Message) -> Message:
    """Answer what a server asks of its client: it is there, and can do nothing else."""
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked.get("method") == "ping":
        return answer | {"result": {}}
    return answer | {"error": {"code": -32601, "message": "this client does not offer that"}}


def is_answer(message: Message, request_id: int) -> bool:
    """Tell whether a message answers the request of that id."""
    return "method" not in message and message.get("id") == request_id


def is_request(message: Message) -> bool:
    """Tell whether a message wants an answer of ours."""
    return "method" in message and message.get("id") is not None


def parsed(text: bytes | str) -> Message:
    """Parse a message. Raises: McpBrokenError where it is none."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise McpBrokenError("the server sent something that is not JSON") from None
    if not isinstance(message, dict):
        raise McpBrokenError("the server sent JSON that is no message of MCP")
    return message


def result_of(answer: Message) -> Mapping[str, Any]:
    """Return the result of an answer. Raises: McpRefusedError where it is an error, McpBrokenError where it is none."""
    error = answer.get("error")
    if error is not None:
        said = error.get("message") if isinstance(error, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        raise McpRefusedError(f"{str(said or 'no reason given')[:2000]} (code {code})")
    result = answer.get("result")
    if not isinstance(result, dict):
        raise McpBrokenError("the server sent an answer without a result")
    return result
