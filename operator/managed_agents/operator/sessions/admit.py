"""Step 1: do the Session's references resolve, and to which configuration? Pure.

A refusal is a condition that its user can end; the step is asked again when what it names changes.
"""

from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.api import conditions
from managed_agents.contracts.api.agents import unsupported_fields as unsupported_agent
from managed_agents.contracts.api.environments import environment_config
from managed_agents.contracts.api.mcp_servers import problems
from managed_agents.contracts.api.model_providers import ProviderProblem, choose_provider, provider_config
from managed_agents.contracts.api.session_configs import session_config, with_overrides
from managed_agents.contracts.api.session_resources import unsupported_resources
from managed_agents.contracts.api.vaults import vault_id_of
from managed_agents.kube.resources import Manifest
from managed_agents.operator.catalog.environments import not_supported_message
from managed_agents.operator.catalog.environments import unsupported_fields as unsupported_environment
from managed_agents.operator.packages.spec import is_installed
from managed_agents.operator.sessions.model import Observed, condition_of
from managed_agents.operator.settings import SessionSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why the Session cannot run. `is_waiting`: something of ours is on its way, nobody need help."""

    reason: str
    message: str
    is_waiting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The Session's configuration in API form, as the server and the harness know it.

    None where the server keeps the one it has: a session outlives its Vaults, and its Agent by its snapshot.
    """

    config: dict[str, Any] | None


def pinned_version(session: Manifest, agent: Manifest) -> int | None:
    """Return the Agent's version for this Session: named, pinned before, or the newest; None while that is unknown.

    The newest counts only once the Agent's newest generation has become a version; else a Session that is applied
    together with a changed Agent would get the old one.
    """
    named = session["spec"]["agentRef"].get("version")
    pinned = ((session.get("status") or {}).get("agent") or {}).get("version")
    chosen = pinned if named is None else named
    if chosen is not None:
        return int(chosen)
    ready = condition_of(agent, conditions.READY)
    if ready is None or ready.get("observedGeneration") != agent["metadata"].get("generation"):
        return None
    return int(agent["status"]["version"]) if (agent.get("status") or {}).get("version") else None


def admit(observed: Observed) -> Admission | Refusal:
    """Check the references in the order in which a user would mend them."""
    refusal = _own(observed) or _agent(observed) or _environment(observed) or _vaults(observed)
    return refusal or _provider(observed)


def _own(observed: Observed) -> Refusal | None:
    if observed.namespace == observed.settings.system_namespace:
        text = f'namespace "{observed.namespace}" holds the operator and never Sessions; use another namespace'
        return Refusal(reason=conditions.SYSTEM_NAMESPACE_REFUSED, message=text)
    fields = unsupported_resources(observed.session["spec"].get("resources") or [])
    if fields:
        return Refusal(reason=conditions.NOT_SUPPORTED, message=not_supported_message(fields))
    return None


def _agent(observed: Observed) -> Refusal | None:
    reference = observed.session["spec"]["agentRef"]
    agent, snapshot = observed.catalog.agent, observed.catalog.snapshot
    if agent is None:
        if observed.summary is not None:
            return None
        return _missing(conditions.AGENT_NOT_FOUND, "agentRef", "Agent", reference["name"], observed.namespace)
    if agent["spec"].get("archived") and observed.summary is None:
        text = f'spec.agentRef.name: Agent "{reference["name"]}" is archived and takes no new sessions; use another'
        return Refusal(reason=conditions.ARCHIVED, message=text)
    if snapshot is None:
        version = pinned_version(observed.session, agent)
        if version is None:
            text = f'waiting for the newest version of Agent "{reference["name"]}"'
            return Refusal(reason=conditions.RECONCILING, message=text, is_waiting=True)
        newest = (agent.get("status") or {}).get("version")
        text = f'spec.agentRef.version: Agent "{reference["name"]}" has no version {version}; its newest is {newest}'
        return Refusal(reason=conditions.AGENT_VERSION_NOT_FOUND, message=text)
    effective = with_overrides(snapshot, observed.session["spec"].get("agentOverrides"))
    subject = f'Agent "{reference["name"]}", version {snapshot["version"]}'
    fields = unsupported_agent(effective)
    if fields:
        return Refusal(reason=conditions.NOT_SUPPORTED, message=f"{subject}: {not_supported_message(fields)}")
    problem = next(problems(effective["tools"], effective["mcp_servers"]), None)
    if problem is not None:
        return Refusal(reason=conditions.MCP_SERVERS_INVALID, message=f"{subject}: {problem}")
    return None


