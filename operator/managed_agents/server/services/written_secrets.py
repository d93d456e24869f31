"""Secrets that the server writes and never reads. What a write answers with is dropped."""

import base64
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.errors import NotFoundError
from managed_agents.kube import errors as kube_errors
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import SECRETS, Manifest
from managed_agents.server.services.secret_refusals import said


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSecrets:
    """The two ways to write one. Raises, whichever: ForbiddenError, RejectedError, RetryableError."""

    kube: Kube

    async def store(self, namespace: str, secret: Manifest, *, is_new: bool = False) -> None:
        """Put the data of a Secret into the one of its name, where other keys stay, or create it.

        `is_new`: nobody has made it before, so that is tried first.
        """
        name, change = secret["metadata"]["name"], {"data": secret["data"]}
        if not is_new and await self.merge(namespace, name, change):
            return
        with said(namespace):
            try:
                await self.kube.create(SECRETS, namespace, secret)
                return
            except kube_errors.AlreadyExistsError:  # the answer to our own first attempt was lost
                pass
        await self.merge(namespace, name, change)

    async def merge(self, namespace: str, name: str, change: dict[str, Any]) -> bool:
        """Merge into a Secret; tell whether there is one."""
        try:
            with said(namespace):
                await self.kube.merge(SECRETS, namespace, name, change)
        except NotFoundError:
            return False
        return True


def encoded(value: str) -> str:
    """Return a value as a Secret's `data` holds it."""
    return base64.b64encode(value.encode()).decode()
