"""The errors of the HTTP contract (docs/sandbox.md): one row of its table each."""

from __future__ import annotations

from typing import Any


class ContractError(Exception):
    """A refused request: status, type, message, and what else the body carries."""

    def __init__(self, status: int, kind: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.details = details

    def body(self) -> dict[str, Any]:
        """Return the response body."""
        return {"error": {"type": self.kind, "message": self.message, **self.details}}


def invalid(message: str) -> ContractError:
    """400: the request is malformed; the message names the field or header."""
    return ContractError(400, "invalid_request_error", message)


def not_found(message: str) -> ContractError:
    """404: no such path, or a call id that never was accepted."""
    return ContractError(404, "not_found_error", message)


def permission(message: str) -> ContractError:
    """403: wrong token or secret."""
    return ContractError(403, "permission_error", message)


def stale_epoch(got: int, epoch: int) -> ContractError:
    """409: a newer harness has the session."""
    message = f"epoch {got} is lower than {epoch}, the highest seen: a newer harness has this session"
    return ContractError(409, "stale_epoch", message, epoch=epoch)


def journal_unavailable(error: OSError) -> ContractError:
    """507: what must be durable first cannot be written."""
    reason = (error.strerror or "i/o error").lower()
    return ContractError(507, "journal_unavailable", f"the journal cannot be written: {reason}; nothing ran")
