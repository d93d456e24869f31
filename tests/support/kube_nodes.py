"""Plays Deployment controller, scheduler and kubelet on the fake: Deployments get Pods, Pods run and end."""

import copy
from dataclasses import dataclass, field
from typing import Any

from support.kube import Change, FakeKube, Manifest, kind_of


@dataclass
class FakeNodes:
    """Attach to a fake; `auto_run` False leaves Pods pending until `run` is called."""

    kube: FakeKube
    auto_run: bool = True
    auto_end: bool = True
    _addresses: int = 9
    _serial: int = 0
    _pending: list[Change] = field(default_factory=list)
    _busy: bool = False

    def __post_init__(self) -> None:
        self.kube.listeners.append(self._hear)

    def add(self) -> None:
        """Let the cluster have one more node."""
        self._serial += 1
        self.kube.create(kind_of("nodes"), "", {"metadata": {"name": f"node-{self._serial}"}})

    def stop(self) -> None:
        """Play no more."""
        self.kube.listeners.remove(self._hear)

    def run(self, namespace: str, name: str) -> None:
        """Let all containers of a Pod run."""
        pod = self.kube.get("pods", namespace, name)
        self._addresses += 1
        spec = pod["spec"]
        self.kube.set_status(
            "pods",
            namespace,
            name,
            phase="Running",
            podIP=f"10.244.0.{self._addresses}",
            conditions=[{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
            initContainerStatuses=[_running(item) for item in spec.get("initContainers") or []],
            containerStatuses=[_running(item) for item in spec["containers"]],
        )
        for owner in pod["metadata"].get("ownerReferences") or []:
            found = self.kube.find("replicasets", namespace, owner["name"]) if owner["kind"] == "ReplicaSet" else None
            if found is not None:
                [deployment] = found["metadata"]["ownerReferences"]
                self.kube.set_status("deployments", namespace, deployment["name"], replicas=1, readyReplicas=1)

    def wait_for_image(self, namespace: str, name: str, message: str) -> None:
        """Let a Pod's last container wait for an image that cannot be pulled."""
        pod = self.kube.get("pods", namespace, name)
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
        statuses = [{**_running(item), "state": waiting} for item in pod["spec"]["containers"]]
        self.kube.set_status("pods", namespace, name, phase="Pending", containerStatuses=statuses)

    def end(self, namespace: str, name: str) -> None:
        """Let a Pod be gone, as the kubelet confirms."""
        self.kube.remove("pods", namespace, name)

    def _hear(self, change: Change) -> None:
        self._pending.append(change)
        if self._busy:
            return
        self._busy = True
        try:
            while self._pending:
                self._react(self._pending.pop(0))
        finally:
            self._busy = False

    def _react(self, change: Change) -> None:
        if change.plural == "deployments" and change.type == "ADDED":
            self._replicate(change.object)
        if change.plural == "pods" and change.type == "ADDED" and self.auto_run:
            self._schedule(change.object)
        if change.plural == "pods" and change.type == "MODIFIED" and self.auto_end:
            metadata = change.object["metadata"]
            if metadata.get("deletionTimestamp") and self.kube.find("pods", metadata["namespace"], metadata["name"]):
                self.end(metadata["namespace"], metadata["name"])
        if change.plural == "pods" and change.type == "DELETED":
            self._replace_pod(change.object)

    def _schedule(self, pod: Manifest) -> None:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if self.kube.find("pods", namespace, name) is None:
            return
        self.kube.merge(kind_of("pods"), namespace, name, {"spec": {"nodeName": "node-1"}})
        self.run(namespace, name)

    def _replicate(self, deployment: Manifest) -> None:
        metadata = deployment["metadata"]
        self._serial += 1
        replica_set = {
            "metadata": {
                "name": f"{metadata['name']}-{self._serial:05x}",
                "labels": deployment["spec"]["template"]["metadata"]["labels"],
                "ownerReferences": [_owner("Deployment", deployment)],
            },
            "spec": {"template": deployment["spec"]["template"]},
        }
        self._make_pod(self.kube.create(kind_of("replicasets"), metadata["namespace"], replica_set))

    def _make_pod(self, replica_set: Manifest) -> None:
        template = copy.deepcopy(replica_set["spec"]["template"])
        self._serial += 1
        metadata = {
            "name": f"{replica_set['metadata']['name']}-{self._serial:05x}",
            "labels": template["metadata"]["labels"],
            "ownerReferences": [_owner("ReplicaSet", replica_set)],
        }
        body = {"metadata": metadata, "spec": template["spec"]}
        self.kube.create(kind_of("pods"), replica_set["metadata"]["namespace"], body)

    def _replace_pod(self, pod: Manifest) -> None:
        for owner in pod["metadata"].get("ownerReferences") or []:
            if owner["kind"] == "ReplicaSet":
                found = self.kube.find("replicasets", pod["metadata"]["namespace"], owner["name"])
                if found is not None and not found["metadata"].get("deletionTimestamp"):
                    self._make_pod(found)


def _owner(kind: str, manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    version = "apps/v1"
    return {"apiVersion": version, "kind": kind, "name": metadata["name"], "uid": metadata["uid"], "controller": True}


def _running(container: Manifest) -> dict[str, Any]:
    return {"name": container["name"], "image": container["image"], "restartCount": 0, "state": {"running": {}}}
