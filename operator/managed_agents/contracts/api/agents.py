"""An Agent as the API shows it, its immutable versions, and what of it is not built yet. Pure.

Operator and server make versions alike: whoever comes first creates the ControllerRevision, the other finds it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from managed_agents.contracts import ids, names
from managed_agents.contracts.api.casing import OPAQUE, to_camel, to_snake
from managed_agents.contracts.api.tools import AGENT_TOOLSET, MCP_TOOLSET, resolved_model, resolved_tools

LABEL_AGENT_UID = f"{names.GROUP}/agent-uid"
ANNOTATION_DIGEST = f"{names.GROUP}/digest"

SERVICE_ACCOUNT: Mapping[str, Any] = {"type": "service_account"}
"""The only execution identity of this version."""


def agent_id_of(agent: Mapping[str, Any]) -> str:
    """Return the API's id of an Agent."""
    annotations = agent["metadata"].get("annotations") or {}
    return str(annotations.get(names.ANNOTATION_ID) or ids.id_for(ids.AGENT, agent["metadata"]["uid"]))


def snapshot_for(agent: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Render an Agent in API form, all defaults resolved: every field present, `null` where it is unset."""
    spec = agent["spec"]
    return {
        "type": "agent",
        "id": agent_id_of(agent),
        "version": version,
        "name": spec.get("name") or agent["metadata"]["name"],
        "description": spec.get("description") or None,
        "system": spec.get("system") or None,
        "model": resolved_model(to_snake(spec["model"])),
        "tools": resolved_tools(to_snake(spec.get("tools") or [])),
        "mcp_servers": to_snake(spec.get("mcpServers") or []),
        "skills": to_snake(spec.get("skills") or []),
        "multiagent": to_snake(spec.get("multiagent")),
        "metadata": dict(spec.get("metadata") or {}),
        "execution_identity": dict(SERVICE_ACCOUNT),
    }


def spec_value(value: Any) -> Any:
    """Turn a field of the API's form into that of a manifest: camel case, and nothing that is null."""
    return to_camel(_without_nulls(value))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: item if key in OPAQUE else _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def digest_of(snapshot: Mapping[str, Any]) -> str:
    """Digest what makes a version: everything but its number."""
    content = {key: value for key, value in snapshot.items() if key != "version"}
    return names.short_hash(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False), 32)


def revision_name_for(agent_name: str, agent_uid: str, version: int) -> str:
    """Name the ControllerRevision of a version; an Agent made anew under the same name does not meet the old ones."""
    return f"{agent_name}-{names.short_hash(agent_uid)}-{version}"


def revision_for(agent: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Build the ControllerRevision that keeps a version as long as its Agent lives."""
    snapshot = snapshot_for(agent, version)
    metadata = agent["metadata"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": revision_name_for(metadata["name"], metadata["uid"], version),
            "namespace": metadata["namespace"],
            "labels": {
                names.LABEL_AGENT: metadata["name"],
                LABEL_AGENT_UID: metadata["uid"],
                names.LABEL_MANAGED_BY: names.MANAGER,
                names.LABEL_PART_OF: names.PART_OF,
            },
            "annotations": {ANNOTATION_DIGEST: digest_of(snapshot)},
            "ownerReferences": [
                {
                    "apiVersion": f"{names.GROUP}/{names.VERSION}",
                    "kind": "Agent",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "revision": version,
        "data": snapshot,
    }


def next_revision(agent: Mapping[str, Any], revisions: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the revision to create, or None when the newest one already says what the Agent says."""
    newest = max(revisions, key=lambda revision: int(revision["revision"]), default=None)
    if newest is None:
        return revision_for(agent, 1)
    if digest_of(newest["data"]) == digest_of(snapshot_for(agent, 0)):
        return None
    return revision_for(agent, int(newest["revision"]) + 1)


def unsupported_fields(snapshot: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields of an agent that this version does not build, as paths of the manifest."""
    found = [f"spec.{field}" for field in ("skills", "multiagent") if snapshot.get(field)]
    for index, tool in enumerate(snapshot.get("tools") or ()):
        path = f"spec.tools[{index}]"
        if tool["type"] in (AGENT_TOOLSET, MCP_TOOLSET):
            found += _unsupported_configs(tool, path)
    return tuple(found)


def _unsupported_configs(tool: Mapping[str, Any], path: str) -> list[str]:
    found = []
    if _is_auto(tool.get("default_config")):
        found.append(f"{path}.defaultConfig.permissionPolicy (auto)")
    for position, config in enumerate(tool.get("configs") or ()):
        if _is_auto(config):
            found.append(f"{path}.configs[{position}].permissionPolicy (auto)")
    return found


def _is_auto(config: Mapping[str, Any] | None) -> bool:
    return ((config or {}).get("permission_policy") or {}).get("type") == "auto"
