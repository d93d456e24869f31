"""Refusals of the kube-apiserver, in the words of the shared hierarchy."""

from managed_agents.contracts.errors import ConflictError, NotFoundError, RejectedError, RetryableError


class ForbiddenError(RejectedError):
    """RBAC, admission or a quota refuses the request; the message is the kube-apiserver's."""

    @property
    def is_quota(self) -> bool:
        """Tell whether a ResourceQuota or LimitRange refused it."""
        return "exceeded quota" in self.message or "failed quota" in self.message or "LimitRange" in self.message


class AlreadyExistsError(ConflictError):
    """An object of that name exists; whether it is ours shows its owner's UID."""


class GoneError(RetryableError):
    """A list's continue token or a watch's resourceVersion has expired: begin anew."""


class UnauthenticatedError(RetryableError):
    """The token is not accepted (it may just have been rotated)."""


def error_for(
    status: int, reason: str, message: str, retry_after: float | None
) -> NotFoundError | ConflictError | RejectedError | RetryableError:
    """Map an HTTP status and the `reason` of its Status object to our hierarchy."""
    match status:
        case 404:
            return NotFoundError(message)
        case 409 if reason == "AlreadyExists":
            return AlreadyExistsError(message)
        case 409 | 412:
            return ConflictError(message)
        case 410:
            return GoneError(message)
        case 401:
            return UnauthenticatedError(message)
        case 403:
            return ForbiddenError(message, reason=reason or "Forbidden")
        case 429 | 408:
            return RetryableError(message, delay_seconds=retry_after)
        case _ if status >= 500:
            return RetryableError(message, delay_seconds=retry_after)
        case _:
            return RejectedError(message, reason=reason or "Invalid")
