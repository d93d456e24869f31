"""Who may bind a Secret to a session's repository, and what the server may write, before a real kube-apiserver."""

from functools import partial

import pytest

from manifests.test_policies import grant, refused, without
from manifests.test_vault_policies import SERVER, secret
from support.apiserver import ControlPlane
from support.kubeclient import Json, KubeClient, KubeError, eventually, object_path
from support.manifests import MANIFESTS, kustomized
from support.requirements import requirement

pytestmark = pytest.mark.apiserver


def repository(name: str, secret_name: str, host: str = "git.example") -> Json:
    """Return a resource with its token in this Secret."""
    token = {"secretKeyRef": {"name": secret_name, "key": "token"}}
    return {"type": "github_repository", "url": f"https://{host}/{name}", "authorizationToken": token}


def session(plane: ControlPlane, name: str, *resources: Json, **spec: object) -> Json:
    """Return a Session of the test's namespace."""
    references = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "python"}}
    return {
        "apiVersion": "managedagents.dev/v1alpha1",
        "kind": "Session",
        "metadata": {"name": name, "namespace": plane.namespace},
        "spec": {**references, "resources": list(resources), **spec},
    }


@pytest.fixture(scope="module")
def author(plane: ControlPlane) -> KubeClient:
    """An editor of our kinds who may get the Secrets `one` and `more`, and no other."""
    grant(plane, "token-author", cluster_role="managed-agents-editor")
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one", "more"], "verbs": ["get"]}
    client = grant(plane, "token-author", rule)
    probe = session(plane, "probe", repository("a", "two"))
    eventually(lambda: refused(lambda: client.create(probe, dry_run=True)) is not None)
    return client


@requirement("A32")
def test_repository_may_name_only_a_secret_its_author_may_get(plane: ControlPlane, author: KubeClient) -> None:
    foreign = session(plane, "foreign", repository("a", "one"), repository("b", "two"))
    said = refused(lambda: author.create(foreign)) or ""
    assert 'spec.resources (https://git.example/b): token-author may not get Secret "two"' in said
    author.create(session(plane, "own", repository("a", "one"), repository("b", "more")))
    changed = session(plane, "own", repository("a", "two"), repository("b", "more"))
    assert "may not get" in (refused(lambda: author.apply(changed)) or "")


@requirement("A32")
def test_every_token_of_a_session_is_checked(plane: ControlPlane, author: KubeClient) -> None:
    full = [repository(f"r{index}", "one") for index in range(20)]
    author.create(session(plane, "full", *full), dry_run=True)
    last = session(plane, "full", *full[:19], repository("r19", "two"))
    assert "https://git.example/r19" in (refused(lambda: author.create(last, dry_run=True)) or "")


@requirement("A32")
def test_a_bound_token_cannot_be_sent_elsewhere_by_who_may_not_get_it(plane: ControlPlane, author: KubeClient) -> None:
    plane.client.create(session(plane, "admins", repository("a", "two")))
    file = {"type": "file", "fileId": "file_1"}
    author.apply(session(plane, "admins", repository("a", "two"), file, title="renamed"))
    wider = session(plane, "admins", repository("a", "two") | {"pushRefs": ["refs/*"]})
    assert "may not get Secret" in (refused(partial(author.apply, wider)) or "")
    with pytest.raises(KubeError, match="only resources of type file may be added or removed"):
        author.apply(session(plane, "admins", repository("a", "two", "thief.example")))
    author.apply(session(plane, "admins", {"type": "github_repository", "url": "https://git.example/a"}))


def test_any_secret_may_be_bound_without_the_policy(plane: ControlPlane, author: KubeClient) -> None:
    with without(plane, "managed-agents-repository-secrets"):
        foreign = session(plane, "free", repository("a", "two"))
        eventually(lambda: refused(lambda: author.create(foreign, dry_run=True)) is None)


@requirement("A32", "A30")
def test_the_server_binds_and_writes_only_the_secret_of_the_session(plane: ControlPlane) -> None:
    for item in kustomized(MANIFESTS / "tenant"):
        item["metadata"]["namespace"] = plane.namespace
        plane.client.apply(item)
    server = plane.client.acting_as(SERVER)
    mine = secret(plane, "ma-repository.api", session="api")
    eventually(lambda: refused(lambda: server.create(mine, dry_run=True)) is None)
    made = server.create(mine)
    server.create(session(plane, "api", repository("a", "ma-repository.api")), dry_run=True)
    probe = session(plane, "api", repository("a", "one"))
    eventually(lambda: refused(lambda: server.create(probe, dry_run=True)) is not None)
    for foreign in ("one", "ma-repository.other", "ma-vault.api.1"):
        said = refused(partial(server.create, session(plane, "api", repository("a", foreign)), dry_run=True))
        assert f'may not get Secret "{foreign}"' in (said or "")
    merge = "application/merge-patch+json"
    owned = {"metadata": {"labels": {"managedagents.dev/session": "api"}}, "data": {}}
    assert server.request("PATCH", object_path(made), owned, media=merge)
    for item in (secret(plane, "ma-harness-1", session="x"), secret(plane, "ma-repository.bare", vault="x")):
        plane.client.create(item)
        said = refused(partial(server.request, "PATCH", object_path(item), owned, media=merge))
        assert "the server writes only Secrets named" in (said or "")
