"""One small hierarchy of failures, mapped once, at the edge, to an API error or to a condition (style §5).

A message says what failed, where, what was found, what is allowed and what to do next; it holds no secret.
"""


class ManagedAgentsError(Exception):
    """The root of all failures that a caller can act upon."""

    error_code: str | None = None
    """What the API shows as `error.details.error_code`, where it documents one (API reference §2.4)."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RejectedError(ManagedAgentsError):
    """The request can never succeed as it is. `reason` is a stable PascalCase word; `field` the path at fault.

    `error_code` is the API's own word for it (`error.details.error_code`, API reference §2.4), where it has one.
    """

    def __init__(
        self, message: str, *, reason: str = "Invalid", field: str | None = None, error_code: str | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.error_code = error_code


class NotFoundError(ManagedAgentsError):
    """The named thing does not exist, or the caller may not know that it does."""


class ConflictError(ManagedAgentsError):
    """The state changed under the caller, or forbids the request now."""


class FencedError(ConflictError):
    """The caller's epoch is older than the one in the log: another writer has taken over (I4)."""


class HeadMismatchError(ConflictError):
    """The log's head is not the one the caller expected. `head` is the position it is at."""

    def __init__(self, message: str, *, head: int) -> None:
        super().__init__(message)
        self.head = head


class RetryableError(ManagedAgentsError):
    """The attempt failed and may succeed later. `delay_seconds` is what the other side asked for, if it did."""

    def __init__(self, message: str, *, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds
