"""Cache, summaries, server watch and access: what keeps a stale or late view from doing harm."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock

import orjson
import pytest
import yaml

from managed_agents.contracts.errors import RetryableError
from managed_agents.kube.access import KubeAccess
from managed_agents.kube.resources import PODS, SESSIONS, Manifest
from managed_agents.operator.apply import ClusterEffects
from managed_agents.operator.cache import DELETED_UIDS_MAX, Cache
from managed_agents.operator.keys import Key
from managed_agents.operator.namespaces import NamespaceReconciler
from managed_agents.operator.server_watch import ServerWatch
from managed_agents.operator.summaries import Summaries


def pod(name: str = "a", version: int = 1, uid: str = "u") -> Manifest:
    labels = {"managedagents.dev/session-uid": "s"}
    metadata = {"namespace": "team-a", "name": name, "uid": uid, "resourceVersion": str(version), "labels": labels}
    return {"metadata": {**metadata, "managedFields": [{"manager": "x"}]}, "spec": {}}


def test_cache_keeps_the_newest_and_drops_what_nobody_reads() -> None:
    cache = Cache()
    assert cache.put(PODS, pod(version=5))
    assert not cache.put(PODS, pod(version=4))
    assert not cache.put(PODS, pod(version=5))
    kept = cache.get(PODS, "team-a", "a")
    assert kept is not None
    assert kept["metadata"]["resourceVersion"] == "5"
    assert "managedFields" not in kept["metadata"]


def test_deleted_object_does_not_come_back_and_its_name_may_be_reused() -> None:
    cache = Cache()
    cache.put(PODS, pod(version=5))
    cache.remove(PODS, "team-a", "a", "u")
    assert not cache.put(PODS, pod(version=9))
    assert cache.children(PODS, "s") == []
    assert cache.put(PODS, pod(version=10, uid="v"))
    cache.remove(PODS, "team-a", "a", "u")
    assert [item["metadata"]["uid"] for item in cache.children(PODS, "s")] == ["v"]
    assert cache.known(PODS) == {("team-a", "a"): "v"}


def test_cache_forgets_old_deletions() -> None:
    cache = Cache()
    for number in range(DELETED_UIDS_MAX + 1):
        cache.remove(SESSIONS, "team-a", "x", f"uid-{number}")
    assert cache.put(SESSIONS, {"metadata": {"namespace": "team-a", "name": "x", "uid": "uid-0"}})
    assert not cache.put(SESSIONS, {"metadata": {"namespace": "team-a", "name": "x", "uid": "uid-1"}})


async def test_a_new_pod_costs_no_look_at_every_session_of_its_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, decoded = Cache(), list[str]()
    for number in range(500):
        cache.put(SESSIONS, {"metadata": {"namespace": "team-a", "name": f"s-{number}", "uid": f"uid-{number}"}})
    loads = orjson.loads

    def counted(data: bytes) -> Any:
        decoded.append("one")
        return loads(data)

    monkeypatch.setattr("managed_agents.operator.cache.orjson.loads", counted)
    await NamespaceReconciler(cache, cast("ClusterEffects", AsyncMock())).reconcile("team-a")

    assert len(decoded) == 1


def summary(revision: int, session_id: str = "sesn_1", **changes: Any) -> dict[str, Any]:
    base = {"uid": "u", "namespace": "team-a", "name": session_id, "head": 0, "epoch": 0, "wanted": False}
    times = {"released": False, "status": "idle", "status_since": "2026-01-02T03:04:05Z"}
    return {"id": session_id, "revision": revision, **base, **times, **changes}


def test_older_summary_loses_unless_the_server_begins_anew() -> None:
    store = Summaries()
    assert store.put(summary(5))
    assert not store.put(summary(4, head=9))
    assert store.put(summary(1, head=9), force=True)
    kept = store.get("sesn_1")
    assert kept is not None
    assert kept.head == 9


class FakeServer:
    def __init__(self, *lines: dict[str, Any]) -> None:
        self.lines = lines

    async def watch(self) -> AsyncIterator[dict[str, Any]]:
        for line in self.lines:
            yield line
        raise RetryableError("over")


async def followed(store: Summaries, *lines: dict[str, Any]) -> tuple[list[str], list[str]]:
    queued: list[str] = []
    resyncs: list[str] = []
    server: Any = FakeServer(*lines)

    def add(key: Key, _: bool) -> None:
        queued.append(str(key))

    watch = ServerWatch(server, store, add=add, on_resync=lambda: resyncs.append("x"))
    with pytest.raises(RetryableError):
        await watch.follow()
    return queued, resyncs


async def test_watch_replaces_the_view_at_sync_and_follows_changes() -> None:
    store = Summaries()
    store.put(summary(50, "sesn_gone"))
    store.put(summary(50, "sesn_1"))
    queued, resyncs = await followed(
        store,
        {"type": "SESSION", "summary": summary(1, "sesn_1", head=3)},
        {"type": "SYNCED"},
        {"type": "HEARTBEAT"},
        {"type": "SESSION", "summary": summary(2, "sesn_2")},
        {"type": "DELETED", "id": "sesn_1"},
    )
    assert queued == [
        "Session/team-a/sesn_gone",
        "Session/team-a/sesn_1",
        "Session/team-a/sesn_2",
        "Session/team-a/sesn_1",
    ]
    assert resyncs == ["x"]
    assert store.ids() == {"sesn_2"}


async def test_half_a_view_is_never_taken_for_the_whole() -> None:
    store = Summaries()
    store.put(summary(50, "sesn_kept"))
    queued, resyncs = await followed(store, {"type": "SESSION", "summary": summary(1, "sesn_1")})
    assert (queued, resyncs) == ([], [])
    assert store.ids() == {"sesn_kept"}


def test_access_prefers_the_pods_account_and_reads_its_token_anew(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_text("CA")
    access = KubeAccess.find({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path)
    assert access.url == "https://[fd00::1]:443"
    assert access.token == "first"
    (tmp_path / "token").write_text("second")
    assert access.token == "second"
    assert "second" not in repr(access)


def test_access_reads_a_kubeconfig(tmp_path: Path) -> None:
    encoded = base64.b64encode(b"PEM").decode()
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://h:1/", "certificate-authority-data": encoded}}],
        "users": [{"name": "u", "user": {"client-certificate-data": encoded, "client-key-data": encoded}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document))
    access = KubeAccess.find({"KUBECONFIG": str(path)}, tmp_path / "none")
    assert (access.url, access.ca, access.certificate, access.private_key, access.token) == (
        "https://h:1",
        "PEM",
        "PEM",
        "PEM",
        None,
    )


def test_keys_read_well() -> None:
    assert str(Key("Providers", "team-a")) == "Providers/team-a/"
