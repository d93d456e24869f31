"""Warm sandboxes from an Environment's specification to a session that claimed one, with a real event log server."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from managed_agents.contracts import names
from managed_agents.contracts.packages import digest_of
from managed_agents.operator.keys import Key
from managed_agents.operator.pools.standing import TELL_SECONDS
from managed_agents.operator.settings import SessionSettings
from managed_agents.server.services.packages import Archive
from support.kube import ApiError, Manifest, kind_of
from support.operator_world import NAMESPACE, Turn, World
from support.requirements import requirement

WORKSPACE = {"size": "1Gi"}


async def stocked(operated: World, **sandbox: Any) -> None:
    """Make an Environment with one warm sandbox and let it become free."""
    await operated.catalog(sandbox={"warmReplicas": 1, **sandbox})
    await operated.advance(TELL_SECONDS)


def warm_pods(operated: World) -> list[Manifest]:
    return operated.kube.list("pods", NAMESPACE, names.LABEL_POOL)


async def records(operated: World) -> list[dict[str, Any]]:
    _, answer = await operated.server.operator("GET", f"/warm-sandboxes/{NAMESPACE}")
    found: list[dict[str, Any]] = answer["sandboxes"]
    return found


async def states(operated: World) -> list[str]:
    return [record["state"] for record in await records(operated)]


async def started(operated: World, name: str = "repair") -> Turn:
    """Run a session up to an open turn."""
    operated.session(name, "Hello.")
    await operated.settle()
    return await operated.turn(name, ends=False)


async def claimed(operated: World, turn: Turn) -> dict[str, Any]:
    """Claim a sandbox as a harness does, without the operator hearing of it."""
    body = {"epoch": turn.epoch, "name": "default", "wait_seconds": 0}
    path = f"/sessions/{turn.session_id}/sandbox"
    status, answer = await operated.server.harness(turn.pod_uid, "POST", path, body)
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


@requirement("warm-sandbox-once")
async def test_an_environment_keeps_a_blank_pod_without_owner_or_session(operated: World) -> None:
    await stocked(operated)
    [pod], [record] = warm_pods(operated), await records(operated)
    assert (record["state"], record["pod_name"]) == ("free", pod["metadata"]["name"])
    assert pod["metadata"].get("ownerReferences") is None
    labels = pod["metadata"]["labels"]
    assert (labels[names.LABEL_POOL], labels[names.LABEL_ENVIRONMENT]) == (record["pool"], "python")
    assert names.LABEL_SESSION not in labels
    assert operated.names("networkpolicies") == ["ma-harness", "ma-sandbox"]
    assert operated.get("environments", "python")["status"]["warm"]["sandboxes"]["ready"] == 1


@requirement("warm-sandbox-once", "warm-sandbox-workspace")
@pytest.mark.parametrize("sandbox", [{}, {"workspace": WORKSPACE}], ids=["without a claim", "with a claim"])
async def test_a_claimed_pod_becomes_its_sessions_and_is_replaced(operated: World, sandbox: dict[str, Any]) -> None:
    await stocked(operated, **sandbox)
    [before] = warm_pods(operated)
    turn = await started(operated)
    name = await turn.ask_sandbox()
    await operated.settle()
    assert name == before["metadata"]["name"]
    session = operated.get("sessions", "repair")
    mine = [operated.get("pods", name)] + ([operated.get("persistentvolumeclaims", name)] if sandbox else [])
    for manifest in mine:
        [owner] = manifest["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (session["metadata"]["uid"], True)
        labels = manifest["metadata"]["labels"]
        assert (labels[names.LABEL_SESSION], labels[names.LABEL_AGENT]) == ("repair", "bot")
        assert names.LABEL_POOL not in labels
    assert mine[0]["metadata"]["uid"] == before["metadata"]["uid"]
    [after] = warm_pods(operated)
    assert after["metadata"]["name"] != name
    assert await states(operated) == ["free"]


async def test_nothing_is_written_once_a_pool_stands(operated: World) -> None:
    await stocked(operated, workspace=WORKSPACE)
    operated.api.calls.clear()
    for _ in range(3):
        await operated.advance(60)
    assert [call for call in operated.api.calls if call.verb in ("create", "patch", "delete")] == []


@requirement("warm-sandbox-workspace")
async def test_a_later_sandbox_has_the_workspace_of_the_first(operated: World) -> None:
    await stocked(operated, workspace=WORKSPACE)
    turn = await started(operated)
    first = await turn.ask_sandbox()
    operated.kube.delete(kind_of("pods"), NAMESPACE, first)
    await operated.settle()
    second = await turn.ask_sandbox()
    await operated.settle()
    volumes = {item["name"]: item for item in operated.get("pods", second)["spec"]["volumes"]}
    assert second != first
    assert volumes["workspace"]["persistentVolumeClaim"]["claimName"] == first
    owned = operated.kube.list("persistentvolumeclaims", NAMESPACE, f"{names.LABEL_SESSION}=repair")
    assert [claim["metadata"]["name"] for claim in owned] == [first]
    operated.kube.delete(kind_of("sessions"), NAMESPACE, "repair")
    for _ in range(3):
        await operated.advance(1)
    assert operated.names("sessions") == []
    assert first not in operated.names("persistentvolumeclaims")
    assert len(warm_pods(operated)) == len(operated.names("pods")) == 1


@requirement("warm-sandbox-once")
async def test_a_free_pod_that_dies_before_the_claim_is_replaced(operated: World) -> None:
    await stocked(operated, workspace=WORKSPACE)
    [pod] = warm_pods(operated)
    operated.kube.delete(kind_of("pods"), NAMESPACE, pod["metadata"]["name"])
    await operated.settle()
    [other] = warm_pods(operated)
    assert other["metadata"]["name"] != pod["metadata"]["name"]
    assert operated.names("persistentvolumeclaims") == [other["metadata"]["name"]]
    assert await states(operated) == ["free"]


@requirement("warm-sandbox-once")
@pytest.mark.parametrize("is_heard", [True, False], ids=["seen to go", "gone unseen"])
async def test_a_pod_that_dies_right_after_the_claim_is_a_lost_sandbox(operated: World, is_heard: bool) -> None:
    await stocked(operated, workspace=WORKSPACE)
    turn = await started(operated)
    [pod] = warm_pods(operated)
    first = await claimed(operated, turn)
    operated.deaf = not is_heard
    operated.kube.delete(kind_of("pods"), NAMESPACE, pod["metadata"]["name"])
    operated.deaf = False
    await operated.pull()
    await operated.settle()
    path = f"/sessions/{turn.session_id}/sandbox/{first['pod_name']}"
    _, lost = await operated.server.harness(turn.pod_uid, "GET", path)
    assert (lost["state"], lost["reason"]) == ("gone", "Deleted")
    second = await turn.ask_sandbox()
    await operated.settle()
    assert operated.get("pods", second)["metadata"]["labels"][names.LABEL_SESSION] == "repair"
    volumes = {item["name"]: item for item in operated.get("pods", second)["spec"]["volumes"]}
    assert volumes["workspace"]["persistentVolumeClaim"]["claimName"] == first["pod_name"]
    assert operated.get("persistentvolumeclaims", first["pod_name"])["metadata"]["labels"][names.LABEL_SESSION]


@requirement("warm-sandbox-downtime", "F28")
@pytest.mark.parametrize("releases", [False, True], ids=["in use", "released meanwhile"])
async def test_claims_while_the_operator_is_away_are_adopted_when_it_is_back(operated: World, releases: bool) -> None:
    await stocked(operated, workspace=WORKSPACE)
    turn = await started(operated)
    operated.deaf = True
    taken = await claimed(operated, turn)
    assert taken["state"] == "ready"
    name = taken["pod_name"]
    if releases:
        stop = {"type": "session.status_idle", "stop_reason": {"type": "end_turn"}, "id": "sevt_" + "0" * 30}
        await turn.emit(stop)
        await operated.server.operator("POST", f"/sessions/{turn.session_id}/release", {"epoch": turn.epoch})
    operated.deaf = False
    await operated.restart()
    await operated.settle()
    claim = operated.get("persistentvolumeclaims", name)
    assert claim["metadata"]["labels"][names.LABEL_SESSION] == "repair"
    assert claim["metadata"]["ownerReferences"][0]["kind"] == "Session"
    if releases:
        assert name not in operated.names("pods")
    else:
        assert operated.get("pods", name)["metadata"]["labels"][names.LABEL_SESSION] == "repair"
    assert await states(operated) == ["free"]
    assert len(warm_pods(operated)) == 1


@requirement("warm-sandbox-once")
async def test_a_pod_that_another_session_owns_is_lost_to_whoever_a_restored_server_gave_it(operated: World) -> None:
    await stocked(operated)
    turn = await started(operated)
    taken = await claimed(operated, turn)
    owner = {"apiVersion": "managedagents.dev/v1alpha1", "kind": "Session", "name": "other", "uid": "another"}
    marked = {"labels": {names.LABEL_POOL: None}, "ownerReferences": [{**owner, "controller": True}]}
    operated.kube.merge(kind_of("pods"), NAMESPACE, taken["pod_name"], {"metadata": marked})
    await operated.pull()
    await operated.settle()
    assert operated.get("pods", taken["pod_name"])["metadata"]["ownerReferences"][0]["uid"] == "another"
    path = f"/sessions/{turn.session_id}/sandbox/{taken['pod_name']}"
    _, lost = await operated.server.harness(turn.pod_uid, "GET", path)
    assert lost["state"] == "gone"
    assert await turn.ask_sandbox() != taken["pod_name"]


@requirement("warm-sandbox-once")
async def test_what_the_server_does_not_know_is_removed(operated: World) -> None:
    await stocked(operated, workspace=WORKSPACE)
    [record] = await records(operated)
    await operated.server.operator("DELETE", f"/warm-sandboxes/{NAMESPACE}/{record['pod_name']}")
    await operated.restart()
    await operated.settle()
    [pod] = warm_pods(operated)
    assert pod["metadata"]["name"] != record["pod_name"]
    assert operated.names("persistentvolumeclaims") == [pod["metadata"]["name"]]


@requirement("warm-sandbox-once")
async def test_a_record_whose_pod_is_gone_is_dropped(operated: World) -> None:
    await stocked(operated)
    operated.deaf = True
    [pod] = warm_pods(operated)
    operated.kube.delete(kind_of("pods"), NAMESPACE, pod["metadata"]["name"])
    operated.deaf = False
    await operated.restart()
    await operated.settle()
    [record] = await records(operated)
    assert record["pod_name"] != pod["metadata"]["name"]


@requirement("warm-sandbox-once")
async def test_what_is_left_of_a_namespace_that_went_meanwhile_is_collected(operated: World) -> None:
    await stocked(operated, workspace=WORKSPACE)
    operated.deaf = True
    for plural in ("environments", "pods", "persistentvolumeclaims"):
        for name in operated.names(plural):
            operated.kube.remove(plural, NAMESPACE, name)
    operated.deaf = False
    await operated.restart()
    assert len(await records(operated)) == 1
    await operated.operator.sandboxes.collect(lambda namespace: operated.operator.queue.add(Key("Pools", namespace)))
    await operated.settle()
    assert await operated.server.operator("GET", "/warm-sandboxes") == (200, {"namespaces": []})


@requirement("warm-sandbox-once", "F28")
async def test_an_operator_killed_between_record_and_pod_makes_that_pod(operated: World) -> None:
    await stocked(operated)
    [record] = await records(operated)
    pool = {"namespace": NAMESPACE, "environment": record["environment"], "name": "python", "pool": record["pool"]}
    await operated.server.operator("POST", "/warm-sandboxes", pool)
    operated.change("environments", "python", {"sandbox": {"warmReplicas": 2}})
    await operated.settle()
    assert sorted(await states(operated)) == ["free", "free"]
    assert len(warm_pods(operated)) == 2


@requirement("warm-sandbox-rolls")
@pytest.mark.parametrize("change", [{"image": "other"}, {"workspace": WORKSPACE}], ids=["image", "workspace"])
async def test_a_change_rolls_free_pods_and_leaves_claimed_ones(operated: World, change: dict[str, Any]) -> None:
    await stocked(operated)
    turn = await started(operated)
    mine = await turn.ask_sandbox()
    await operated.settle()
    [before] = warm_pods(operated)
    operated.change("environments", "python", {"sandbox": {"warmReplicas": 1, **change}})
    await operated.settle()
    [after] = warm_pods(operated)
    assert after["metadata"]["labels"][names.LABEL_POOL] != before["metadata"]["labels"][names.LABEL_POOL]
    assert operated.get("pods", mine)["metadata"].get("deletionTimestamp") is None
    assert await states(operated) == ["free"]


@requirement("warm-sandbox-rolls")
async def test_a_change_that_shapes_no_pod_keeps_the_pool(operated: World) -> None:
    await stocked(operated)
    [before] = warm_pods(operated)
    operated.change("environments", "python", {"description": "the same sandboxes"})
    await operated.settle()
    [after] = warm_pods(operated)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    turn = await started(operated)
    assert await turn.ask_sandbox() == before["metadata"]["name"]


@requirement("warm-sandbox-once")
@pytest.mark.parametrize("change", ["deleted", "archived", "no longer warm"])
async def test_an_environment_that_wants_no_pool_has_none(operated: World, change: str) -> None:
    await stocked(operated, workspace=WORKSPACE)
    match change:
        case "deleted":
            operated.kube.delete(kind_of("environments"), NAMESPACE, "python")
        case "archived":
            operated.change("environments", "python", {"archived": True})
        case _:
            operated.change("environments", "python", {"sandbox": {"warmReplicas": 0}})
    await operated.settle()
    assert (warm_pods(operated), operated.names("persistentvolumeclaims"), await records(operated)) == ([], [], [])
    assert await operated.server.operator("GET", "/warm-sandboxes") == (200, {"namespaces": []})


@requirement("warm-sandbox-once")
async def test_two_operators_at_once_claim_nothing_twice_and_settle_on_the_size(operated: World) -> None:
    await operated.catalog(sandbox={"warmReplicas": 2})
    first = operated.operator
    await operated.restart()
    other = operated.operator
    for which in (first, other, first, other):
        operated.operator = which
        await which.sweeper.sweep()
        await which.controller.reconcile(Key("Pools", NAMESPACE))
        await operated.settle()
    assert sorted(await states(operated)) == ["free", "free"]
    assert {pod["metadata"]["name"] for pod in warm_pods(operated)} == {
        record["pod_name"] for record in await records(operated)
    }


async def test_a_pool_whose_pods_do_not_start_keeps_no_session_waiting(operated: World) -> None:
    operated.nodes.auto_run = False
    await stocked(operated)
    assert await states(operated) == ["wanted"]
    turn = await started(operated)
    cold = await turn.ask_sandbox()
    assert cold not in {record["pod_name"] for record in await records(operated)}


async def test_a_quota_that_refuses_a_warm_pod_is_told_on_the_environment_once_and_passes(operated: World) -> None:
    refusal = ApiError(403, "Forbidden", 'pods "x" is forbidden: exceeded quota: small')
    operated.api.fail("create", "pods", refusal, times=1000)
    await stocked(operated)
    await operated.advance(30)
    assert warm_pods(operated) == []
    assert operated.events().count(("Warning", "QuotaExceeded")) == 1
    operated.api.faults.clear()
    await operated.advance(30)
    assert await states(operated) == ["free"]
    assert len(warm_pods(operated)) == 1


@requirement("pools")
async def test_a_pool_follows_what_sessions_ask_and_shrinks_afterwards(operated: World) -> None:
    await operated.catalog(sandbox={"warmReplicas": 1, "maxWarmReplicas": 3})
    await operated.advance(TELL_SECONDS)
    turns = [await started(operated, f"s-{number}") for number in range(5)]
    for turn in turns:
        await claimed(operated, turn)
    await operated.pull()
    await operated.settle()
    assert await states(operated) == ["free"] * 3
    await operated.advance(61)
    assert await states(operated) == ["free"]
    assert len(warm_pods(operated)) == 1


@requirement("pools")
async def test_a_quiet_namespace_keeps_no_sandbox_until_somebody_comes(operated: World) -> None:
    await stocked(operated)
    await operated.advance(31 * 60)
    assert (warm_pods(operated), await records(operated)) == ([], [])
    operated.session("repair", "Hello.")
    await operated.settle()
    await operated.turn("repair", ends=False)
    assert await states(operated) == ["free"]


@requirement("warm-sandbox-packages")
async def test_a_pool_waits_for_packages_and_its_pods_for_their_archive(operated: World) -> None:
    config = {"type": "cloud", "packages": {"pip": ["requests"]}}
    await operated.catalog(config=config, sandbox={"warmReplicas": 1})
    await operated.advance(TELL_SECONDS)
    assert (warm_pods(operated), await records(operated)) == ([], [])
    digest = digest_of({"pip": ("requests",)}, SessionSettings().sandbox_image)
    assert digest is not None
    assert operated.server.running is not None
    packages = operated.server.running.context.packages
    await packages.receive(Archive(namespace=NAMESPACE, digest=digest), "pod-install", _chunks(b"archive"))
    operated.nodes.auto_run = False
    await operated.advance(3)
    await operated.advance(3)
    [made] = warm_pods(operated)
    operated.nodes.run(NAMESPACE, made["metadata"]["name"])
    operated.kube.set_status("pods", NAMESPACE, made["metadata"]["name"], podIP="127.0.0.1")  # where nobody listens
    await operated.settle()
    [record], [pod] = await records(operated), warm_pods(operated)
    assert (record["packages"], record["state"]) == (digest, "ready")
    assert pod["spec"]["containers"][0]["args"][-2:] == ["--packages-digest", digest]


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


@requirement("warm-sandbox-once")
async def test_a_session_deleted_right_after_its_claim_leaves_nothing(operated: World) -> None:
    await stocked(operated, workspace=WORKSPACE)
    turn = await started(operated)
    taken = await claimed(operated, turn)
    operated.kube.delete(kind_of("sessions"), NAMESPACE, "repair")
    await operated.pull()
    for _ in range(4):
        await operated.advance(1)
    assert operated.names("sessions") == []
    left = {*operated.names("pods"), *operated.names("persistentvolumeclaims")}
    assert taken["pod_name"] not in left
    assert left == {pod["metadata"]["name"] for pod in warm_pods(operated)}
