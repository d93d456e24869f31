"""Warm harnesses from the operator's side: kept at their size, adopted after the lease, replaced, never leaked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from managed_agents.contracts import names
from managed_agents.kube.resources import ENVIRONMENTS
from support.kube import kind_of
from support.operator_world import NAMESPACE, World, session_id
from support.requirements import requirement

WARM = {"harness": {"warmReplicas": 2, "maxWarmReplicas": 4, "idleTimeoutSeconds": 5}}


def pool(world: World) -> list[str]:
    """Return the names of the Deployments that are in a pool."""
    found = world.kube.list("deployments", NAMESPACE, names.LABEL_POOL)
    return [item["metadata"]["name"] for item in found if not item["metadata"].get("deletionTimestamp")]


def pods_of(world: World, deployment: str) -> list[dict[str, Any]]:
    return world.kube.list("pods", NAMESPACE, f"{names.LABEL_HARNESS}={deployment}")


def warm_status(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.get("environments", "python")["status"].get("warm", {}).get("harnesses", {})
    return found


@asynccontextmanager
async def warm_harness(world: World, deployment: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Be the harness of a warm Deployment's Pod: stand in line."""
    assert world.server.running is not None
    line = world.server.running.context.leases.warm
    before = len(line)
    [pod] = pods_of(world, deployment)
    async with world.server.wake(pod["metadata"]["uid"]) as socket:
        for _ in range(500):
            if len(line) > before:
                break
            await world.server.operator("GET", "/packages")
        yield socket


async def leased(world: World, socket: aiohttp.ClientWebSocketResponse) -> None:
    """Wait for the lease and bring the operator the news."""
    await world.server.leased(socket)
    await world.pull()


@requirement("pools")
async def test_environment_gets_its_warm_harnesses_and_says_what_they_cost(operated: World) -> None:
    await operated.catalog(**WARM)
    await operated.advance(6)
    assert len(pool(operated)) == 2
    assert warm_status(operated) == {"wanted": 2, "ready": 2, "requests": {"cpu": "60m", "memory": "224Mi"}}
    for name in pool(operated):
        [pod] = pods_of(operated, name)
        assert names.LABEL_SESSION not in pod["metadata"]["labels"]
    assert len(operated.names("networkpolicies")) == 2
    written = len(operated.api.writes())
    await operated.advance(120)
    assert len(operated.api.writes()) == written


@requirement("warm-harness", "I10")
async def test_leased_harness_is_adopted_and_replaced(operated: World) -> None:
    await operated.catalog(**WARM)
    first, second = pool(operated)
    async with warm_harness(operated, first) as socket:
        session = operated.session("repair", "Make it pass.")
        await operated.settle()
        await leased(operated, socket)
        assert len(operated.names("deployments")) == 3
        adopted = operated.get("deployments", first)
        assert [owner["uid"] for owner in adopted["metadata"]["ownerReferences"]] == [session["metadata"]["uid"]]
        assert adopted["metadata"]["labels"][names.LABEL_SESSION] == "repair"
        assert names.LABEL_SESSION not in adopted["spec"]["template"]["metadata"]["labels"]
        [pod] = pods_of(operated, first)
        assert pod["metadata"]["labels"][names.LABEL_SESSION_UID] == session["metadata"]["uid"]
        assert [owner["kind"] for owner in pod["metadata"]["ownerReferences"]] == ["ReplicaSet"]
        assert second in pool(operated)
        assert len(pool(operated)) == 2
        assert operated.get("sessions", "repair")["status"]["harness"] == {"deploymentName": first}


@requirement("warm-harness", "F8")
async def test_replacement_pod_of_an_adopted_deployment_serves_the_same_session(operated: World) -> None:
    await operated.catalog(**WARM)
    first = pool(operated)[0]
    async with warm_harness(operated, first) as socket:
        session = operated.session("repair", "Make it pass.")
        await operated.settle()
        await leased(operated, socket)
    [pod] = pods_of(operated, first)
    operated.kube.delete(kind_of("pods"), NAMESPACE, pod["metadata"]["name"])
    await operated.settle()
    [replaced] = pods_of(operated, first)
    assert replaced["metadata"]["uid"] != pod["metadata"]["uid"]
    assert replaced["metadata"]["labels"][names.LABEL_SESSION] == "repair"
    async with operated.server.wake(replaced["metadata"]["uid"]) as socket:
        lease = await operated.server.leased(socket)
    assert (lease["session"]["id"], lease["epoch"]) == (session_id(session), 2)


@requirement("warm-harness", "F28", "I20")
async def test_operator_killed_between_lease_and_adoption_adopts_afterwards(operated: World) -> None:
    await operated.catalog(**WARM)
    first = pool(operated)[0]
    session = operated.session("repair")
    await operated.settle()
    operated.deaf = True
    async with warm_harness(operated, first) as socket:
        body = {"events": [{"type": "user.message", "content": [{"type": "text", "text": "Make it pass."}]}]}
        await operated.server.user("POST", f"/sessions/{session_id(session)}/events", body)
        await operated.server.leased(socket)
        assert first in pool(operated)
        operated.deaf = False
        await operated.restart()
        await operated.settle()
        adopted = operated.get("deployments", first)
        assert [owner["uid"] for owner in adopted["metadata"]["ownerReferences"]] == [session["metadata"]["uid"]]
        assert len(pool(operated)) == 2
        assert len(operated.names("deployments")) == 3


