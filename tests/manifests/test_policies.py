"""The admission policies before a real kube-apiserver; each refusal has its control: another request, or no policy."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.apiserver import ControlPlane
from support.kubeclient import Json, KubeClient, KubeError, eventually, object_path
from support.manifests import MANIFESTS, kustomized
from support.requirements import requirement

pytestmark = pytest.mark.apiserver

AUDIENCE = "managedagents.dev/server"
RBAC = "rbac.authorization.k8s.io"
BINDINGS = {
    item["metadata"]["name"]: item
    for item in kustomized(MANIFESTS / "install")
    if item["kind"] == "ValidatingAdmissionPolicyBinding"
}


def refused(request: Callable[[], Any]) -> str | None:
    """Return the words in which a request was forbidden, or None when it came through to what is behind admission."""
    try:
        request()
    except KubeError as error:
        return error.message if error.status == 403 else None
    return None


def grant(plane: ControlPlane, user: str, *rules: Json, cluster_role: str | None = None) -> KubeClient:
    """Give a user rules in the test's namespace, or a ClusterRole there, and return a client that acts as the user."""
    name = f"{user}-{secrets.token_hex(3)}"
    metadata = {"name": name, "namespace": plane.namespace}
    reference = {"apiGroup": RBAC, "kind": "Role", "name": name}
    if cluster_role is None:
        plane.client.create({"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)})
    else:
        reference |= {"kind": "ClusterRole", "name": cluster_role}
    subject = {"apiGroup": RBAC, "kind": "User", "name": user}
    binding = {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": metadata}
    plane.client.create({**binding, "roleRef": reference, "subjects": [subject]})
    return plane.client.acting_as(user)


@contextmanager
def without(plane: ControlPlane, policy: str) -> Iterator[None]:
    """Take a policy's binding away for a moment; skips on a cluster that is not the test's own."""
    if not plane.is_disposable:
        pytest.skip("takes a policy away, so needs a kube-apiserver of its own")
    plane.client.delete(BINDINGS[policy])
    try:
        yield
    finally:
        plane.client.apply(BINDINGS[policy])


def mint(client: KubeClient, namespace: str, audience: str) -> Json:
    """Ask for a token of the ServiceAccount `default`."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [audience]}}
    return client.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/robot/token", body)


@pytest.fixture(scope="module")
def minter(plane: ControlPlane) -> KubeClient:
    """A tenant who may ask for tokens, as the stock role `edit` may, once the policy is in force."""
    metadata = {"name": "robot", "namespace": plane.namespace}
    plane.client.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    rule = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}
    client = grant(plane, "minter", rule)
    eventually(lambda: refused(lambda: mint(client, plane.namespace, AUDIENCE)) is not None)
    return client


@requirement("A34")
def test_token_with_our_audience_is_for_kubelets_only(plane: ControlPlane, minter: KubeClient) -> None:
    said = refused(lambda: mint(minter, plane.namespace, AUDIENCE)) or ""
    assert f"spec.audiences: the audience {AUDIENCE} is reserved" in said
    assert mint(minter, plane.namespace, "another")["status"]["token"]


def test_kubelet_gets_a_token_with_our_audience(plane: ControlPlane, minter: KubeClient) -> None:
    rule = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}
    grant(plane, "node-one", rule)
    kubelet = plane.client.acting_as("node-one", "system:nodes")
    assert mint(kubelet, plane.namespace, AUDIENCE)["status"]["token"]


@requirement("A34")
def test_tenant_mints_our_audience_without_the_policy(plane: ControlPlane, minter: KubeClient) -> None:
    with without(plane, "managed-agents-reserved-audience"):
        eventually(lambda: refused(lambda: mint(minter, plane.namespace, AUDIENCE)) is None)
        assert mint(minter, plane.namespace, AUDIENCE)["status"]["token"]


DOORS = ("exec", "attach", "portforward", "proxy", "ephemeralcontainers")
DOOR_RULE = {
    "apiGroups": [""],
    "resources": [f"pods/{door}" for door in DOORS],
    "verbs": ["create", "get", "update", "patch"],
}


def enter(client: KubeClient, namespace: str, pod: str, door: str) -> Json:
    """Try one door into a Pod that runs nowhere; what is behind admission refuses in other words."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/{door}"
    if door != "ephemeralcontainers":
        return client.request("POST", f"{path}?command=id&container=main")
    patch = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox", "targetContainerName": "main"}]}}
    return client.request("PATCH", path, patch, media="application/strategic-merge-patch+json")


@pytest.fixture(scope="module")
def visitor(plane: ControlPlane) -> KubeClient:
    """A tenant with every door's verb, two Pods to try, and the policy in force."""
    for name in ("ma-session", "other"):
        spec = {"containers": [{"name": "main", "image": "none"}]}
        metadata = {"name": name, "namespace": plane.namespace}
        plane.client.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    client = grant(plane, "visitor", DOOR_RULE)
    eventually(lambda: refused(lambda: enter(client, plane.namespace, "ma-session", "exec")) is not None)
    return client


@requirement("A34")
@pytest.mark.parametrize("door", DOORS)
def test_session_pod_cannot_be_entered_by_a_tenant(plane: ControlPlane, visitor: KubeClient, door: str) -> None:
    said = refused(lambda: enter(visitor, plane.namespace, "ma-session", door)) or ""
    assert f'Pod "ma-session" belongs to a session: {door} needs the permission' in said
    assert refused(lambda: enter(visitor, plane.namespace, "other", door)) is None


@pytest.mark.parametrize("door", DOORS)
def test_session_pod_can_be_entered_with_the_permission(plane: ControlPlane, visitor: KubeClient, door: str) -> None:
    permission = {"apiGroups": ["managedagents.dev"], "resources": ["sessions/exec"], "verbs": ["create"]}
    debugger = grant(plane, f"debugger-{door}", DOOR_RULE, permission)
    eventually(lambda: refused(lambda: enter(debugger, plane.namespace, "ma-session", door)) is None)
    assert refused(lambda: enter(plane.client, plane.namespace, "ma-session", door)) is None, "administrators may"


def test_session_pod_can_be_entered_without_the_policy(plane: ControlPlane, visitor: KubeClient) -> None:
    with without(plane, "managed-agents-reserved-pods"):
        eventually(lambda: refused(lambda: enter(visitor, plane.namespace, "ma-session", "exec")) is None)


def provider(plane: ControlPlane, name: str, key_in: str = "one", **spec: Any) -> Json:
    """Return a ModelProvider with a key from this Secret."""
    return {
        "apiVersion": "managedagents.dev/v1alpha1",
        "kind": "ModelProvider",
        "metadata": {"name": name, "namespace": plane.namespace},
        "spec": {"endpoint": "https://a.example", "apiKey": {"secretKeyRef": {"name": key_in, "key": "key"}}, **spec},
    }


@pytest.fixture(scope="module")
def author(plane: ControlPlane) -> KubeClient:
    """An editor of our kinds who may get the Secret `one` and no other."""
    grant(plane, "author", cluster_role="managed-agents-editor")
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]}
    client = grant(plane, "author", rule)
    eventually(lambda: refused(lambda: client.create(provider(plane, "probe", "two"), dry_run=True)) is not None)
    return client


@requirement("A32")
def test_provider_may_name_only_a_secret_its_author_may_get(plane: ControlPlane, author: KubeClient) -> None:
    said = refused(lambda: author.create(provider(plane, "foreign", "two"))) or ""
    assert 'spec.apiKey.secretKeyRef.name: author may not get Secret "two"' in said
    author.create(provider(plane, "own", "one"))
    changed = provider(plane, "own", "two")
    assert "may not get Secret" in (refused(lambda: author.apply(changed)) or "")


def test_providers_key_cannot_be_sent_elsewhere_by_who_may_not_get_it(plane: ControlPlane, author: KubeClient) -> None:
    plane.client.create(provider(plane, "admins", "two"))
    elsewhere = provider(plane, "admins", "two", endpoint="https://thief.example")
    assert "may not get Secret" in (refused(lambda: author.apply(elsewhere)) or "")
    author.apply(provider(plane, "admins", "two", models=[{"id": "simulated"}]))


def test_any_secret_may_be_named_without_the_policy(plane: ControlPlane, author: KubeClient) -> None:
    with without(plane, "managed-agents-provider-secrets"):
        foreign = provider(plane, "free", "two")
        eventually(lambda: refused(lambda: author.create(foreign, dry_run=True)) is None)
        assert author.create(foreign, dry_run=True)["metadata"]["name"] == "free"


def session(namespace: str) -> Json:
    """Return a Session of this namespace."""
    spec = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "box"}}
    metadata = {"name": f"probe-{secrets.token_hex(3)}", "namespace": namespace}
    return {"apiVersion": "managedagents.dev/v1alpha1", "kind": "Session", "metadata": metadata, "spec": spec}


