"""What the operator may do, as data: its RBAC is compared with this list, and this list with the verbs it uses.

`CLUSTER` is a ClusterRole; `TENANT` a Role that an administrator binds in each tenant namespace (design §3: no
cluster-wide access to Secrets); `SYSTEM` a Role in the operator's own namespace.
"""

from dataclasses import dataclass

from managed_agents.contracts import names


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Verbs on one resource (`plural` or `plural/subresource`) of one API group (empty: core)."""

    group: str
    resource: str
    verbs: tuple[str, ...]


WATCH = ("get", "list", "watch")

CLUSTER = (
    # kopf patches its progress annotation on the low-count kinds; Sessions get our finalizer, and outlived ones go
    Rule(group=names.GROUP, resource="agents", verbs=(*WATCH, "patch")),
    Rule(group=names.GROUP, resource="environments", verbs=(*WATCH, "patch")),
    Rule(group=names.GROUP, resource="modelproviders", verbs=(*WATCH, "patch")),
    Rule(group=names.GROUP, resource="vaults", verbs=(*WATCH, "patch")),
    Rule(group=names.GROUP, resource="sessions", verbs=(*WATCH, "patch", "delete")),
    Rule(group=names.GROUP, resource="agents/status", verbs=("patch",)),
    Rule(group=names.GROUP, resource="environments/status", verbs=("patch",)),
    Rule(group=names.GROUP, resource="modelproviders/status", verbs=("patch",)),
    Rule(group=names.GROUP, resource="sessions/status", verbs=("patch",)),
    Rule(group=names.GROUP, resource="vaults/status", verbs=("patch",)),
    Rule(group="apps", resource="controllerrevisions", verbs=("create", "get", "list")),
    Rule(group="apps", resource="deployments", verbs=(*WATCH, "create", "patch", "delete")),
    Rule(group="apps", resource="replicasets", verbs=("get",)),
    Rule(group="batch", resource="jobs", verbs=("get", "create", "delete")),
    Rule(group="", resource="pods", verbs=(*WATCH, "create", "patch", "delete")),
    Rule(group="", resource="nodes", verbs=("list",)),  # counted
    Rule(group="", resource="persistentvolumeclaims", verbs=(*WATCH, "create", "patch", "delete")),
    Rule(group="", resource="configmaps", verbs=("get",)),
    Rule(group="", resource="serviceaccounts", verbs=("create", "patch")),
    Rule(group="", resource="events", verbs=("create",)),
    Rule(group="networking.k8s.io", resource="networkpolicies", verbs=("list", "watch", "create", "patch")),
)

TENANT = (Rule(group="", resource="secrets", verbs=("get", "create", "patch", "delete")),)

SYSTEM = (Rule(group="coordination.k8s.io", resource="leases", verbs=("get", "create", "update")),)


def allowed(rules: tuple[Rule, ...]) -> frozenset[tuple[str, str, str]]:
    """Flatten rules to (group, resource, verb)."""
    return frozenset((rule.group, rule.resource, verb) for rule in rules for verb in rule.verbs)
