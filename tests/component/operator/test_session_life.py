"""A Session's life with a real event log and a fake cluster, from its first event to its deletion."""

from support.kube import kind_of
from support.operator_world import World
from support.requirements import requirement

WORKSPACE = {"sandbox": {"workspace": {"size": "1Gi"}}, "harness": {"idleTimeoutSeconds": 5}}


async def test_session_runs_goes_idle_gives_its_pods_back_and_wakes_again(operated: World) -> None:
    await operated.catalog(**WORKSPACE)
    operated.session("repair", "Make it pass.")
    await operated.settle()

    assert operated.condition("sessions", "repair", "Ready")["reason"] == "Accepted"
    assert operated.condition("sessions", "repair", "Idle")["reason"] == "StartingHarness"
    [deployment] = operated.names("deployments")
    assert operated.get("sessions", "repair")["status"]["harness"] == {"deploymentName": deployment}

    turn = await operated.turn(ends=False)
    assert operated.get("sessions", "repair")["status"]["phase"] == "Running"
    pod = await turn.ask_sandbox()
    assert pod in operated.names("pods")
    assert len(operated.names("persistentvolumeclaims")) == 1
    await turn.end()

    status = operated.get("sessions", "repair")["status"]
    assert status["phase"] == "Idle"
    assert status["stopReason"] == {"type": "end_turn"}
    assert status["lastMessage"]["text"] == "Done."
    assert status["events"] == {"delivered": ["e0"], "rejected": []}
    assert operated.condition("sessions", "repair", "Idle") | {"lastTransitionTime": "", "message": ""} == {
        "type": "Idle",
        "status": "True",
        "reason": "EndTurn",
        "observedGeneration": 1,
        "message": "",
        "lastTransitionTime": "",
    }

    await operated.advance(6)
    await operated.pull()
    assert operated.names("deployments") == []
    assert operated.names("pods") == []
    assert len(operated.names("persistentvolumeclaims")) == 1
    status = operated.get("sessions", "repair")["status"]
    assert "harness" not in status
    assert "sandbox" not in status
    assert operated.events().count(("Normal", "HarnessReleased")) == 1
    code, _ = await operated.server.harness(turn.pod_uid, "GET", f"/sessions/{turn.session_id}/events")
    assert code == 403  # a released harness is nobody

    operated.say("repair", "more", "Now the changelog.")
    await operated.settle()
    assert operated.names("deployments") == [deployment]
    assert operated.condition("sessions", "repair", "Idle")["status"] == "False"
    await operated.turn()
    assert operated.condition("sessions", "repair", "Idle")["observedGeneration"] == 2


@requirement("I10", "F27")
async def test_deleting_a_session_leaves_nothing(operated: World) -> None:
    await operated.catalog(**WORKSPACE)
    operated.session("repair", "Make it pass.")
    await operated.settle()
    turn = await operated.turn(ends=False)
    await turn.ask_sandbox()

    operated.kube.delete(kind_of("sessions"), "team-a", "repair")
    for _ in range(5):
        await operated.advance(1)

    for plural in ("sessions", "deployments", "replicasets", "pods", "persistentvolumeclaims"):
        assert operated.names(plural) == [], plural
    status, _ = await operated.server.operator("GET", f"/sessions/{turn.session_id}")
    assert status == 404
    assert len(operated.api.writes()) > 0


async def test_namespace_made_anew_under_its_old_name_gets_its_policies_again(operated: World) -> None:
    await operated.catalog(**WORKSPACE)
    operated.session("repair", "Make it pass.")
    await operated.settle()
    policies = operated.names("networkpolicies")
    assert policies

    operated.kube.delete(kind_of("sessions"), "team-a", "repair")
    for _ in range(5):
        await operated.advance(1)
    for plural in ("networkpolicies", "serviceaccounts"):
        for name in operated.names(plural):
            operated.kube.delete(kind_of(plural), "team-a", name)
    operated.session("again", "Make it pass.")
    await operated.settle()
    assert operated.names("networkpolicies") == policies
    assert operated.names("serviceaccounts") == ["ma-harness"]


@requirement("burst")
async def test_a_life_costs_at_most_sixteen_writes(operated: World) -> None:
    await operated.catalog(**WORKSPACE)
    operated.session("first", "warm the namespace")
    await operated.settle()
    before = len(operated.api.writes())

    operated.session("repair", "Make it pass.")
    await operated.settle()
    turn = await operated.turn("repair", ends=False)
    await turn.ask_sandbox()
    for _ in range(10):
        await operated.advance(3)
        await turn.emit({"id": "sevt_" + "a" * 30, "type": "agent.thinking"})
        await operated.pull()
    await turn.end()
    await operated.advance(6)
    operated.kube.delete(kind_of("sessions"), "team-a", "repair")
    for _ in range(5):
        await operated.advance(1)

    writes = operated.api.writes()[before:]
    assert "repair" not in operated.names("sessions")
    assert len(writes) <= 16, writes
