"""Failures of the event log that its callers tell apart."""

from managed_agents.contracts.errors import ConflictError, ManagedAgentsError, RejectedError, RetryableError


class KeyReusedError(RejectedError):
    """An idempotency key, or an event id, came again with another body (I13)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="KeyReused")


class InputWaitingError(ConflictError):
    """The session cannot be released: input waits or a turn is open."""


class DamagedError(ManagedAgentsError):
    """A stored record fails its checksum: the session is read-only, others serve (F3)."""


class UnavailableError(RetryableError):
    """The log cannot store now: a write failed and the process is about to end (F4)."""


class VolumeFullError(UnavailableError):
    """The log's volume has no space left: reads go on, and writes as soon as there is space."""


class PreviouslyRejectedError(RejectedError):
    """The key was refused before, and stays so."""
