"""Which Deployment a Pod belongs to is read once for each ReplicaSet, however many sessions are at work."""

from typing import Any, cast

from managed_agents.kube.client import Kube
from managed_agents.operator.chains import Chains

ACTIVE = 10_000
"""1 % of a million sessions."""


class CountedReplicaSets:
    """A kube-apiserver that has every ReplicaSet asked for."""

    def __init__(self) -> None:
        self.reads = 0

    async def get(self, _: object, __: str, name: str) -> dict[str, Any]:
        self.reads += 1
        owner = {"kind": "Deployment", "uid": f"deployment-of-{name}", "controller": True}
        return {"metadata": {"uid": f"uid-of-{name}", "ownerReferences": [owner]}}


def pod(number: int) -> dict[str, Any]:
    owner = {"kind": "ReplicaSet", "name": f"set-{number}", "uid": f"uid-of-set-{number}", "controller": True}
    return {"metadata": {"uid": f"pod-{number}", "ownerReferences": [owner]}}


async def test_ten_thousand_harness_pods_are_remembered_together() -> None:
    kube = CountedReplicaSets()
    chains = Chains(cast("Kube", kube))

    for _ in range(2):  # a pool looks at all its Pods whenever one of them changes
        for number in range(ACTIVE):
            assert await chains.deployment_uid_of("team-a", pod(number)) == f"deployment-of-set-{number}"

    assert kube.reads == ACTIVE
    assert chains.known("pod-0") == "deployment-of-set-0"
