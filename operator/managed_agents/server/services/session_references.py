"""What a new session refers to, found in its namespace: agent and version, environment, vaults, provider, files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.api.environments import CLOUD, environment_config
from managed_agents.contracts.api.model_providers import ProviderProblem, choose_provider, provider_config
from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.filestore.store import FileStore
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.sessions import AgentReference, AgentWithOverrides
from managed_agents.server.services.client_events import file_ids
from managed_agents.server.services.errors import EnvironmentNotFoundError
from managed_agents.server.services.objects import Objects
from managed_agents.server.services.versions import Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedAgent:
    """An Agent's name and the version that a session is pinned to, in API form."""

    name: str
    snapshot: Mapping[str, Any]


class SessionReferences:
    """Looks references up. What is in another namespace is not found."""

    def __init__(self, objects: Objects, versions: Versions, files: FileStore) -> None:
        self._objects = objects
        self._versions = versions
        self._files = files

    async def agent(self, namespace: str, reference: AgentReference | AgentWithOverrides) -> PinnedAgent:
        """Return the version of the agent. Raises: NotFoundError; RejectedError for one that is archived."""
        agent = self._found(self._objects.agents.find(reference.id), namespace)
        if agent is None:
            self._objects.agents.require_synced()
            raise NotFoundError(f"agent {reference.id} not found")
        if agent["spec"].get("archived"):
            raise RejectedError(f"agent: {reference.id} is archived and takes no new sessions", field="agent")
        if reference.version is None:
            versioned = await self._versions.of(agent)
            return PinnedAgent(name=agent["metadata"]["name"], snapshot=versioned.snapshot)
        _, snapshot = await self._versions.data(agent, reference.version)
        return PinnedAgent(name=agent["metadata"]["name"], snapshot=snapshot)

    def environment(self, namespace: str, environment_id: str) -> tuple[str, dict[str, Any]]:
        """Return the environment's name as an object and its config. Raises: NotFoundError, RejectedError."""
        environment = self._found(self._objects.environments.find(environment_id), namespace)
        if environment is None:
            self._objects.environments.require_synced()
            raise EnvironmentNotFoundError(f"environment {environment_id} not found")
        if environment["spec"].get("archived"):
            text = f"environment_id: {environment_id} is archived and takes no new sessions"
            raise RejectedError(text, field="environment_id", error_code="environment_archived")
        config = environment_config(environment)
        if config["config"]["type"] != CLOUD:
            text = "environment_id: sessions in a self_hosted environment are not supported by this server yet"
            raise RejectedError(text, reason="NotSupported", field="environment_id")
        return environment["metadata"]["name"], config

    def vaults(self, namespace: str, vault_ids: Sequence[str]) -> list[tuple[str, str]]:
        """Return the name and the id of each vault, in order.

        Raises: NotFoundError; RejectedError for one that is archived or named twice.
        """
        found = []
        for index, vault_id in enumerate(vault_ids):
            field = f"vault_ids.{index}"
            vault = self._found(self._objects.vaults.find(vault_id), namespace)
            if vault is None:
                self._objects.vaults.require_synced()
                raise NotFoundError(f"vault {vault_id} not found")
            if vault["spec"].get("archived"):
                raise RejectedError(f"{field}: {vault_id} is archived and takes no new sessions", field=field)
            if vault_id in vault_ids[:index]:
                raise RejectedError(f"{field}: repeats vault_ids.{vault_ids.index(vault_id)}", field=field)
            found.append((str(vault["metadata"]["name"]), vault_id))
        return found

    def model_provider(self, namespace: str, model_id: str) -> dict[str, Any]:
        """Return what a session knows of its model's provider. Raises: RejectedError where none can be chosen."""
        provider = choose_provider(self._objects.model_providers.in_namespace(namespace), model_id)
        if isinstance(provider, ProviderProblem):
            raise RejectedError(f"agent.model: {provider.message}", reason=provider.reason, field="agent.model")
        return provider_config(provider, model_id)

    async def require_files(
        self, namespace: str, resources: Sequence[Mapping[str, Any]], path: str = "resources.{}.file_id"
    ) -> None:
        """Check that the files of `spec.resources` are there. Raises: NotFoundError, FileExpiredError."""
        for index, entry in enumerate(resources):
            if entry["type"] == "file":
                await self._require(namespace, entry["fileId"], path.format(index))

    async def require_event_files(
        self, namespace: str, events: Sequence[Mapping[str, Any]], paths: Sequence[str]
    ) -> None:
        """Check that the files that events name are there. Raises: RejectedError."""
        for path, file_id in file_ids(events, paths):
            await self._require(namespace, file_id, path)

    async def _require(self, namespace: str, file_id: str, path: str) -> None:
        try:
            file = await self._files.get(file_id)
        except NotFoundError:
            file = None
        if file is None or file.namespace != namespace or file.content is None:
            text = f"{path}: file {file_id!r} not found; upload it first"
            raise RejectedError(text, reason="FileNotFound", field=path)

    @staticmethod
    def _found(manifest: Manifest | None, namespace: str) -> Manifest | None:
        return manifest if manifest is not None and manifest["metadata"]["namespace"] == namespace else None
