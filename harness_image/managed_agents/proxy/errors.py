"""The one failure of the proxy: a refusal with the status and the words that its caller is to see."""

from collections.abc import Mapping

from aiohttp import web

from managed_agents.contracts.errors import ManagedAgentsError


class RefusedError(ManagedAgentsError):
    """A request ends here. `kind` is the error's type in the listener's vocabulary; `detail` adds keys beside it."""

    def __init__(self, status: int, kind: str, message: str, *, detail: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.detail: Mapping[str, object] = detail or {}


def internal_envelope(refusal: RefusedError) -> dict[str, object]:
    """Render a refusal as the internal API does: `{"error": {"type", "message", …}}` (docs/internal-api.md)."""
    return {"error": {**refusal.detail, "type": refusal.kind, "message": refusal.message}}


def model_envelope(refusal: RefusedError) -> dict[str, object]:
    """Render a refusal as the Messages API does: `{"type": "error", "error": {"type", "message"}}`."""
    kind = _MODEL_KINDS.get(refusal.kind, refusal.kind)
    return {"type": "error", "error": {**refusal.detail, "type": kind, "message": refusal.message}}


_KINDS = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
_MODEL_KINDS = {
    "not_found": "not_found_error",
    "method_not_allowed": "invalid_request_error",
    "invalid_request": "invalid_request_error",
    "bad_gateway": "api_error",
    "internal": "api_error",
}


def refusal_from(problem: web.HTTPException) -> RefusedError:
    """Translate what aiohttp's router or body limit raises."""
    kind = _KINDS.get(problem.status, "invalid_request")
    return RefusedError(problem.status, kind, f"the proxy does not serve this request: {problem.reason}")
