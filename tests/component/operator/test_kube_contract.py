"""One contract for the fake and a real kube-apiserver: where they differ, the fake is wrong."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from managed_agents.contracts.errors import ConflictError, NotFoundError, RejectedError
from managed_agents.kube.access import KubeAccess
from managed_agents.kube.client import Kube
from managed_agents.kube.errors import AlreadyExistsError
from managed_agents.kube.resources import CONFIG_MAPS, PODS, SERVICE_ACCOUNTS, SESSIONS, Manifest
from support.apiserver import ControlPlane, UnavailableError, control_plane
from support.kube import FakeKube
from support.kube_http import FakeApiServer, serving
from support.kubeclient import KubeClient, KubeError, eventually
from support.manifests import CRDS, kustomized

NAMESPACE = "contract"


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.apiserver)])
async def kube(request: pytest.FixtureRequest) -> AsyncIterator[Kube]:
    async with aiohttp.ClientSession() as http:
        if request.param == "fake":
            async with serving(FakeApiServer(FakeKube())) as server:
                yield Kube(http, KubeAccess(url=server.url), manager="tests")
        else:
            client: KubeClient = request.getfixturevalue("plane").client
            access = KubeAccess(url=f"https://{client.host}:{client.port}", fixed_token=client.token)
            yield Kube(http, access, manager="tests", ssl_context=client.context)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real kube-apiserver of this module's own, with our CRDs and the namespace of the tests."""
    try:
        with control_plane(tmp_path_factory.mktemp("control-plane")) as plane:
            for kind in kustomized(CRDS):
                plane.client.apply(kind)
            plane.client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            eventually(lambda: _is_served(plane.client))
            yield plane
    except UnavailableError as reason:
        pytest.skip(str(reason))


def _is_served(client: KubeClient) -> bool:
    try:
        client.request("GET", SESSIONS.path(NAMESPACE))
    except KubeError:
        return False
    return True


def session(name: str, **metadata: Any) -> Manifest:
    spec = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "python"}}
    head = {"apiVersion": SESSIONS.api_version, "kind": SESSIONS.kind}
    return {**head, "metadata": {"name": name, "namespace": NAMESPACE, **metadata}, "spec": spec}


def status(owner: Manifest, reason: str, **more: Any) -> Manifest:
    metadata = {key: owner["metadata"][key] for key in ("name", "namespace")}
    condition = {"type": "Ready", "status": "True", "reason": reason, "lastTransitionTime": "2026-01-02T03:04:05Z"}
    return {"metadata": metadata, "status": {"conditions": [condition], **more}}


async def write_status(kube: Kube, owner: Manifest, reason: str, **more: Any) -> Manifest:
    name = owner["metadata"]["name"]
    return await kube.apply(SESSIONS, NAMESPACE, name, status(owner, reason, **more), subresource="status")


async def test_create_fills_metadata_ignores_status_and_happens_once(kube: Kube) -> None:
    made = await kube.create(SESSIONS, NAMESPACE, {**session("once"), "status": {"phase": "Idle"}})
    assert made["metadata"]["generation"] == 1
    assert made["metadata"]["uid"]
    assert "status" not in made
    with pytest.raises(AlreadyExistsError):
        await kube.create(SESSIONS, NAMESPACE, session("once"))


