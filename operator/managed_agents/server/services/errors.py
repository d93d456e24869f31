"""Failures that only a server with callers has."""

from managed_agents.contracts.errors import ConflictError, ManagedAgentsError, NotFoundError, RetryableError


class UnauthenticatedError(ManagedAgentsError):
    """The caller did not prove who it is."""


class ForbiddenError(ManagedAgentsError):
    """The caller is known and may not do this."""


class NotRegisteredError(ForbiddenError):
    """The caller's Pod is not registered for this session."""


class RateLimitedError(RetryableError):
    """The caller asks for more than its share; `delay_seconds` is when there is room again."""


class ApiConflictError(ConflictError):
    """A conflict that the API answers with 409, for what the caller read or chose is another's by now."""


class EnvironmentNotFoundError(NotFoundError):
    """No environment of that id is known to the caller."""

    error_code = "environment_not_found"
