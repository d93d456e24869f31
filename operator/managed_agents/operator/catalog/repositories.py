"""What a session's repositories hold for its proxy: each with its token, or with what is amiss with it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from managed_agents.contracts.api.conditions import SECRET_NOT_FOUND
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


def token_problem(session: Manifest, secrets: Secrets) -> VaultProblem | None:
    """Return what is wrong with the first token that cannot be used; null where all can."""
    readings = (_reading(index, resource, secrets) for index, resource in _with_token(session))
    return next((found for found in readings if isinstance(found, VaultProblem)), None)


def repository_entries(session: Manifest, secrets: Secrets) -> list[dict[str, Any]]:
    """Return the `repositories` of the proxy's file, in the order of the spec (docs/internal-api.md)."""
    return [_entry(session, index, resource, secrets) for index, resource in _with_token(session)]


def _entry(session: Manifest, index: int, resource: Mapping[str, Any], secrets: Secrets) -> dict[str, Any]:
    metadata = session["metadata"]
    (config,) = resource_configs(metadata["uid"], [resource], metadata["creationTimestamp"])
    entry: dict[str, Any] = {"id": config["id"], "url": config["url"]}
    if "pushRefs" in resource:
        entry["push_refs"] = list(resource["pushRefs"])
    found = _reading(index, resource, secrets)
    return {**entry, "problem": found.message} if isinstance(found, VaultProblem) else {**entry, "token": found}


def _reading(index: int, resource: Mapping[str, Any], secrets: Secrets) -> str | VaultProblem:
    """Return a repository's token, or why there is none."""
    reference = resource["authorizationToken"]["secretKeyRef"]
    path = f"spec.resources[{index}].authorizationToken"
    found = value_of(secrets.get(reference["name"]), reference, path)
    if isinstance(found, VaultProblem) or (found and found.isascii() and found.isprintable()):
        return found
    text = f'{path}.secretKeyRef.key: the value of "{reference["key"]}" is no text that a header can carry'
    return VaultProblem(reason=SECRET_NOT_FOUND, message=text)


def _with_token(session: Manifest) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for index, resource in enumerate(session["spec"].get("resources") or ()):
        if resource.get("authorizationToken"):
            yield index, resource
