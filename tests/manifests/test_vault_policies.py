"""Who may bind a Secret to a credential, and which Secrets the server may write, before a real kube-apiserver."""

import base64
from functools import partial
from typing import Any

import pytest

from manifests.test_policies import grant, refused, without
from support.apiserver import ControlPlane
from support.kubeclient import Json, KubeClient, KubeError, eventually, object_path
from support.manifests import MANIFESTS, kustomized
from support.requirements import requirement

pytestmark = pytest.mark.apiserver

SERVER = "system:serviceaccount:managed-agents-system:managed-agents-server"


def credential(name: str, secret: str, **auth: Any) -> Json:
    """Return a credential with its token in this Secret, for a server of its own."""
    token = {"secretKeyRef": {"name": secret, "key": "token"}}
    url = f"https://{name}.example"
    return {"name": name, "auth": {"type": "static_bearer", "mcpServerUrl": url, "token": token, **auth}}


def vault(plane: ControlPlane, name: str, *credentials: Json, **spec: Any) -> Json:
    """Return a Vault of the test's namespace."""
    return {
        "apiVersion": "managedagents.dev/v1alpha1",
        "kind": "Vault",
        "metadata": {"name": name, "namespace": plane.namespace},
        "spec": {"credentials": list(credentials), **spec},
    }


def secret(plane: ControlPlane, name: str, **labels: str) -> Json:
    """Return a Secret with one key."""
    labelled = {f"managedagents.dev/{key}": value for key, value in labels.items()}
    metadata = {"name": name, "namespace": plane.namespace, "labels": labelled}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"token": _encoded("canary")}}


@pytest.fixture(scope="module")
def author(plane: ControlPlane) -> KubeClient:
    """An editor of our kinds who may get the Secrets `one` and `more`, and no other."""
    grant(plane, "vault-author", cluster_role="managed-agents-editor")
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one", "more"], "verbs": ["get"]}
    client = grant(plane, "vault-author", rule)
    probe = vault(plane, "probe", credential("a", "two"))
    eventually(lambda: refused(lambda: client.create(probe, dry_run=True)) is not None)
    return client


@pytest.fixture(scope="module")
def server(plane: ControlPlane) -> KubeClient:
    """The server, with the rights that an administrator gives it in a tenant's namespace."""
    for item in kustomized(MANIFESTS / "tenant"):
        item["metadata"]["namespace"] = plane.namespace
        plane.client.apply(item)
    client = plane.client.acting_as(SERVER)
    made = secret(plane, "ma-vault.probe.1", vault="probe")
    eventually(lambda: refused(lambda: client.create(made, dry_run=True)) is None)
    return client


@requirement("A32")
def test_credential_may_name_only_a_secret_its_author_may_get(plane: ControlPlane, author: KubeClient) -> None:
    said = refused(lambda: author.create(vault(plane, "foreign", credential("a", "one"), credential("b", "two")))) or ""
    assert 'spec.credentials[b].auth: vault-author may not get Secret "two"' in said
    author.create(vault(plane, "own", credential("a", "one"), credential("b", "more")))
    assert "may not get" in (refused(lambda: author.apply(vault(plane, "own", credential("a", "two")))) or "")


@requirement("A32")
def test_a_full_vault_is_checked_to_its_last_credential(plane: ControlPlane, author: KubeClient) -> None:
    names = [f"c{index}" for index in range(20)]
    author.create(vault(plane, "full", *(credential(name, "one") for name in names)), dry_run=True)
    last = vault(plane, "full", *(credential(name, "two" if name == "c19" else "one") for name in names))
    assert "spec.credentials[c19].auth" in (refused(lambda: author.create(last, dry_run=True)) or "")


