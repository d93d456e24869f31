"""The models served: `simulated`, and any id that starts with it."""

import re
from typing import Any, Final

from managed_agents.simulator.errors import ApiError, invalid_request
from managed_agents.simulator.shapes import MAX_OUTPUT_TOKENS

MODEL: Final = "simulated"
MAX_INPUT_TOKENS: Final = 1_000_000
_SMALL: Final = re.compile(r"^simulated-(\d{1,6})k$")


def check_model(model: str) -> None:
    """Raise `ApiError` (404) for a model that is not served."""
    if not model.startswith(MODEL):
        raise ApiError("not_found_error", f"model: {model}")


def check_length(model: str, tokens: int) -> None:
    """Raise `ApiError` (400) for a prompt that exceeds the model's window."""
    window = window_of(model)
    if tokens > window:
        raise invalid_request(f"prompt is too long: {tokens} tokens > {window} maximum")


def window_of(model: str) -> int:
    """The tokens a prompt may have: `simulated-8k` takes 8,000, others a million."""
    small = _SMALL.match(model)
    return int(small[1]) * 1000 if small else MAX_INPUT_TOKENS


def model_info(model: str = MODEL) -> dict[str, Any]:
    """The model as `GET /v1/models/{id}` shows it."""
    return {
        "type": "model",
        "id": model,
        "display_name": "Simulated model",
        "created_at": "2025-01-01T00:00:00Z",
        "lifecycle": "active",
        "line": None,
        "capabilities": None,
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": window_of(model),
        "max_tokens": MAX_OUTPUT_TOKENS,
    }


def model_list() -> dict[str, Any]:
    """The one page of `GET /v1/models`."""
    return {"data": [model_info()], "has_more": False, "first_id": MODEL, "last_id": MODEL}
