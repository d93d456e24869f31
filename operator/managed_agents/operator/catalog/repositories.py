"""What a session's repositories hold for its proxy: each with its token, or with what is amiss with it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from managed_agents.contracts.api.session_resources import resource_configs
from managed_agents.kube.resources import Manifest
from managed_agents.operator.catalog.grants import Secrets
from managed_agents.operator.catalog.vaults import VaultProblem, value_of


def needs_credentials(session: Manifest) -> bool:
    """Tell whether a Session names vaults or tokens of repositories."""
    return bool(session["spec"].get("vaultRefs")) or next(_with_token(session), None) is not None


def token_secrets(session: Manifest) -> Iterator[str]:
    """Yield the names of the Secrets that a Session's repositories name."""
    for _, resource in _with_token(session):
        yield resource["authorizationToken"]["secretKeyRef"]["name"]


def repository_entries(session: Manifest, secrets: Secrets) -> list[dict[str, Any]]:
    """Return the `repositories` of the proxy's file, in the order of the spec (docs/internal-api.md)."""
    return [_entry(session, index, resource, secrets) for index, resource in _with_token(session)]


def _entry(session: Manifest, index: int, resource: Mapping[str, Any], secrets: Secrets) -> dict[str, Any]:
    metadata = session["metadata"]
    (config,) = resource_configs(metadata["uid"], [resource], metadata["creationTimestamp"])
    entry: dict[str, Any] = {"id": config["id"], "url": config["url"]}
    if "pushRefs" in resource:
        entry["push_refs"] = list(resource["pushRefs"])
    reference = resource["authorizationToken"]["secretKeyRef"]
    path = f"spec.resources[{index}].authorizationToken"
    found = value_of(secrets.get(reference["name"]), reference, path)
    if isinstance(found, VaultProblem):
        return {**entry, "problem": found.message}
    if not (found and found.isascii() and found.isprintable()):
        text = f'{path}.secretKeyRef.key: the value of "{reference["key"]}" is no text that a header can carry'
        return {**entry, "problem": text}
    return {**entry, "token": found}


def _with_token(session: Manifest) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for index, resource in enumerate(session["spec"].get("resources") or ()):
        if resource.get("authorizationToken"):
            yield index, resource
