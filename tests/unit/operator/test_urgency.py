"""Which news the operator follows at once, and which it gathers for a moment."""

from copy import deepcopy
from typing import Any

import pytest

from managed_agents.kube.resources import AGENTS, CLAIMS, DEPLOYMENTS, PODS, SESSIONS, Manifest
from managed_agents.operator.keys import Key
from managed_agents.operator.urgency import is_loss_urgent, is_summary_urgent, is_urgent
from managed_agents.operator.workqueue import SOON_SECONDS, WorkQueue
from support.operator_values import NOW, sandbox_record, session, summary
from support.operator_world import ManualClock
from support.requirements import requirement

POD: Manifest = {
    "metadata": {"name": "p", "uid": "1"},
    "spec": {"containers": [{"name": "tools"}]},
    "status": {"phase": "Pending"},
}


def pod(*, deleted: bool = False, **status: Any) -> Manifest:
    changed = deepcopy(POD)
    changed["status"] |= status
    if deleted:
        changed["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    return changed


def state(**value: Any) -> list[dict[str, Any]]:
    return [{"name": "tools", "image": "x", "restartCount": 0, "state": value}]


@requirement("urgency")
@pytest.mark.parametrize(
    ("now", "urgent"),
    [
        (pod(conditions=[{"type": "PodScheduled", "status": "True"}]), False),
        (pod(containerStatuses=state(waiting={"reason": "ContainerCreating"})), False),
        (pod(containerStatuses=state(running={}), podIP="10.0.0.1", phase="Running"), True),
        (pod(containerStatuses=state(waiting={"reason": "ImagePullBackOff", "message": "no"})), True),
        (pod(phase="Failed"), True),
        (pod(deleted=True), True),
    ],
    ids=["scheduled", "creating", "running", "in trouble", "failed", "leaving"],
)
def test_pod_matters_at_once_where_its_state_is_another(now: Manifest, urgent: bool) -> None:
    assert is_urgent(PODS, now, POD, NOW) is urgent
    assert is_urgent(PODS, now, None, NOW)


@requirement("urgency")
def test_session_matters_at_once_where_somebody_changed_it_and_not_for_its_status() -> None:
    before = session("a")
    assert not is_urgent(SESSIONS, {**before, "status": {"phase": "Idle"}}, before, NOW)
    assert is_urgent(SESSIONS, session("a", "b", generation=2), before, NOW)
    assert is_urgent(SESSIONS, session("a", annotations={"managedagents.dev/paused": "true"}), before, NOW)
    assert is_urgent(SESSIONS, session("a", deletionTimestamp="2026-01-02T03:04:05Z"), before, NOW)


@requirement("urgency")
def test_counts_of_deployments_and_claims_can_wait_and_catalog_cannot() -> None:
    thing: Manifest = {"metadata": {"name": "x"}}
    for resource in (DEPLOYMENTS, CLAIMS):
        assert is_urgent(resource, thing, None, NOW)
        assert not is_urgent(resource, thing, thing, NOW)
        assert not is_loss_urgent(resource)
    assert is_urgent(AGENTS, thing, thing, NOW)
    assert is_loss_urgent(PODS)
    assert is_loss_urgent(SESSIONS)


@requirement("urgency")
@pytest.mark.parametrize(
    ("changes", "urgent"),
    [
        ({"head": 9, "status": "running"}, False),
        ({"status": "idle", "last_message": {"text": "Done."}}, False),
        ({"wanted": True, "needs_pod": False}, False),
        ({"wanted": True, "needs_pod": True}, True),
        ({"sandbox": sandbox_record()}, True),
        ({"released": True}, True),
        ({"collecting": "ma-x"}, True),
        ({"status": "terminated"}, True),
    ],
)
def test_summary_matters_at_once_where_pods_or_the_end_are_asked_for(changes: dict[str, Any], urgent: bool) -> None:
    assert is_summary_urgent(summary(**changes), summary()) is urgent
    assert is_summary_urgent(summary(**changes), None)


@requirement("urgency")
def test_news_gathers_for_a_moment_and_what_is_urgent_takes_it_along() -> None:
    async def nothing(_: Key) -> None: ...

    clock = ManualClock()
    queue: WorkQueue[Key] = WorkQueue(nothing, clock=clock, random=lambda: 0.0)
    key = Key("Session", "team-a", "s")
    queue.add_soon(key)
    clock.advance(SOON_SECONDS / 2)
    queue.add_soon(key)
    assert queue.state.take(clock.monotonic()) is None
    queue.add(key)
    assert queue.state.take(clock.monotonic()) == key
    queue.state.done(key)
    clock.advance(SOON_SECONDS)
    assert queue.state.take(clock.monotonic()) is None
