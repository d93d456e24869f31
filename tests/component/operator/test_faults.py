"""Faults of the operator and its peers: whatever fails between two steps, the end is the same (F28 to F31, I9, I20)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from managed_agents.contracts.names import harness_deployment_name_for
from managed_agents.kube.resources import SESSIONS
from support.kube import ApiError, kind_of
from support.kube_http import Call, Fault
from support.operator_world import World, world
from support.requirements import requirement

LIFE = {"sandbox": {"workspace": {"size": "1Gi"}}, "harness": {"idleTimeoutSeconds": 5}}


async def live(operated: World, between: Callable[[], object] = lambda: None) -> None:
    """Play a whole life; `between` runs after each step."""
    await operated.catalog(**LIFE)
    operated.session("repair", "Make it pass.")
    await rest(operated)
    between()
    await rest(operated)
    turn = await operated.turn(ends=False)
    await turn.ask_sandbox()
    between()
    await rest(operated)
    await turn.end()
    between()
    await rest(operated)
    await operated.advance(6)
    between()
    await rest(operated)


async def rest(operated: World) -> None:
    """Let every retry come due."""
    for _ in range(8):
        await operated.advance(70 if operated.failing else 0.5)
        await operated.pull()
        if not operated.operator.queue.state.failures:
            return


def listing(operated: World) -> dict[str, list[str]]:
    plurals = ("deployments", "replicasets", "pods", "persistentvolumeclaims", "networkpolicies", "serviceaccounts")
    return {plural: [name.rpartition("-")[0] for name in operated.names(plural)] for plural in plurals}


async def end_of_faultless_life(tmp_path: Path) -> dict[str, list[str]]:
    async with world(tmp_path) as operated:
        await live(operated)
        return listing(operated)


@requirement("F28", "I20")
@pytest.mark.slow
@pytest.mark.parametrize("after_commit", [False, True], ids=["before", "after"])
async def test_operator_killed_at_any_write_reaches_the_same_end(tmp_path: Path, *, after_commit: bool) -> None:
    expected = await end_of_faultless_life(tmp_path / "faultless")
    async with world(tmp_path / "faulty") as operated:
        operated.failing = True
        crashes: list[Call] = []

        def once_for_each_write(call: Call) -> bool:
            kind = (call.verb, call.resource)
            if (
                not call.is_write
                or call.resource in ("events", "leases")
                or kind in {(c.verb, c.resource) for c in crashes}
            ):
                return False
            crashes.append(call)
            return True

        error = ApiError(500, "InternalError", "connection lost")
        operated.api.faults.append(Fault(once_for_each_write, error, times=1000, after_commit=after_commit))
        await live(operated)
        assert listing(operated) == expected
        assert operated.condition("sessions", "repair", "Idle")["reason"] == "EndTurn"
        assert len(crashes) >= 8


async def test_restart_at_each_step_reaches_the_same_end_without_more_writes(tmp_path: Path) -> None:
    async with world(tmp_path) as operated:
        await operated.catalog(**LIFE)
        operated.session("repair", "Make it pass.")
        await operated.settle()
        before = len(operated.api.writes())
        await operated.restart()
        await operated.settle()
        assert [call.resource for call in operated.api.writes()[before:]] == []


@requirement("I9", "F31")
@pytest.mark.parametrize(
    "error",
    [
        ApiError(409, "Conflict", "modified"),
        ApiError(429, "TooManyRequests", "later"),
        ApiError(504, "Timeout", "slow"),
    ],
    ids=["409", "429", "504"],
)
async def test_every_second_write_fails_and_it_converges(operated: World, error: ApiError) -> None:
    operated.failing = True
    counter = {"writes": 0}

    def every_second(call: Call) -> bool:
        counter["writes"] += call.is_write
        return call.is_write and call.resource != "events" and counter["writes"] % 2 == 0

    operated.api.faults.append(Fault(every_second, error, times=10_000))
    await live(operated)
    for _ in range(3):
        await rest(operated)
    assert operated.names("deployments") == []
    assert operated.condition("sessions", "repair", "Idle")["reason"] == "EndTurn"


@requirement("I20")
async def test_lost_watch_events_are_found_by_the_sweep(operated: World) -> None:
    await operated.catalog(**LIFE)
    operated.deaf = True
    operated.session("repair", "Make it pass.")
    await operated.settle()
    assert "status" not in operated.get("sessions", "repair")
    await operated.operator.sweeper.sweep()
    await operated.settle()
    assert operated.condition("sessions", "repair", "Ready")["status"] == "True"
    await operated.operator.sweeper.sweep()
    await operated.settle()
    turn = await operated.turn(ends=False)

    operated.kube.remove("sessions", "team-a", "repair")  # by force, finalizer and all
    await operated.operator.sweeper.sweep()
    await operated.settle()
    status, _ = await operated.server.operator("GET", f"/sessions/{turn.session_id}")
    assert status == 404
    assert operated.names("deployments") == []


@requirement("F29")
async def test_stale_event_brings_nothing_back(operated: World) -> None:
    await operated.catalog(**LIFE)
    stale = operated.session("repair", "Make it pass.")
    await operated.settle()
    operated.kube.delete(kind_of("sessions"), "team-a", "repair")
    for _ in range(5):
        await operated.advance(1)
    assert operated.names("sessions") == []
    before = len(operated.api.writes())
    operated.operator.feed.seen(SESSIONS, stale)
    await operated.settle()
    assert len(operated.api.writes()) == before


@requirement("I9")
async def test_quiet_world_costs_no_write(operated: World) -> None:
    await operated.catalog(**LIFE)
    operated.session("repair", "Make it pass.")
    await operated.settle()
    await operated.turn()
    await operated.advance(10)
    await operated.pull()
    before = len(operated.api.writes())
    for _ in range(30):
        await operated.advance(60)
        await operated.operator.sweeper.sweep()
        await operated.pull()
    assert operated.api.writes()[before:] == []


async def test_name_reused_by_another_session_starts_afresh(operated: World) -> None:
    await operated.catalog(**LIFE)
    operated.session("repair", "Make it pass.")
    await operated.settle()
    operated.deaf = True
    operated.kube.remove("sessions", "team-a", "repair")
    operated.deaf = False
    operated.session("repair", "Another one.")
    await operated.settle()
    [deployment] = operated.kube.list("deployments", "team-a")
    owner = operated.get("sessions", "repair")["metadata"]["uid"]
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == owner


async def test_deployment_of_a_stranger_in_our_name_is_left_alone(operated: World) -> None:
    await operated.catalog(**LIFE)
    session = operated.session("repair", "Make it pass.")
    name = harness_deployment_name_for("repair", session["metadata"]["uid"])
    stranger = {
        "metadata": {"name": name},
        "spec": {"template": {"metadata": {"labels": {}}, "spec": {"containers": []}}},
    }
    operated.nodes.stop()
    operated.kube.create(kind_of("deployments"), "team-a", stranger)
    await operated.settle()
    assert operated.get("deployments", name)["spec"] == stranger["spec"]
    assert operated.condition("sessions", "repair", "Idle")["reason"] == "Refused"


async def test_server_away_becomes_a_condition_and_passes(operated: World) -> None:
    await operated.catalog(**LIFE)
    operated.server.kubernetes.down = True  # the server cannot review our token: 503
    operated.session("repair", "Make it pass.")
    await operated.settle()
    assert operated.condition("sessions", "repair", "Idle")["reason"] == "ServerUnreachable"
    assert operated.condition("sessions", "repair", "Ready")["status"] == "True"
    operated.server.kubernetes.down = False
    await operated.advance(70)
    assert operated.condition("sessions", "repair", "Idle")["reason"] == "StartingHarness"


async def test_full_volume_of_the_log_becomes_a_condition_and_the_session_goes_on_when_there_is_room(
    operated: World,
) -> None:
    await operated.catalog(**LIFE)
    await operated.server.limit_volume(1)
    operated.session("repair", "Make it pass. " * 500)
    await operated.settle()
    refused = operated.condition("sessions", "repair", "Idle")
    assert refused["reason"] == "VolumeFull"
    assert "enlarge it or delete sessions" in refused["message"]
    await operated.server.limit_volume(1 << 30)
    await operated.advance(70)
    assert operated.condition("sessions", "repair", "Idle")["reason"] == "StartingHarness"


@requirement("A29")
async def test_hand_made_pod_with_our_labels_is_never_registered(operated: World) -> None:
    await operated.catalog(**LIFE)
    operated.session("repair", "Make it pass.")
    await operated.settle()
    [real] = operated.kube.list("pods", "team-a")
    [replica_set] = operated.kube.list("replicasets", "team-a")
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": True}
    forged = {"name": replica_set["metadata"]["name"], "uid": replica_set["metadata"]["uid"], **owner}
    evil = {**real["spec"], "containers": [{**real["spec"]["containers"][0], "image": "evil"}]}
    for name, spec, owners in (("bare", real["spec"], []), ("forged", evil, [forged])):
        metadata = {"name": name, "labels": real["metadata"]["labels"], "ownerReferences": owners}
        pod = operated.kube.create(kind_of("pods"), "team-a", {"metadata": metadata, "spec": spec})
        await operated.settle()
        code, _ = await operated.server.harness(pod["metadata"]["uid"], "GET", "/sessions/sesn_00000000/events")
        assert code == 403, name