@requirement("warm-harness", "I10")
async def test_adopted_harness_goes_after_the_idle_time_and_with_its_session(operated: World) -> None:
    await operated.catalog(**WARM)
    for name, end in (("one", "idle"), ("two", "delete")):
        first = pool(operated)[0]
        async with warm_harness(operated, first) as socket:
            operated.session(name, "Make it pass.")
            await operated.settle()
            await leased(operated, socket)
        await operated.turn(name)
        if end == "delete":
            operated.kube.delete(kind_of("sessions"), NAMESPACE, name)
        for _ in range(8):
            await operated.advance(1)
        await operated.pull()
        assert sorted(operated.names("deployments")) == sorted(pool(operated))
        assert len(operated.names("pods")) == 2
    assert first not in pool(operated)


@requirement("warm-harness", "I10")
async def test_cold_harness_that_a_warm_one_overtook_is_removed(operated: World) -> None:
    await operated.catalog(**WARM)
    operated.nodes.auto_run = False
    operated.session("repair", "Make it pass.")
    await operated.settle()
    assert len(operated.names("deployments")) == 3  # nobody stood in line, so the session has one of its own
    assert "no warm harness is free" in operated.condition("sessions", "repair", "Idle")["message"]
    first = pool(operated)[0]
    [pod] = pods_of(operated, first)
    async with operated.server.wake(pod["metadata"]["uid"]) as socket:
        await leased(operated, socket)
        assert operated.get("sessions", "repair")["status"]["harness"] == {"deploymentName": first}
        assert sorted(operated.names("deployments")) == sorted([first, *pool(operated)])


@requirement("pools")
async def test_pool_follows_its_environment_and_a_leased_harness_stays(operated: World) -> None:
    await operated.catalog(**WARM)
    first = pool(operated)[0]
    async with warm_harness(operated, first) as socket:
        operated.session("repair", "Make it pass.")
        await operated.settle()
        await leased(operated, socket)
        operated.change("environments", "python", {"harness": {"warmReplicas": 0, "maxWarmReplicas": 0}})
        await operated.settle()
        assert pool(operated) == []
        assert operated.names("deployments") == [first]
        await operated.advance(6)
        assert warm_status(operated).get("wanted", 0) == 0


@requirement("pools")
async def test_harness_is_not_removed_while_the_server_gives_it_away(operated: World) -> None:
    await operated.catalog(**WARM)
    first = pool(operated)[0]
    async with warm_harness(operated, first) as socket:
        operated.session("repair", "Make it pass.")
        operated.change("environments", "python", {"harness": {"warmReplicas": 0, "maxWarmReplicas": 0}})
        session = operated.get("sessions", "repair")
        operated.deaf = True
        await operated.settle()
        await operated.server.leased(socket)
        operated.deaf = False
        for item in operated.kube.list("environments", NAMESPACE):
            operated.operator.feed.seen(ENVIRONMENTS, item)
        await operated.settle()
        assert operated.names("deployments") == [first]
        await operated.pull()
        owners = operated.get("deployments", first)["metadata"]["ownerReferences"]
        assert [owner["uid"] for owner in owners] == [session["metadata"]["uid"]]


@requirement("pools")
async def test_quiet_namespace_keeps_no_warm_harness_and_the_next_use_brings_them_back(operated: World) -> None:
    await operated.catalog(**WARM)
    assert len(pool(operated)) == 2
    await operated.advance(1801)
    assert pool(operated) == []
    operated.session("repair", "Make it pass.")
    await operated.settle()
    assert len(pool(operated)) == 2


@requirement("pools")
async def test_pool_grows_with_demand_to_its_bound_and_shrinks_again(operated: World) -> None:
    await operated.catalog(**WARM)
    for index in range(6):
        operated.session(f"s{index}", "Make it pass.")
    await operated.settle()
    assert len(pool(operated)) == 4
    await operated.advance(61)
    assert len(pool(operated)) == 2


@requirement("pools")
async def test_changed_image_rolls_the_pool_after_its_successor_is_ready(operated: World) -> None:
    await operated.catalog(**WARM)
    before = pool(operated)
    operated.nodes.auto_run = False
    changed = {"harness": {**WARM["harness"], "image": "another/harness:1"}}
    operated.change("environments", "python", changed)
    await operated.settle()
    after = [name for name in pool(operated) if name not in before]
    assert len(after) == 2
    for name in after:
        [pod] = pods_of(operated, name)
        assert pod["spec"]["containers"][1]["image"] == "another/harness:1"
