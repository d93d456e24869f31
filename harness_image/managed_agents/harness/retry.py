"""What becomes of a failed model request: its cause, and when it is repeated (guarantees I15, F13)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts import causes
from managed_agents.contracts.causes import Cause
from managed_agents.harness.settings import Settings

_SPEND_LIMIT = re.compile(r"spend|usage limit|credit balance|billing", re.IGNORECASE)


_TOO_LONG = re.compile(r"prompt is too long|context (?:window|length|limit)|too many tokens", re.IGNORECASE)
"""How providers say that a conversation exceeds the model's window."""


@dataclass(slots=True, kw_only=True)
class ModelFailureError(Exception):
    """A model request that brought no response. `retry_after_seconds` is what the provider asked for, if it did."""

    cause: Cause
    message: str
    retry_after_seconds: float | None = None
    status: int | None = None

    @property
    def overflows(self) -> bool:
        """Tell whether the request was too large for the model: a smaller one may succeed."""
        return self.status == 413 or (self.status == 400 and _TOO_LONG.search(self.message) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Repeat after `delay_seconds`, or give up if it is null. `withdraws`: the input itself is at fault."""

    delay_seconds: float | None
    withdraws: bool = False


def failure_for(status: int, error: Mapping[str, Any], headers: Mapping[str, str]) -> ModelFailureError:
    """Classify an error answer by its status, the API's error object and its headers.

    An error that arrives within a stream has the status 200 of that stream, so the error's type counts first.
    """
    error_type, message = str(error.get("type") or ""), str(error.get("message") or f"HTTP status {status}")
    cause = _BY_TYPE.get(error_type) or _BY_STATUS.get(status) or _otherwise(status)
    after = _retry_after_seconds(headers)
    refused_for_good = headers.get("x-should-retry") == "false" or _SPEND_LIMIT.search(message)
    if cause is causes.MODEL_RATE_LIMITED and after is None and refused_for_good:
        cause = causes.BILLING
    return ModelFailureError(cause=cause, message=message, retry_after_seconds=after, status=status)


def verdict_for(
    failure: ModelFailureError, *, retries: int, settings: Settings, random: Callable[[], float]
) -> Verdict:
    """Decide on a failure after so many repeats. `random` returns numbers in [0, 1) and spreads the herd."""
    if not failure.cause.retryable:
        return Verdict(delay_seconds=None, withdraws=failure.cause is causes.MODEL_REFUSED_REQUEST)
    after = failure.retry_after_seconds
    if retries >= settings.model_retries_max or (after or 0.0) > settings.retry_after_max_seconds:
        return Verdict(delay_seconds=None)
    if after is not None:
        return Verdict(delay_seconds=after * (1.0 + 0.1 * random()))
    back_off = min(settings.retry_base_seconds * 2.0**retries, settings.retry_cap_seconds)
    return Verdict(delay_seconds=back_off * (0.75 + 0.5 * random()))


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * scale)
        except (KeyError, ValueError):
            continue
    return None


def _otherwise(status: int) -> Cause:
    return causes.MODEL_REFUSED_REQUEST if 400 <= status < 500 else causes.MODEL_UNREACHABLE


_BY_TYPE: Mapping[str, Cause] = {
    "overloaded_error": causes.MODEL_OVERLOADED,
    "rate_limit_error": causes.MODEL_RATE_LIMITED,
    "billing_error": causes.BILLING,
    "authentication_error": causes.MODEL_AUTHENTICATION,
    "permission_error": causes.MODEL_AUTHENTICATION,
    "not_found_error": causes.MODEL_NOT_SERVED,
    "api_error": causes.MODEL_UNREACHABLE,
    "timeout_error": causes.MODEL_UNREACHABLE,
    "invalid_request_error": causes.MODEL_REFUSED_REQUEST,
    "request_too_large": causes.MODEL_REFUSED_REQUEST,
}

_BY_STATUS: Mapping[int, Cause] = {
    401: causes.MODEL_AUTHENTICATION,
    402: causes.BILLING,
    403: causes.MODEL_AUTHENTICATION,
    404: causes.MODEL_NOT_SERVED,
    408: causes.MODEL_UNREACHABLE,
    409: causes.MODEL_UNREACHABLE,
    429: causes.MODEL_RATE_LIMITED,
    529: causes.MODEL_OVERLOADED,
}
