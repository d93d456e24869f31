"""The reflector against the fake kube-apiserver: what is there, what changes, what is missed, one's own writes."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator

import aiohttp
import pytest

from managed_agents.kube.access import KubeAccess
from managed_agents.kube.client import Kube
from managed_agents.kube.reflector import Reflector
from managed_agents.kube.resources import AGENTS, Manifest
from support.kube import FakeKube, kind_of
from support.kube_http import FakeApiServer, serving

AGENT = kind_of("agents")


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with serving(FakeApiServer(FakeKube())) as started:
        yield started


@pytest.fixture
async def agents(server: FakeApiServer) -> AsyncIterator[Reflector]:
    async with aiohttp.ClientSession() as http:
        reflector = Reflector(kube=Kube(http, KubeAccess(url=server.url), manager="tests"), resource=AGENTS)
        task = asyncio.create_task(reflector.run())
        try:
            yield reflector
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def make(server: FakeApiServer, name: str) -> Manifest:
    return server.kube.create(AGENT, "team-a", {"metadata": {"name": name}, "spec": {"model": {"id": "m"}}})


async def names(agents: Reflector, wanted: set[str]) -> None:
    """Wait until exactly these are known."""
    changed = asyncio.Event()
    agents.listen(lambda *_: changed.set())
    async with asyncio.timeout(5):
        while {item["metadata"]["name"] for item in agents} != wanted:
            await changed.wait()
            changed.clear()


async def test_lists_in_pages_then_follows(server: FakeApiServer, agents: Reflector) -> None:
    server.page_size = 2
    for name in ("a", "b", "c"):
        make(server, name)
    await names(agents, {"a", "b", "c"})
    make(server, "d")
    server.kube.delete(AGENT, "team-a", "a", {})
    await names(agents, {"b", "c", "d"})
    assert agents.by_name("team-a", "a") is None
    assert agents.by_name("team-a", "d") is not None
    assert agents.in_namespace("team-b") == []


async def test_finds_out_what_happened_while_its_watch_was_broken(server: FakeApiServer, agents: Reflector) -> None:
    make(server, "a")
    make(server, "b")
    await names(agents, {"a", "b"})
    server.drop_watch = lambda _: True
    server.kube.delete(AGENT, "team-a", "a", {})
    make(server, "c")
    server.drop_watch = lambda _: False
    server.kube.compact()
    server.end_watches()
    await names(agents, {"b", "c"})


async def test_reads_its_own_writes_and_takes_no_older_view(server: FakeApiServer, agents: Reflector) -> None:
    server.drop_watch = lambda _: True
    first = make(server, "a")
    newer = first | {"metadata": first["metadata"] | {"resourceVersion": str(server.kube.version + 5)}}
    agents.seen(newer)
    agents.seen(first)
    assert agents.by_uid(first["metadata"]["uid"]) == newer
    agents.gone(newer)
    agents.seen(newer)
    assert agents.by_uid(first["metadata"]["uid"]) is None


async def test_what_a_reader_does_to_an_object_changes_no_other_reader_s(
    server: FakeApiServer, agents: Reflector
) -> None:
    uid = make(server, "a")["metadata"]["uid"]
    await names(agents, {"a"})
    found = agents.by_uid(uid)
    assert found is not None
    found["spec"]["model"]["id"] = "other"
    (again,) = agents.in_namespace("team-a")
    assert again == agents.by_name("team-a", "a") == next(iter(agents))
    assert again["spec"]["model"]["id"] == "m"
    assert agents.in_namespace("team-b") == []


async def test_objects_at_rest_take_a_fraction_of_their_dictionaries(agents: Reflector) -> None:
    condition = {"type": "Ready", "status": "True", "reason": "Running", "message": "It waits for input.", "n": 0}
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(200):
            metadata = {"uid": f"uid-{number}", "name": f"s-{number}", "namespace": "team-a", "resourceVersion": "1"}
            conditions = [{**condition, "n": other} for other in range(6)]
            agents.seen({"metadata": metadata, "spec": {"title": "idle"}, "status": {"conditions": conditions}})
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / 200 < 1000  # 2.1 KB each as dictionaries