@requirement("A32")
def test_a_bound_secret_cannot_be_sent_elsewhere_by_who_may_not_get_it(plane: ControlPlane, author: KubeClient) -> None:
    hosts = {"type": "limited", "allowedHosts": ["a.example"]}
    value = {"secretKeyRef": {"name": "two", "key": "token"}}
    auth = {"type": "environment_variable", "secretName": "KEY", "secretValue": value, "networking": hosts}
    bound = {"name": "b", "auth": auth}
    plane.client.create(vault(plane, "admins", credential("a", "two"), bound))
    author.apply(vault(plane, "admins", credential("a", "two"), bound, displayName="renamed"))
    wider = {"name": "b", "auth": auth | {"networking": hosts | {"allowedHosts": ["thief.example"]}}}
    elsewhere = credential("thief", "two")
    for credentials in ([credential("a", "two"), wider], [credential("a", "two"), bound, elsewhere]):
        changed = vault(plane, "admins", *credentials)
        assert "may not get Secret" in (refused(partial(author.apply, changed)) or "")
    author.apply(vault(plane, "admins", bound))


def test_any_secret_may_be_bound_without_the_policy(plane: ControlPlane, author: KubeClient) -> None:
    with without(plane, "managed-agents-vault-secrets"):
        foreign = vault(plane, "free", credential("a", "two"))
        eventually(lambda: refused(lambda: author.create(foreign, dry_run=True)) is None)


@requirement("A32")
def test_the_server_binds_only_what_it_wrote(plane: ControlPlane, server: KubeClient) -> None:
    server.create(vault(plane, "api", credential("a", "ma-vault.api.1")), dry_run=True)
    foreign = vault(plane, "api", credential("a", "one"))
    eventually(lambda: refused(lambda: server.create(foreign, dry_run=True)) is not None)
    said = refused(lambda: server.create(foreign, dry_run=True)) or ""
    assert 'may not get Secret "one"' in said


@requirement("A30")
def test_the_server_reads_no_secret_and_patches_only_those_of_vaults(plane: ControlPlane, server: KubeClient) -> None:
    mine = plane.client.create(secret(plane, "ma-vault.mine.1", vault="mine"))
    merge = "application/merge-patch+json"
    patch = {"data": {"token": _encoded("new")}}
    assert server.request("PATCH", object_path(mine), patch, media=merge)["data"]["token"] == _encoded("new")
    with pytest.raises(KubeError, match="forbidden"):
        server.request("GET", object_path(mine))
    labelled, named = secret(plane, "tenants", vault="mine"), secret(plane, "ma-vault.bare.1")
    for item in (plane.client.create(labelled), plane.client.create(named)):
        for body in ({}, patch, {"metadata": {"labels": {"managedagents.dev/vault": "mine"}}}):
            said = refused(partial(server.request, "PATCH", object_path(item), body, media=merge))
            assert "the server writes only Secrets named ma-vault" in (said or "")
    assert "writes only Secrets" in (refused(lambda: server.create(secret(plane, "ma-vault.none.1"))) or "")
    with without(plane, "managed-agents-server-secrets"):
        eventually(lambda: refused(lambda: server.request("PATCH", object_path(labelled), {}, media=merge)) is None)


@requirement("mcp-oauth-stored")
def test_the_server_swaps_a_grant_only_while_its_version_is_the_same(plane: ControlPlane, server: KubeClient) -> None:
    mine = secret(plane, "ma-vault.swap.1", vault="swap")
    mine["data"] |= {"a.version": _encoded("one"), "a.access-token": _encoded("old")}
    mine = plane.client.create(mine)

    def swap(tested: str, version: str, token: str) -> int:
        """Swap as `VaultSecrets` does; return the status."""
        written = {"a.version": version, "a.access-token": token, "a.expires-at": ""}
        patch: Any = [{"op": "test", "path": "/data/a.version", "value": _encoded(tested)}]
        patch += [{"op": "add", "path": f"/data/{key}", "value": _encoded(value)} for key, value in written.items()]
        try:
            server.request("PATCH", object_path(mine), patch, media="application/json-patch+json")
        except KubeError as error:
            return error.status
        return 200

    assert swap("one", "two", "new") == 200
    assert swap("one", "three", "late") == 422
    held = plane.client.request("GET", object_path(mine))["data"]
    assert (held["a.version"], held["a.access-token"]) == (_encoded("two"), _encoded("new"))
    server.request("PATCH", object_path(mine), {"data": None}, media="application/merge-patch+json")
    assert swap("two", "three", "after the purge") == 422
    assert "data" not in plane.client.request("GET", object_path(mine))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
