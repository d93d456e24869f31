"""Follows a Pod's controllers to its Deployment; labels prove nothing (A29). What was read is immutable, so kept."""

from collections import OrderedDict
from typing import Any

from managed_agents.contracts.errors import NotFoundError
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import DEPLOYMENTS, REPLICA_SETS, Manifest

REMEMBERED_MAX = 32_768
"""ReplicaSets and Pods whose Deployment is known, about 15 MB. More living harnesses than this, and each look at a
pool or a session would read a ReplicaSet anew."""


class Chains:
    """Answers which Deployment a Pod belongs to, with one read for each ReplicaSet."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._deployments: OrderedDict[str, str | None] = OrderedDict()
        self._pods: OrderedDict[str, str] = OrderedDict()

    def known(self, pod_uid: str) -> str | None:
        """Return the Deployment of a Pod that was asked for before."""
        return self._pods.get(pod_uid)

    async def deployment_uid_of(self, namespace: str, pod: Manifest) -> str | None:
        """Return the UID of the Deployment at the end of a Pod's chain. Raises: RetryableError."""
        owner = next((item for item in pod["metadata"].get("ownerReferences") or [] if item.get("controller")), None)
        if owner is None or owner.get("kind") != REPLICA_SETS.kind:
            return None
        if owner["uid"] not in self._deployments:
            try:
                replica_set = await self._kube.get(REPLICA_SETS, namespace, owner["name"])
            except NotFoundError:
                return None
            if replica_set["metadata"]["uid"] != owner["uid"]:
                return None
            owners = replica_set["metadata"].get("ownerReferences") or []
            controller = next((item for item in owners if item.get("controller")), None)
            is_deployment = controller is not None and controller.get("kind") == DEPLOYMENTS.kind
            self._deployments[owner["uid"]] = controller["uid"] if controller and is_deployment else None
            _bound(self._deployments)
        found = self._deployments[owner["uid"]]
        if found is not None:
            self._pods[pod["metadata"]["uid"]] = found
            _bound(self._pods)
        return found


def _bound(remembered: OrderedDict[str, Any]) -> None:
    while len(remembered) > REMEMBERED_MAX:
        remembered.popitem(last=False)
