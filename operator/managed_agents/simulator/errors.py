"""The errors of the Messages API: one exception, and the status that belongs to each type."""

from typing import Any, Final

STATUS_OF_TYPE: Final[dict[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""Public table: https://docs.claude.com/en/api/errors."""


class ApiError(Exception):
    """An answer of the API that is an error: status, type, message, and seconds to wait before a retry.

    `status` defaults to the one the API sends with that type.
    """

    def __init__(
        self, error_type: str, message: str, *, status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.status = STATUS_OF_TYPE.get(error_type, 500) if status is None else status
        self.retry_after_seconds = retry_after_seconds


def invalid_request(message: str) -> ApiError:
    """The refusal of a malformed request."""
    return ApiError("invalid_request_error", message)


def envelope_of(error_type: str, message: str, request_id: str) -> dict[str, Any]:
    """The JSON body of an error, also the data of an `error` event inside a stream."""
    return {"type": "error", "error": {"type": error_type, "message": message}, "request_id": request_id}
