"""A Session and what it refers to as one session config (docs/internal-api.md): the same on both sides. Pure.

The server makes it when a session comes in by the API, the operator when it sees the object; where they agree, the
second changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from managed_agents.contracts import names
from managed_agents.contracts.api.casing import to_snake
from managed_agents.contracts.api.session_resources import resource_configs
from managed_agents.contracts.api.tools import resolved_model, resolved_tools

ANNOTATION_INTENT = f"{names.GROUP}/intent"
"""Names the intent that an object was created for (design §3, "Doors")."""

ANNOTATION_ORIGIN = f"{names.GROUP}/origin"
ORIGIN_API = "api"
"""Origin of an object that the public API created."""


def session_config(
    session: Mapping[str, Any],
    *,
    session_id: str,
    snapshot: Mapping[str, Any],
    environment: Mapping[str, Any],
    model_provider: Mapping[str, Any],
    vault_ids: Sequence[str] = (),
) -> dict[str, Any]:
    """Render the config of a Session. All but the Session are in API form; `snapshot` is the Agent's pinned version."""
    metadata = session["metadata"]
    return {
        "id": session_id,
        "uid": metadata["uid"],
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "generation": metadata.get("generation", 1),
        "created_at": metadata["creationTimestamp"],
        **spec_config(session["spec"], uid=metadata["uid"], created_at=metadata["creationTimestamp"]),
        "agent": with_overrides(snapshot, session["spec"].get("agentOverrides")),
        "environment": dict(environment),
        "vault_ids": list(vault_ids),
        "model_provider": dict(model_provider),
    }


def spec_config(spec: Mapping[str, Any], *, uid: str, created_at: str) -> dict[str, Any]:
    """Render what of a config follows from the Session's own specification, its agent apart."""
    budget = to_snake(spec.get("budget"))
    return {
        "title": spec.get("title"),
        "metadata": dict(spec.get("metadata") or {}),
        "resources": resource_configs(uid, spec.get("resources") or [], created_at),
        "budget": None if budget is None else {"type": "limit", **budget},
    }


def with_overrides(snapshot: Mapping[str, Any], overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the session's agent: what `spec.agentOverrides` names takes the place of the Agent's, whole.

    Without the bags that a session's agent does not show (API reference §4.5). An empty text or list clears.
    """
    shown = {key: value for key, value in snapshot.items() if key not in _NOT_IN_SESSION}
    given: dict[str, Any] = to_snake(dict(overrides or {}))
    if "system" in given:
        given["system"] = given["system"] or None
    if "model" in given:
        given["model"] = resolved_model(given["model"])
    if "tools" in given:
        given["tools"] = resolved_tools(given["tools"])
    return {**shown, **given}


_NOT_IN_SESSION = frozenset({"metadata", "created_at", "updated_at", "archived_at"})