async def test_status_is_applied_beside_the_spec_and_what_is_left_out_goes(kube: Kube) -> None:
    made = await kube.create(SESSIONS, NAMESPACE, session("status"))
    told = await write_status(kube, made, "Accepted", phase="Idle", id="sesn_x")
    assert told["metadata"]["generation"] == 1
    assert told["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    told = await write_status(kube, made, "Accepted", phase="Idle")
    assert "id" not in told["status"]
    again = await write_status(kube, made, "Accepted", phase="Idle")
    assert again["metadata"]["resourceVersion"] == told["metadata"]["resourceVersion"]


async def test_status_of_an_object_that_is_gone_makes_nothing(kube: Kube) -> None:
    made = await kube.create(SESSIONS, NAMESPACE, session("reborn"))
    await kube.delete(SESSIONS, NAMESPACE, "reborn", uid=made["metadata"]["uid"])
    with pytest.raises(NotFoundError):
        await write_status(kube, made, "Accepted")
    with pytest.raises(NotFoundError):
        await kube.get(SESSIONS, NAMESPACE, "reborn")


async def test_apply_and_merge_of_another_uid_are_refused(kube: Kube) -> None:
    await kube.create(CONFIG_MAPS, NAMESPACE, {"metadata": {"name": "other"}})
    metadata: Manifest = {"name": "other", "namespace": NAMESPACE, "uid": "00000000-0000-0000-0000-000000000000"}
    for write in (kube.apply, kube.merge):
        with pytest.raises(RejectedError, match="immutable"):
            await write(CONFIG_MAPS, NAMESPACE, "other", {"metadata": metadata})
    with pytest.raises(ConflictError):
        await kube.apply(CONFIG_MAPS, NAMESPACE, "none", {"metadata": {**metadata, "name": "none"}})


async def test_merge_counts_generations_and_refuses_a_stale_view(kube: Kube) -> None:
    made = await kube.create(SESSIONS, NAMESPACE, session("merge"))
    version = made["metadata"]["resourceVersion"]
    changed = await kube.merge(SESSIONS, NAMESPACE, "merge", {"spec": {"title": "New"}})
    assert changed["metadata"]["generation"] == 2
    with pytest.raises(ConflictError):
        await kube.merge(
            SESSIONS, NAMESPACE, "merge", {"metadata": {"resourceVersion": version, "finalizers": ["a.dev/x"]}}
        )


async def test_finalizer_holds_a_deleted_object_until_it_goes(kube: Kube) -> None:
    made = await kube.create(SESSIONS, NAMESPACE, session("held", finalizers=["managedagents.dev/cleanup"]))
    uid = made["metadata"]["uid"]
    answer = await kube.delete(SESSIONS, NAMESPACE, "held", uid=uid)
    assert answer["kind"] == "Session"
    held = await kube.get(SESSIONS, NAMESPACE, "held")
    assert held["metadata"]["deletionTimestamp"]
    version = held["metadata"]["resourceVersion"]
    await kube.merge(SESSIONS, NAMESPACE, "held", {"metadata": {"resourceVersion": version, "finalizers": []}})
    with pytest.raises(NotFoundError):
        await kube.get(SESSIONS, NAMESPACE, "held")


async def test_delete_takes_the_object_of_that_uid_only(kube: Kube) -> None:
    await kube.create(CONFIG_MAPS, NAMESPACE, {"metadata": {"name": "cm"}, "data": {"a": "b"}})
    with pytest.raises(ConflictError):
        await kube.delete(CONFIG_MAPS, NAMESPACE, "cm", uid="00000000-0000-0000-0000-000000000000")
    found = await kube.get(CONFIG_MAPS, NAMESPACE, "cm", metadata_only=True)
    answer = await kube.delete(CONFIG_MAPS, NAMESPACE, "cm", uid=found["metadata"]["uid"])
    assert answer["kind"] == "Status"
    with pytest.raises(NotFoundError):
        await kube.delete(CONFIG_MAPS, NAMESPACE, "cm", uid=found["metadata"]["uid"])


async def test_apply_creates_and_then_changes_nothing(kube: Kube) -> None:
    body: Manifest = {"metadata": {"name": "sa", "namespace": NAMESPACE}, "automountServiceAccountToken": False}
    made = await kube.apply(SERVICE_ACCOUNTS, NAMESPACE, "sa", body)
    again = await kube.apply(SERVICE_ACCOUNTS, NAMESPACE, "sa", body)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_lists_select_by_label_and_come_in_pages(kube: Kube) -> None:
    for index in range(3):
        metadata = {"name": f"page-{index}", "labels": {"team": "a" if index else "b"}}
        await kube.create(CONFIG_MAPS, NAMESPACE, {"metadata": metadata})
    found = await kube.list(CONFIG_MAPS, namespace=NAMESPACE, labels="team=a")
    assert sorted(item["metadata"]["name"] for item in found) == ["page-1", "page-2"]
    assert await kube.list(PODS, namespace=NAMESPACE, labels="team=a") == []
