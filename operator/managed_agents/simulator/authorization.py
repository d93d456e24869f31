"""Who may ask: any key but an invalid one, or exactly the one that is set."""

import hmac
from collections.abc import Mapping

from managed_agents.simulator.errors import ApiError, invalid_request


def check_headers(headers: Mapping[str, str], api_key: str | None) -> None:
    """Raise `ApiError` unless the request carries a usable key and names an API version.

    A key that starts with `invalid` is always refused, so that a test can play a revoked one.
    """
    key = headers.get("x-api-key")
    bearer = headers.get("authorization", "")
    if key is None and bearer[:7].lower() == "bearer ":
        _check_key(bearer[7:].strip(), api_key, "Invalid bearer token")
    elif not key:
        raise ApiError("authentication_error", "x-api-key header is required")
    else:
        _check_key(key, api_key, "invalid x-api-key")
    if "anthropic-version" not in headers:
        raise invalid_request("anthropic-version: header is required")


def _check_key(key: str, api_key: str | None, refusal: str) -> None:
    is_wanted = api_key is None or hmac.compare_digest(key.encode(), api_key.encode())
    if not key or key.startswith("invalid") or not is_wanted:
        raise ApiError("authentication_error", refusal)
