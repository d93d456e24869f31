"""The one table of causes: each failure a user can meet, with the word it has at each place it shows (design §2.9).

A cause reaches the log as a typed `session.error`, the custom resource as a condition's reason and the namespace as a
Kubernetes Event; all three come from here, so they never disagree.
"""

from dataclasses import dataclass
from typing import Literal

from managed_agents.contracts.api import conditions

ErrorType = Literal[
    "unknown_error",
    "model_overloaded_error",
    "model_rate_limited_error",
    "model_request_failed_error",
    "billing_error",
    "tool_use_limit_reached_error",
    "compaction_limit_reached_error",
    "mcp_connection_failed_error",
    "mcp_authentication_failed_error",
    "credential_host_unreachable_error",
    "repository_authentication_error",
    "repository_forbidden_error",
    "repository_not_found_error",
    "repository_checkout_error",
    "repository_clone_error",
]
"""`session.error.error.type` values that this version emits (API reference §5.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A failure's name at each door: the API's error type and the reason of condition and Kubernetes Event."""

    error_type: ErrorType
    reason: str
    retryable: bool


MODEL_OVERLOADED = Cause(error_type="model_overloaded_error", reason="ModelOverloaded", retryable=True)
MODEL_RATE_LIMITED = Cause(error_type="model_rate_limited_error", reason="ModelRateLimited", retryable=True)
MODEL_UNREACHABLE = Cause(error_type="model_request_failed_error", reason="ModelUnreachable", retryable=True)
MODEL_REFUSED_REQUEST = Cause(
    error_type="model_request_failed_error", reason=conditions.MODEL_REQUEST_FAILED, retryable=False
)
MODEL_AUTHENTICATION = Cause(
    error_type="model_request_failed_error", reason="ModelAuthenticationFailed", retryable=False
)
MODEL_NOT_SERVED = Cause(error_type="model_request_failed_error", reason=conditions.MODEL_NOT_SERVED, retryable=True)
BILLING = Cause(error_type="billing_error", reason="Billing", retryable=False)
TOOL_USE_LIMIT = Cause(error_type="tool_use_limit_reached_error", reason="ToolUseLimitReached", retryable=False)
COMPACTION_LIMIT = Cause(error_type="compaction_limit_reached_error", reason="CompactionLimitReached", retryable=False)
MCP_CONNECTION = Cause(error_type="mcp_connection_failed_error", reason="McpConnectionFailed", retryable=True)
MCP_AUTHENTICATION = Cause(
    error_type="mcp_authentication_failed_error", reason="McpAuthenticationFailed", retryable=True
)
CREDENTIAL_HOST = Cause(
    error_type="credential_host_unreachable_error", reason="CredentialHostUnreachable", retryable=False
)
REPOSITORY_AUTHENTICATION = Cause(
    error_type="repository_authentication_error", reason="RepositoryAuthenticationFailed", retryable=True
)
REPOSITORY_FORBIDDEN = Cause(error_type="repository_forbidden_error", reason="RepositoryForbidden", retryable=True)
REPOSITORY_NOT_FOUND = Cause(error_type="repository_not_found_error", reason="RepositoryNotFound", retryable=True)
REPOSITORY_CHECKOUT = Cause(error_type="repository_checkout_error", reason="RepositoryCheckoutFailed", retryable=True)
REPOSITORY_CLONE = Cause(error_type="repository_clone_error", reason="RepositoryCloneFailed", retryable=True)
UNKNOWN = Cause(error_type="unknown_error", reason="UnknownError", retryable=False)

ALL = (
    MODEL_OVERLOADED,
    MODEL_RATE_LIMITED,
    MODEL_UNREACHABLE,
    MODEL_REFUSED_REQUEST,
    MODEL_AUTHENTICATION,
    MODEL_NOT_SERVED,
    BILLING,
    TOOL_USE_LIMIT,
    COMPACTION_LIMIT,
    MCP_CONNECTION,
    MCP_AUTHENTICATION,
    CREDENTIAL_HOST,
    REPOSITORY_AUTHENTICATION,
    REPOSITORY_FORBIDDEN,
    REPOSITORY_NOT_FOUND,
    REPOSITORY_CHECKOUT,
    REPOSITORY_CLONE,
    UNKNOWN,
)


def reason_for(error_type: str, internal_reason: str | None = None) -> str:
    """Return the condition reason of a logged `session.error`: the one it carries, else the first of its type."""
    if internal_reason is not None:
        return internal_reason
    return next((cause.reason for cause in ALL if cause.error_type == error_type), UNKNOWN.reason)
