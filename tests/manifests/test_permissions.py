"""Who may do what, compared with the checked-in list: by reading the manifests, and by asking a kube-apiserver."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from managed_agents.operator import permissions
from support.apiserver import ControlPlane
from support.kubeclient import KubeClient, client_from_kubeconfig
from support.manifests import MANIFESTS, kustomized
from support.requirements import requirement

Json = dict[str, Any]
Grant = tuple[str, str, str]
"""Group, resource with its subresource, verb."""

LISTED: dict[str, dict[str, dict[str, list[str]]]] = yaml.safe_load(
    (Path(__file__).parent / "permissions.yaml").read_text()
)
SYSTEM = "managed-agents-system"
OPERATOR = f"{SYSTEM}/managed-agents-operator"
SERVER = f"{SYSTEM}/managed-agents-server"
INSTALL = kustomized(MANIFESTS / "install")


def listed(account: str, *scopes: str) -> set[Grant]:
    """Return the checked-in grants of a ServiceAccount in these scopes."""
    entries = [entry for scope in scopes for entry in LISTED[account].get(scope, {}).items()]
    return {_grant(name, verb) for name, verbs in entries for verb in verbs}


def _grant(name: str, verb: str) -> Grant:
    resource, _, subresource = name.partition("/")
    plural, _, group = resource.partition(".")
    return group, f"{plural}/{subresource}" if subresource else plural, verb


def granted(rules: Iterable[Json]) -> set[Grant]:
    """Flatten the rules of a Role; a rule confined to names is marked, so that it equals no listed one."""
    return {
        (group, resource + ("".join(f"#{name}" for name in rule.get("resourceNames", []))), verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _rules(kind: str, name: str, objects: list[Json]) -> list[Json]:
    (found,) = [item["rules"] for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    rules: list[Json] = found
    return rules


def test_operators_roles_equal_the_list_and_its_own_code() -> None:
    cluster = granted(_rules("ClusterRole", "managed-agents-operator", INSTALL))
    system = granted(_rules("Role", "managed-agents-operator", INSTALL))
    tenant = granted(_rules("Role", "managed-agents-operator-secrets", kustomized(MANIFESTS / "tenant")))
    assert cluster == listed(OPERATOR, "cluster") == permissions.allowed(permissions.CLUSTER)
    assert system == listed(OPERATOR, "system") == permissions.allowed(permissions.SYSTEM)
    assert tenant == listed(OPERATOR, "tenant") == permissions.allowed(permissions.TENANT)


def test_servers_role_equals_the_list() -> None:
    role = granted(_rules("ClusterRole", "managed-agents-server", INSTALL))
    assert role == listed(SERVER, "cluster")
    tenant = granted(_rules("Role", "managed-agents-server-secrets", kustomized(MANIFESTS / "tenant")))
    assert tenant == listed(SERVER, "tenant")


def test_no_role_is_wide_or_reaches_secrets_of_the_cluster() -> None:
    for role in (item for item in INSTALL if item["kind"] in ("ClusterRole", "Role")):
        for group, resource, verb in granted(role["rules"]):
            assert "*" not in (group, resource, verb), role["metadata"]["name"]
            assert verb not in ("escalate", "bind", "impersonate"), role["metadata"]["name"]
            assert resource.partition("/")[0] != "secrets", role["metadata"]["name"]


def test_user_roles_hold_our_kinds_and_no_door_into_a_session() -> None:
    for name in ("managed-agents-viewer", "managed-agents-editor"):
        role = granted(_rules("ClusterRole", name, INSTALL))
        assert {group for group, _, _ in role} == {"managedagents.dev"}
        kinds = {"agents", "environments", "modelproviders", "sessions", "vaults"}
        assert {resource for _, resource, _ in role} == {*kinds, "files"}


def test_only_an_admin_makes_keys_and_learns_who_sent_what() -> None:
    role = granted(_rules("ClusterRole", "managed-agents-admin", INSTALL))
    assert {(group, resource) for group, resource, _ in role} == {
        ("managedagents.dev", "apikeys"),
        ("managedagents.dev", "sessions/senders"),
    }


@requirement("permissions")
@pytest.mark.apiserver
def test_each_account_may_do_what_is_listed_and_nothing_else(plane: ControlPlane) -> None:
    for item in kustomized(MANIFESTS / "tenant"):
        item["metadata"]["namespace"] = plane.namespace
        plane.client.apply(item)
    _compare(plane.client, tenant=plane.namespace)


@pytest.mark.cluster
def test_each_account_of_the_cluster_may_do_what_is_listed_and_nothing_else() -> None:
    if "KUBECONFIG" not in os.environ:
        pytest.skip("no cluster: run it under scripts/with-cluster")
    _compare(client_from_kubeconfig(), tenant="default")


def _compare(client: KubeClient, *, tenant: str) -> None:
    for account in LISTED:
        for namespace, scopes in ((tenant, ("cluster", "tenant")), (SYSTEM, ("cluster", "system"))):
            everybody = _can_i(client, "kube-public/somebody", namespace, tenant)
            found = _can_i(client, account, namespace, tenant) - everybody
            assert found == listed(account, *scopes), f"{account} in {namespace}"


def _can_i(client: KubeClient, account: str, namespace: str, tenant: str) -> set[Grant]:
    """Ask what `kubectl auth can-i --list` asks, as a ServiceAccount."""
    home, name = account.split("/")
    home = tenant if home == "tenant" else home
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{home}")
    user = client.acting_as(f"system:serviceaccount:{home}:{name}", *groups)
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = user.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)
    return granted(answer["status"]["resourceRules"])
