"""The Secrets that hold what comes by the API: written, never read. What a patch answers with is dropped."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from managed_agents.contracts import names
from managed_agents.contracts.api.vaults import LABEL_VAULT
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import SECRETS, VAULTS, Manifest
from managed_agents.server.services.collection import API_MANAGER
from managed_agents.server.services.secret_refusals import said
from managed_agents.server.services.vault_rules import secret_name_for
from managed_agents.server.services.written_secrets import WrittenSecrets, encoded

Data = dict[str, str | None]
"""Encoded values by key; null removes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSecrets:
    """One Secret for each Vault that got a credential by the API; it goes with the Vault."""

    kube: Kube

    async def write(self, vault: Manifest, secrets: Mapping[str, str]) -> None:
        """Store secrets by their keys; others stay. Raises: ForbiddenError, RejectedError, RetryableError."""
        if not secrets:
            return
        data: Data = {key: encoded(value) for key, value in secrets.items()}
        await WrittenSecrets(kube=self.kube).store(vault["metadata"]["namespace"], _secret_for(vault, data))

    async def swap(self, vault: Manifest, tested: tuple[str, str], secrets: Mapping[str, str]) -> None:
        """Store secrets if a key still has this value. Raises: ConflictError, NotFoundError, ForbiddenError."""
        key, value = tested
        test = {"op": "test", "path": _path(key), "value": encoded(value)}
        adds = [{"op": "add", "path": _path(key), "value": encoded(secret)} for key, secret in secrets.items()]
        namespace, name = vault["metadata"]["namespace"], secret_name_for(vault)
        with said(namespace):
            await self.kube.patch_json(SECRETS, namespace, name, [test, *adds])

    async def purge(self, vault: Manifest, keys: Iterable[str]) -> None:
        """Remove secrets by their keys; what is not there is no error. Raises: ForbiddenError, RetryableError."""
        await self._merge(vault, dict.fromkeys(keys))

    async def purge_all(self, vault: Manifest) -> None:
        """Remove every secret of a Vault. Raises: ForbiddenError, RetryableError."""
        await self._merge(vault, None)

    async def _merge(self, vault: Manifest, data: Data | None) -> None:
        secrets = WrittenSecrets(kube=self.kube)
        await secrets.merge(vault["metadata"]["namespace"], secret_name_for(vault), {"data": data})


def _path(key: str) -> str:
    """Return the JSON pointer of a key, which by the rules of Secrets holds nothing to escape."""
    return f"/data/{key}"


def _secret_for(vault: Manifest, data: Data) -> Manifest:
    metadata = vault["metadata"]
    owner = {"apiVersion": VAULTS.api_version, "kind": VAULTS.kind, "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name_for(vault),
            "namespace": metadata["namespace"],
            "labels": {
                LABEL_VAULT: metadata["name"],
                names.LABEL_MANAGED_BY: API_MANAGER,
                names.LABEL_PART_OF: names.PART_OF,
            },
            "ownerReferences": [owner],
        },
        "type": "Opaque",
        "data": data,
    }
