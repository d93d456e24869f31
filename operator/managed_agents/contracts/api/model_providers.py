"""Which ModelProvider serves a model, and what a session knows of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.api import conditions
from managed_agents.contracts.api.casing import to_snake


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderProblem:
    """Why no provider can be chosen, as a condition."""

    reason: str
    message: str


def choose_provider(providers: Sequence[dict[str, Any]], model_id: str) -> dict[str, Any] | ProviderProblem:
    """Choose by name first: a listed model id beats `default`; two matches are nobody's (design §3)."""
    listed = [provider for provider in providers if _model_of(provider, model_id) is not None]
    found = listed or [provider for provider in providers if provider["spec"].get("default")]
    if len(found) == 1:
        return found[0]
    if not found:
        message = f'no ModelProvider of the namespace lists model "{model_id}" and none is the default; create one'
        return ProviderProblem(reason=conditions.MODEL_NOT_SERVED, message=message)
    those = ", ".join(sorted(f'"{provider["metadata"]["name"]}"' for provider in found))
    message = f'ModelProviders {those} both serve model "{model_id}"; list it in one only, or keep one default'
    return ProviderProblem(reason=conditions.MODEL_PROVIDER_AMBIGUOUS, message=message)


def provider_config(provider: Mapping[str, Any], model_id: str) -> dict[str, Any]:
    """Render the `model_provider` of a session config (docs/internal-api.md)."""
    model = _model_of(provider, model_id) or {}
    return {
        "name": provider["metadata"]["name"],
        "list_price": to_snake(model.get("listPrice")),
        "context_window_tokens": model.get("contextWindowTokens"),
    }


def _model_of(provider: Mapping[str, Any], model_id: str) -> Mapping[str, Any] | None:
    for model in provider["spec"].get("models") or []:
        if model["id"] == model_id:
            found: Mapping[str, Any] = model
            return found
    return None
