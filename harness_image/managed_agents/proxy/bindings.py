"""What the hand listener reads and keeps: requests, claims, bindings and results, as values checked without I/O.

A sandbox runs what users wrote, so nothing it answers is believed before it has this shape (F20).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from yarl import URL

from managed_agents.proxy.errors import RefusedError

WAIT_SECONDS_MAX = 60.0
"""Longest wait for a sandbox that one provision call asks the server for."""


RUN_MS_MAX = 24 * 3600 * 1000.0
"""A day: longer than any call runs."""


class MalformedError(Exception):
    """An answer is not of the agreed shape. The text names the field, never its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which sandbox a harness asks for."""

    session: str
    epoch: int
    name: str
    wait_seconds: float
    existing: bool = False
    """Only the one that is there: none is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The sandbox is not there yet."""

    pod_name: str | None
    generation: int | None
    reason: str | None
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A claimed sandbox: where it is and what opens it."""

    session: str
    name: str
    epoch: int
    pod_name: str
    generation: int
    base: URL
    token: str = field(repr=False)
    secret: str = field(repr=False)

    def is_older_than(self, other: "Binding") -> bool:
        """Tell whether `other` was claimed by a later harness or is a later sandbox."""
        return (self.epoch, self.generation) < (other.epoch, other.generation)


def wanted_from(body: bytes) -> Wanted:
    """Parse a provision request. Raises: RefusedError, 400, naming the field."""
    document = object_from(body)
    session, epoch, name = document.get("session_id"), document.get("epoch"), document.get("name", "default")
    wait = document.get("wait_seconds", 0)
    if not isinstance(session, str) or not session.isascii() or not session.replace("_", "").isalnum():
        raise RefusedError(400, "invalid_request", "session_id: a session's id is required")
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 1:
        raise RefusedError(400, "invalid_request", "epoch: an integer of at least 1 is required")
    if not isinstance(name, str) or not name:
        raise RefusedError(400, "invalid_request", "name: a text is required")
    if not isinstance(wait, int | float) or isinstance(wait, bool) or not 0 <= wait <= WAIT_SECONDS_MAX:
        raise RefusedError(400, "invalid_request", f"wait_seconds: a number, 0 to {WAIT_SECONDS_MAX:.0f}, is required")
    return Wanted(session=session, epoch=epoch, name=name, wait_seconds=wait)


def object_from(body: bytes) -> dict[str, object]:
    """Parse a request's body. Raises: RefusedError, 400, when it is not a JSON object."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise RefusedError(400, "invalid_request", f"body: not JSON: {problem.msg}") from None
    if not isinstance(document, dict):
        raise RefusedError(400, "invalid_request", "body: a JSON object is required")
    return document


def claim_from(wanted: Wanted, answer: Mapping[str, object]) -> Binding | Pending:
    """Read the server's answer to a claim. Raises: MalformedError."""
    if answer.get("state") != "ready":
        generation = answer.get("generation")
        return Pending(
            pod_name=_optional_text(answer, "pod_name"),
            generation=generation if isinstance(generation, int) else None,
            reason=_optional_text(answer, "reason"),
            message=_optional_text(answer, "message"),
        )
    generation = answer.get("generation")
    if not isinstance(generation, int):
        raise MalformedError("generation: an integer is required")
    return Binding(
        session=wanted.session,
        name=wanted.name,
        epoch=wanted.epoch,
        pod_name=_text(answer, "pod_name"),
        generation=generation,
        base=_base_from(_text(answer, "address")),
        token=_text(answer, "bind_token"),
        secret=_text(answer, "binding_secret"),
    )


def _base_from(address: str) -> URL:
    try:
        url = URL(f"http://{address}")
        complete = bool(url.host and url.port and url.path == "/" and not url.query_string and not url.user)
    except ValueError:
        complete = False
    if not complete:
        raise MalformedError("address: HOST:PORT is required")
    return url


def result_from(document: object) -> dict[str, object]:
    """Read a tool result and keep the known keys. Raises: MalformedError."""
    if not isinstance(document, dict):
        raise MalformedError("result: an object is required")
    content = document.get("content")
    if not isinstance(content, list) or not all(isinstance(block, dict) and "type" in block for block in content):
        raise MalformedError("content: a list of typed blocks is required")
    if not isinstance(document.get("is_error"), bool):
        raise MalformedError("is_error: true or false is required")
    kept = {key: document[key] for key in ("content", "is_error", "outcome", "finished_at") if key in document}
    run_ms = document.get("run_ms")  # told for the record only; a wrong one is none
    return kept | ({"run_ms": run_ms} if isinstance(run_ms, int | float) and 0 <= run_ms < RUN_MS_MAX else {})


def call_from(document: object) -> dict[str, object]:
    """Read the journal's word on a call. Raises: MalformedError."""
    if not isinstance(document, dict):
        raise MalformedError("call: an object is required")
    match document.get("state"):
        case "running":
            return {"state": "running"}
        case "finished" | "unknown" as state:
            return {"state": state, "result": result_from(document.get("result"))}
        case _:
            raise MalformedError("state: running, finished or unknown is required")


def error_from(status: int, document: object) -> RefusedError:
    """Read an error envelope and keep its status, type, message and fence. Raises: MalformedError."""
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        raise MalformedError(f"error: missing in an answer with status {status}")
    detail = {key: error[key] for key in ("epoch", "head", "reason") if isinstance(error.get(key), int | str)}
    return RefusedError(status, _text(error, "type"), _text(error, "message"), detail=detail)


def _text(document: Mapping[str, object], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise MalformedError(f"{key}: a text is required")
    return value


def _optional_text(document: Mapping[str, object], key: str) -> str | None:
    value = document.get(key)
    return value if isinstance(value, str) else None
