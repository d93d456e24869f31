"""The kinds of Kubernetes that we read or write, and the paths at which the kube-apiserver serves them."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from managed_agents.contracts import names

Manifest = dict[str, Any]
"""One Kubernetes object as the kube-apiserver sends it, decoded from JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource, of a namespace but for nodes. `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """Return `group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Build the URL path of a collection (all namespaces when none is given), an object or its subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource is not None:
            parts.append(subresource)
        return "/" + "/".join(quote(part, safe="") for part in parts)


def _ours(plural: str, kind: str) -> Resource:
    return Resource(group=names.GROUP, version=names.VERSION, plural=plural, kind=kind)


AGENTS = _ours("agents", "Agent")
ENVIRONMENTS = _ours("environments", "Environment")
SESSIONS = _ours("sessions", "Session")
MODEL_PROVIDERS = _ours("modelproviders", "ModelProvider")
API_KEYS = _ours("apikeys", "ApiKey")
VAULTS = _ours("vaults", "Vault")

PODS = Resource(group="", version="v1", plural="pods", kind="Pod")
NODES = Resource(group="", version="v1", plural="nodes", kind="Node")
CLAIMS = Resource(group="", version="v1", plural="persistentvolumeclaims", kind="PersistentVolumeClaim")
CONFIG_MAPS = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")
SECRETS = Resource(group="", version="v1", plural="secrets", kind="Secret")
SERVICE_ACCOUNTS = Resource(group="", version="v1", plural="serviceaccounts", kind="ServiceAccount")
EVENTS = Resource(group="", version="v1", plural="events", kind="Event")
DEPLOYMENTS = Resource(group="apps", version="v1", plural="deployments", kind="Deployment")
REPLICA_SETS = Resource(group="apps", version="v1", plural="replicasets", kind="ReplicaSet")
REVISIONS = Resource(group="apps", version="v1", plural="controllerrevisions", kind="ControllerRevision")
JOBS = Resource(group="batch", version="v1", plural="jobs", kind="Job")
NETWORK_POLICIES = Resource(group="networking.k8s.io", version="v1", plural="networkpolicies", kind="NetworkPolicy")
LEASES = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")