def test_system_namespace_holds_no_session(plane: ControlPlane) -> None:
    def try_one() -> Json:
        return plane.client.create(session("managed-agents-system"), dry_run=True)

    eventually(lambda: refused(try_one) is not None)
    assert "metadata.namespace: managed-agents-system holds the control plane" in (refused(try_one) or "")
    assert plane.client.create(session(plane.namespace), dry_run=True)["kind"] == "Session"
    with without(plane, "managed-agents-system-namespace"):
        eventually(lambda: refused(try_one) is None)


WARNS = "managed-agents-tenant-namespaces"
"""Whose cure is a label of the namespace; an administrator may make it deny."""


def test_every_policy_fails_closed_and_denies() -> None:
    for item in kustomized(MANIFESTS / "install"):
        if item["kind"] == "ValidatingAdmissionPolicy":
            name = item["metadata"]["name"]
            assert item["spec"]["failurePolicy"] == "Fail", object_path(item)
            action = "Warn" if name == WARNS else "Deny"
            assert BINDINGS[name]["spec"] == {"policyName": name, "validationActions": [action]}


def environment_with(identity: str | None) -> Json:
    annotations = {} if identity is None else {"managedagents.dev/id": identity}
    metadata = {"name": f"env-{secrets.token_hex(3)}", "annotations": annotations}
    spec = {"config": {"type": "cloud"}}
    return {"apiVersion": "managedagents.dev/v1alpha1", "kind": "Environment", "metadata": metadata, "spec": spec}


@requirement("A28")
def test_only_who_may_restore_gives_an_object_an_id(plane: ControlPlane) -> None:
    def create(client: KubeClient, identity: str | None) -> Json:
        made = environment_with(identity)
        made["metadata"]["namespace"] = plane.namespace
        return client.create(made)

    rule = {"apiGroups": ["managedagents.dev"], "resources": ["environments"], "verbs": ["create", "get", "patch"]}
    author = grant(plane, "author", rule)
    eventually(lambda: "may not restore" in (refused(lambda: create(author, "env_strangers")) or ""))
    made = create(author, None)
    patch = {"metadata": {"annotations": {"managedagents.dev/id": "env_strangers"}}}
    path = object_path(made)
    said = refused(lambda: author.request("PATCH", path, patch, media="application/merge-patch+json")) or ""
    assert "managedagents.dev/id" in said
    restorer = grant(plane, "restorer", {**rule, "verbs": ["create", "restore"]})
    eventually(lambda: refused(lambda: create(restorer, "env_restored")) is None)
