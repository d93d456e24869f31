"""Failures to answers: one table a port, applied once, at the edge."""

from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.errors import (
    ConflictError,
    FencedError,
    HeadMismatchError,
    ManagedAgentsError,
    NotFoundError,
    RejectedError,
    RetryableError,
)
from managed_agents.eventlog.errors import DamagedError, InputWaitingError, KeyReusedError, VolumeFullError
from managed_agents.filestore.errors import FileTooLargeError, FileVolumeFullError
from managed_agents.server.services.errors import (
    ApiConflictError,
    ForbiddenError,
    NotRegisteredError,
    RateLimitedError,
    UnauthenticatedError,
)
from managed_agents.server.services.limits import retry_after_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An error's status and body; `retry_after` is whole seconds, where trying again can help."""

    status: int
    body: dict[str, Any]
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    kind: type[ManagedAgentsError]
    internal: tuple[int, str]
    public: tuple[int, str]


# The first row that fits decides, so a subclass stands before its parent.
_TABLE = (
    _Row(KeyReusedError, (422, "key_reused"), (422, "invalid_request_error")),
    _Row(RejectedError, (400, "invalid_request"), (400, "invalid_request_error")),
    _Row(UnauthenticatedError, (401, "unauthenticated"), (401, "authentication_error")),
    _Row(NotRegisteredError, (403, "not_registered"), (403, "permission_error")),
    _Row(ForbiddenError, (403, "forbidden"), (403, "permission_error")),
    _Row(NotFoundError, (404, "not_found"), (404, "not_found_error")),
    _Row(HeadMismatchError, (412, "head_mismatch"), (400, "invalid_request_error")),
    _Row(FencedError, (409, "fenced"), (400, "invalid_request_error")),
    _Row(InputWaitingError, (409, "input_waiting"), (400, "invalid_request_error")),
    _Row(ApiConflictError, (409, "conflict"), (409, "conflict_error")),
    # SDKs retry a 409, which cannot help here (API reference §1.10)
    _Row(ConflictError, (409, "conflict"), (400, "invalid_request_error")),
    _Row(DamagedError, (500, "damaged"), (500, "api_error")),
    _Row(FileTooLargeError, (413, "too_large"), (413, "request_too_large")),
    _Row(FileVolumeFullError, (507, "volume_full"), (503, "api_error")),
    _Row(VolumeFullError, (507, "volume_full"), (503, "api_error")),
    _Row(RateLimitedError, (429, "rate_limited"), (429, "rate_limit_error")),
    _Row(RetryableError, (503, "unavailable"), (503, "api_error")),
)


def internal_answer(error: ManagedAgentsError) -> Answer:
    """Return the answer of docs/internal-api.md."""
    row = _row(error)
    status, word = row.internal if row is not None else (500, "internal")
    body: dict[str, Any] = {"type": word, "message": error.message}
    match error:
        case HeadMismatchError():
            body["head"] = error.head
        case RejectedError():
            body |= {"reason": error.reason, "field": error.field}
        case _:
            pass
    return Answer(status=status, body={"error": body}, retry_after=_retry_after(error))


def public_answer(error: ManagedAgentsError, request_id: str) -> Answer:
    """Return the answer of the Managed Agents API (API reference §2.4)."""
    row = _row(error)
    status, word = row.public if row is not None else (500, "api_error")
    body = public_body(word, error.message, request_id)
    if error.error_code is not None:
        body["error"]["details"] = {"error_code": error.error_code}
    return Answer(status=status, body=body, retry_after=_retry_after(error))


def public_body(word: str, message: str, request_id: str) -> dict[str, Any]:
    """Return the API's error envelope."""
    # a path or a header may hold bytes that are no text, and a message may quote them
    shown = message.encode("utf-8", "replace").decode()
    return {"type": "error", "error": {"type": word, "message": shown}, "request_id": request_id}


def _retry_after(error: ManagedAgentsError) -> int | None:
    return retry_after_seconds(error.delay_seconds or 0) if isinstance(error, RetryableError) else None


def _row(error: ManagedAgentsError) -> _Row | None:
    return next((row for row in _TABLE if isinstance(error, row.kind)), None)
