"""What a change of an Environment makes of it (API reference §4.4). Pure; all values in the API's form."""

from collections.abc import Mapping
from typing import Any

from managed_agents.contracts.api.agents import spec_value
from managed_agents.contracts.api.environments import (
    CLOUD,
    MANAGERS,
    environment_config,
    environment_name_of,
    resolved_config,
)
from managed_agents.contracts.errors import RejectedError
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.environments import (
    Cloud,
    EnvironmentCreate,
    EnvironmentUpdate,
    Limited,
    PackagesConfig,
    SelfHosted,
    Unrestricted,
)
from managed_agents.server.bodies.fields import METADATA_PAIRS_MAX
from managed_agents.server.services.patches import merge_patch, patched_metadata

Fields = dict[str, Any]
"""`name`, `description`, `config` and `metadata` of an Environment."""


def current_fields(environment: Manifest) -> Fields:
    """Return what an Environment says, all defaults resolved."""
    spec = environment["spec"]
    return {
        "name": environment_name_of(environment),
        "description": spec.get("description"),
        "config": environment_config(environment)["config"],
        "metadata": dict(spec.get("metadata") or {}),
    }


def created_fields(body: EnvironmentCreate) -> Fields:
    """Return the fields of a new Environment. Raises: RejectedError."""
    fields = {
        "name": body.name,
        "description": body.description,
        "config": _config(resolved_config({"type": CLOUD}), body.config or Cloud(type="cloud")),
        "metadata": dict(body.metadata or {}),
    }
    check_fields(fields)
    return fields


def updated_fields(current: Mapping[str, Any], body: EnvironmentUpdate) -> Fields:
    """Return the fields after a change. Raises: RejectedError."""
    fields = dict(current)
    if body.name is not None:
        fields["name"] = body.name
    if "description" in body.model_fields_set:
        fields["description"] = body.description
    if body.config is not None:
        _require_same_type(current["config"], body.config.type)
        fields["config"] = _config(current["config"], body.config)
    patch = {key: value or None for key, value in (body.metadata or {}).items()}
    fields["metadata"] = patched_metadata(current["metadata"], patch)
    check_fields(fields)
    return fields


def check_fields(fields: Mapping[str, Any]) -> None:
    """Check what holds between fields. Raises: RejectedError with the path."""
    config, metadata = fields["config"], fields["metadata"]
    if len(metadata) > METADATA_PAIRS_MAX:
        text = f"metadata: may hold at most {METADATA_PAIRS_MAX} pairs, would hold {len(metadata)}"
        raise RejectedError(text, field="metadata", error_code="invalid_metadata")
    networking = config.get("networking") or {}
    named = [manager for manager in MANAGERS if config.get("packages", {}).get(manager)]
    if named and networking["type"] == "limited" and not networking["allow_package_managers"]:
        path = f"config.packages.{named[0]}"
        text = f"{path}: packages under limited networking need config.networking.allow_package_managers true"
        raise RejectedError(text, field=path)


def spec_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec that holds these fields; what says nothing is absent."""
    spec: dict[str, Any] = {"name": fields["name"], "config": _spec_config(fields["config"])}
    if fields["description"] is not None:
        spec["description"] = fields["description"]
    if fields["metadata"]:
        spec["metadata"] = dict(fields["metadata"])
    return spec


def spec_patch(spec: Mapping[str, Any], current: Fields, wanted: Fields) -> dict[str, Any]:
    """Return the merge patch of a spec for the fields that change; what does not stays as its author wrote it."""
    changed = {name for name in wanted if wanted[name] != current[name]}
    after = {key: value for key, value in spec_of(wanted).items() if key in changed}
    return merge_patch({key: spec[key] for key in changed if key in spec}, after)


def _spec_config(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key != "packages"}
    packages = {manager: listed for manager, listed in (config.get("packages") or {}).items() if listed}
    if len(packages) > 1:  # more than its type
        kept["packages"] = packages
    value: dict[str, Any] = spec_value(kept)
    return value


def _require_same_type(current: Mapping[str, Any], wanted: str) -> None:
    if current["type"] != wanted:
        raise RejectedError(
            f"config.type: cannot change from {current['type']} to {wanted}; create another environment",
            field="config.type",
            error_code="invalid_config_type_change",
        )


def _config(current: Mapping[str, Any], sent: Cloud | SelfHosted) -> dict[str, Any]:
    """Lay what was sent over what is stored: nested fields that are left out stay."""
    if isinstance(sent, SelfHosted):
        return resolved_config({"type": sent.type})
    networking, packages = current["networking"], current["packages"]
    if sent.networking is not None:
        networking = _networking(networking, sent.networking)
    if sent.packages is not None:
        packages = _packages(packages, sent.packages)
    return resolved_config({"type": CLOUD, "networking": networking, "packages": packages})


def _networking(current: Mapping[str, Any], sent: Unrestricted | Limited) -> dict[str, Any]:
    if isinstance(sent, Unrestricted):
        return {"type": sent.type}
    kept = current if current["type"] == sent.type else {}
    return {**kept, **sent.model_dump(exclude_none=True)}


def _packages(current: Mapping[str, Any], sent: PackagesConfig) -> dict[str, Any]:
    return {**current, **sent.model_dump(exclude_none=True)}
