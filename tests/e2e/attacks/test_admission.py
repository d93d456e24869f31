"""What is refused before it exists: references that reach out, wider Pods, credentials for everywhere."""

import json
from typing import Any

import pytest

from support.arena import POD_RESTRICTED, RESTRICTED, Arena
from support.cluster import KubectlError, Object, kubectl, managed
from support.edits import edited
from support.longest import longest_agent, longest_environment, longest_session
from support.requirements import requirement
from support.tally import Tally

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SESSION = managed("Session", "probe", {"agentRef": {"name": "bot"}, "environmentRef": {"name": "box"}})
ENVIRONMENT = managed("Environment", "probe", {"config": {"type": "cloud"}, "sandbox": {"image": "python:3.12"}})
VALUE = {"secretKeyRef": {"name": "keys", "key": "variable"}}
VARIABLE = {
    "type": "environment_variable",
    "secretName": "KEY",
    "secretValue": VALUE,
    "networking": {"type": "limited", "allowedHosts": ["a.example"]},
}
VAULT = managed("Vault", "probe", {"credentials": [{"name": "key", "auth": VARIABLE}]})
POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "probe"},
    "spec": {
        "containers": [{"name": "main", "image": "none", "securityContext": RESTRICTED}],
        "securityContext": POD_RESTRICTED,
    },
}
FIRST = "spec.containers[0].securityContext"
REFUSED: list[tuple[str, Object, str, Any]] = [
    *(("A31", SESSION, "spec.agentRef.name", name) for name in ("other/bot", "../bot", "app=bot", "a%2fb", "*")),
    ("A31", SESSION, "spec.agentRef.namespace", "other"),
    *(
        ("A25", VAULT, "spec.credentials[0].auth.networking.allowedHosts", [host])
        for host in ("*", "*.com", "10.0.0.1")
    ),
    ("A33", ENVIRONMENT, "spec.sandbox.securityContext", {"privileged": True}),
    ("A33", ENVIRONMENT, "spec.sandbox.serviceAccountName", "admin"),
    ("A33", ENVIRONMENT, "spec.sandbox.hostNetwork", True),
    ("A33", ENVIRONMENT, "spec.sandbox.volumes", [{"name": "host", "hostPath": {"path": "/"}}]),
    ("A33", POD, f"{FIRST}.privileged", True),
    ("A33", POD, f"{FIRST}.runAsUser", 0),
    ("A33", POD, f"{FIRST}.capabilities.add", ["NET_ADMIN"]),
    ("A33", POD, f"{FIRST}.seccompProfile", {"type": "Unconfined"}),
    ("A33", POD, "spec.hostNetwork", True),
    ("A33", POD, "spec.hostPID", True),
    ("A33", POD, "spec.volumes", [{"name": "host", "hostPath": {"path": "/"}}]),
    ("A28", SESSION, "metadata.annotations", {"managedagents.dev/id": "sesn_anothers"}),
]


def refusal(arena: Arena, manifest: Object, *, as_: str = "developer") -> str | None:
    """Return why an object is refused to somebody, or None; nothing is made."""
    who = [f"--as=system:serviceaccount:{arena.namespace.name}:{as_}"] if manifest["kind"] != "Pod" else []
    try:
        kubectl("create", *who, "-n", arena.namespace.name, "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))
    except KubectlError as error:
        return str(error)
    return None


@requirement("A25", "A28", "A31", "A33")
def test_what_reaches_beyond_its_namespace_or_its_pod_is_refused(arena: Arena, tally: Tally) -> None:
    """As the developer, who may create our kinds; Pods as the cluster's administrator, whom Pod Security binds too."""
    kubectl(
        "create", "rolebinding", "-n", arena.namespace.name, "reads", "--clusterrole=edit",
        f"--serviceaccount={arena.namespace.name}:developer",
    )  # fmt: skip
    try:
        controls = {manifest["kind"]: refusal(arena, manifest) for manifest in (SESSION, ENVIRONMENT, VAULT, POD)}
        for case, base, path, value in REFUSED:
            said = refusal(arena, edited(base, {path: value}))
            control = controls[base["kind"]] is None or controls[base["kind"]]
            what = f"{base['kind']} with {path} = {value}"
            tally.attack(case, what, succeeded=said is None, control=control is True)
            last = path.rpartition(".")[2].partition("[")[0]
            assert said is not None
            assert last.lower() in said.lower().replace(" ", "") or "violates PodSecurity" in said, said
    finally:
        kubectl("delete", "rolebinding", "-n", arena.namespace.name, "reads")


@requirement("A36")
@pytest.mark.parametrize(
    ("kind", "spec", "longer"),
    [
        ("Agent", longest_agent(), {"spec.system": "s" * 100_001}),
        ("Environment", longest_environment(), {"spec.metadata.another": "v"}),
        ("Session", longest_session(), {"spec.events": longest_session(101)["events"]}),
    ],
    ids=["Agent", "Environment", "Session"],
)
def test_the_longest_object_is_admitted_and_a_longer_one_refused_by_its_schema(
    arena: Arena, tally: Tally, kind: str, spec: Object, longer: Object
) -> None:
    """By this cluster's kube-apiserver and its policies; the budget itself: tests/manifests/test_budget.py."""
    longest = managed(kind, "probe", spec)
    said = refusal(arena, edited(longest, longer))
    control = refusal(arena, longest)
    tally.attack("A36", f"{kind} with more in {next(iter(longer))}", succeeded=said is None, control=control is None)
    assert said is not None
    assert "too long" in said.lower() or "too many" in said.lower(), said


@requirement("A33")
def test_where_nothing_is_enforced_the_same_pods_pass(arena: Arena) -> None:
    """The control of Pod Security: without the label, the kube-apiserver takes the widest Pod."""
    widest = edited(POD, {f"{FIRST}.privileged": True, f"{FIRST}.allowPrivilegeEscalation": True, "spec.hostPID": True})
    kubectl("create", "-n", "default", "--dry-run=server", "-f", "-", stdin=json.dumps(widest))


@requirement("A5", "A33", "I16")
def test_pods_as_they_stand_mount_secrets_in_the_proxy_alone(arena: Arena, tally: Tally) -> None:
    pods = arena.namespace.select("pods", "app.kubernetes.io/part-of=managed-agents")
    ours = [pod for pod in pods if pod["metadata"].get("ownerReferences")]
    assert len(ours) >= 4
    mounting: dict[str, bool] = {}
    for pod in ours:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        secret = {volume["name"] for volume in spec["volumes"] if volume.keys() & {"secret", "projected"}}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            mounted = secret & {mount["name"] for mount in container.get("volumeMounts", [])}
            from_secret = "secretKeyRef" in str(container.get("env", [])) or container.get("envFrom")
            name = f"{pod['metadata']['name']}/{container['name']}"
            mounting[name] = bool(mounted or from_secret)
    control = all(has for name, has in mounting.items() if name.endswith("/proxy"))
    for name, has in mounting.items():
        if not name.endswith("/proxy"):
            tally.attack("A5", f"a Secret in {name}", succeeded=has, control=control)