def _environment(observed: Observed) -> Refusal | None:
    reference = observed.session["spec"]["environmentRef"]
    environment = observed.catalog.environment
    if environment is None:
        return _missing(
            conditions.ENVIRONMENT_NOT_FOUND, "environmentRef", "Environment", reference["name"], observed.namespace
        )
    if environment["spec"].get("archived") and observed.summary is None:
        text = f'spec.environmentRef.name: Environment "{reference["name"]}" is archived; use another'
        return Refusal(reason=conditions.ARCHIVED, message=text)
    fields = unsupported_environment(environment)
    if fields:
        text = f'Environment "{reference["name"]}": {not_supported_message(fields)}'
        return Refusal(reason=conditions.NOT_SUPPORTED, message=text)
    if observed.summary is None and (waiting := packages_refusal(environment, observed.settings)) is not None:
        return waiting
    if observed.catalog.missing_config_maps:
        those = ", ".join(f'"{name}"' for name in observed.catalog.missing_config_maps)
        text = f'Environment "{reference["name"]}", spec.sandbox.mounts: ConfigMap {those} not found; create it'
        return Refusal(reason=conditions.CONFIG_MAP_NOT_FOUND, message=text)
    return None


def _vaults(observed: Observed) -> Refusal | None:
    """Refuse a new session that names no Vault or an archived one; one that runs goes on without it."""
    if observed.summary is not None:
        return None
    for index, (name, vault) in enumerate(observed.catalog.vaults):
        if vault is None:
            return _missing(conditions.VAULT_NOT_FOUND, f"vaultRefs[{index}]", "Vault", name, observed.namespace)
        if vault["spec"].get("archived"):
            text = f'spec.vaultRefs[{index}].name: Vault "{name}" is archived and takes no new sessions; use another'
            return Refusal(reason=conditions.ARCHIVED, message=text)
    return None


def packages_refusal(environment: Manifest, settings: SessionSettings) -> Refusal | None:
    """Say what an Environment's packages wait for, in the words of its own condition; None where they are there."""
    if is_installed(environment, settings):
        return None
    ready = condition_of(environment, conditions.READY) or {}
    is_said = ready.get("observedGeneration") == environment["metadata"].get("generation")
    failed = is_said and ready.get("reason") == conditions.PACKAGES_FAILED
    said = str(ready.get("message")) if is_said and ready.get("reason") in _OF_PACKAGES else "they are being looked for"
    text = f'the packages of Environment "{environment["metadata"]["name"]}": {said}'
    reason = conditions.PACKAGES_FAILED if failed else conditions.PACKAGES_PENDING
    return Refusal(reason=reason, message=text, is_waiting=not failed)


_OF_PACKAGES = (conditions.PACKAGES_PENDING, conditions.PACKAGES_FAILED)


def _provider(observed: Observed) -> Admission | Refusal:
    snapshot, environment = observed.catalog.snapshot, observed.catalog.environment
    vaults = [vault for _, vault in observed.catalog.vaults if vault is not None]
    if snapshot is None or environment is None or len(vaults) < len(observed.catalog.vaults):
        return Admission(config=None)
    model_id = str(with_overrides(snapshot, observed.session["spec"].get("agentOverrides"))["model"]["id"])
    provider = choose_provider(observed.catalog.providers, model_id)
    if isinstance(provider, ProviderProblem):
        return Refusal(reason=provider.reason, message=provider.message)
    return Admission(
        config=session_config(
            observed.session,
            session_id=observed.session_id,
            snapshot=snapshot,
            environment=environment_config(environment),
            model_provider=provider_config(provider, model_id),
            vault_ids=[vault_id_of(vault) for vault in vaults],
        )
    )


def _missing(reason: str, field: str, kind: str, name: str, namespace: str) -> Refusal:
    text = f'spec.{field}.name: {kind} "{name}" not found in namespace "{namespace}"; create it or change the reference'
    return Refusal(reason=reason, message=text)
