"""The models of a namespace: what its ModelProviders list (API reference §3.8). Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from managed_agents.contracts.api.model_providers import ProviderProblem, choose_provider
from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.kube.resources import Manifest
from managed_agents.server.services.query import grouped, parse_number

LIMIT_DEFAULT = 20
LIMIT_MAX = 1000
"""API reference §3.8."""

LIFECYCLES = ("active", "deprecated", "retired")
_UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""The API's word for a release that nobody knows."""

_LINE = re.compile(r"^claude-(haiku|sonnet|opus|fable|mythos)-")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPage:
    """Which models are asked for. `anchor` is the model next to which the page lies."""

    limit: int
    anchor: str | None
    side: Literal["after", "before"]
    lifecycles: frozenset[str]


def parse_page(query: Iterable[tuple[str, str]]) -> ModelPage:
    """Read the query of the list. Raises: RejectedError."""
    values = grouped(query)
    single = {name: listed[-1] for name, listed in values.items()}
    if "after_id" in single and "before_id" in single:
        raise RejectedError("before_id: cannot be combined with after_id", field="before_id")
    lifecycles = values.get("lifecycle", ["active", "deprecated"])
    for value in lifecycles:
        if value not in LIFECYCLES:
            text = f"lifecycle: must be one of {', '.join(LIFECYCLES)}; found {value[:40]!r}"
            raise RejectedError(text, field="lifecycle")
    return ModelPage(
        limit=parse_number("limit", single.get("limit"), 1, LIMIT_MAX) or LIMIT_DEFAULT,
        anchor=single.get("after_id") or single.get("before_id"),
        side="before" if single.get("before_id") else "after",
        lifecycles=frozenset(lifecycles),
    )


def page_of(providers: Sequence[Manifest], page: ModelPage) -> Json:
    """Return a page of the models that are listed by name. Raises: RejectedError for an anchor that is none."""
    models = _listed(providers)
    shown = list(models.values()) if "active" in page.lifecycles else []
    more = False
    if page.anchor is not None and page.anchor not in models:
        field = f"{page.side}_id"
        raise RejectedError(f"{field}: no such model, found {page.anchor[:80]!r}", field=field)
    place = [model["id"] for model in shown].index(page.anchor) if page.anchor and shown else None
    if page.side == "after":
        left = shown if place is None else shown[place + 1 :]
        shown, more = left[: page.limit], len(left) > page.limit
    else:
        left = shown[:place]
        shown, more = left[-page.limit :], len(left) > page.limit
    ends = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    return {"data": shown, "has_more": more, "first_id": ends[0], "last_id": ends[1]}


def model_named(providers: Sequence[Manifest], model_id: str) -> Json:
    """Return a model that is listed, or that the default provider would be asked for. Raises: NotFoundError."""
    listed = _listed(providers).get(model_id)
    if listed is not None:
        return listed
    if isinstance(choose_provider(providers, model_id), ProviderProblem):
        raise NotFoundError(f"model {model_id[:256]} not found: no ModelProvider of the namespace serves it")
    return _view({"id": model_id})


def _listed(providers: Sequence[Manifest]) -> dict[str, Json]:
    ordered = sorted(providers, key=lambda provider: str(provider["metadata"]["name"]))
    return {model["id"]: _view(model) for provider in ordered for model in provider["spec"].get("models") or ()}


def _view(model: Mapping[str, Any]) -> Json:
    """Render a model with every field of the API. What a ModelProvider does not say is null, and no guess."""
    line = _LINE.match(model["id"])
    return {
        "id": model["id"],
        "type": "model",
        "display_name": model["id"],
        "created_at": _UNKNOWN_TIME,
        "lifecycle": "active",
        "line": line.group(1) if line is not None else None,
        "max_input_tokens": model.get("contextWindowTokens"),
        "max_tokens": None,
        "capabilities": None,
        "allowed_fallback_models": [],
        "deprecated_at": None,
        "retires_at": None,
    }
