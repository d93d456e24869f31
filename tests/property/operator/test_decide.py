"""Whatever is observed: `decide` reaches a fixpoint, and never harms a session that has work."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from managed_agents.contracts import names
from managed_agents.kube.resources import DEPLOYMENTS, PODS
from managed_agents.operator.actions import (
    Action,
    CreateChild,
    DeleteChild,
    EnsureNamespace,
    PutSession,
    ReleaseHarness,
    SetFinalizer,
    WriteStatus,
)
from managed_agents.operator.sessions.decide import decide
from managed_agents.operator.sessions.model import Catalog, HarnessPod, Memory, Observed
from managed_agents.operator.sessions.pod_state import Problem
from support.operator_values import (
    CATALOG,
    NOW,
    after,
    deployment,
    observed,
    reading,
    sandbox_record,
    session,
    summary,
)
from support.requirements import requirement

ROUNDS_MAX = 8
LOSS = Problem(reason="Evicted", message="too much storage")

SUMMARIES = st.none() | st.builds(
    lambda wanted, released, status, sandbox, since, collecting: summary(
        wanted=wanted and status != "terminated",
        released=released and not wanted,
        status=status,
        sandbox=sandbox,
        status_since=since,
        stop_reason={"type": "end_turn"} if status == "idle" else None,
        delivered=["e0"],
        collecting=collecting,
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["idle", "running", "rescheduling", "terminated"]),
    st.none() | st.builds(sandbox_record, st.sampled_from(["wanted", "ready"])),
    st.sampled_from(["2026-01-02T03:04:04Z", "2026-01-01T00:00:00Z"]),
    st.sampled_from([None, "ma-repair-box", "ma-repair-old"]),
)
METADATA = st.fixed_dictionaries(
    {
        "finalizers": st.sampled_from([[], [names.FINALIZER], ["other", names.FINALIZER]]),
        "deletionTimestamp": st.sampled_from([None, None, "2026-01-02T03:04:00Z", "2026-01-02T03:00:00Z"]),
        "annotations": st.sampled_from([{}, {}, {names.ANNOTATION_PAUSED: "true"}]),
    }
)
SANDBOX_PODS = st.lists(
    st.builds(
        lambda name, running, loss: reading(name, is_running=running, loss=loss),
        st.sampled_from(["ma-repair-box", "ma-repair-old"]),
        st.booleans(),
        st.sampled_from([None, None, LOSS]),
    ),
    max_size=2,
    unique_by=lambda pod: pod.name,
).map(tuple)
HARNESS_PODS = st.sampled_from(
    [
        (),
        (HarnessPod(reading=reading("harness"), deployment_uid="dddd"),),
        (HarnessPod(reading=reading("foreign"), deployment_uid=None),),
    ]
)


@st.composite
def observations(draw: st.DrawFn) -> Observed:
    given_: dict[str, Any] = draw(METADATA)
    seen = session(*draw(st.sampled_from([(), ("e0",), ("e0", "e1")])), **given_)
    return observed(
        session=seen,
        catalog=draw(st.sampled_from([CATALOG, CATALOG, Catalog()])),
        summary=draw(SUMMARIES),
        deployment=draw(st.sampled_from([None, deployment()])),
        harness_pods=draw(HARNESS_PODS),
        sandbox_pods=draw(SANDBOX_PODS),
        is_namespace_ready=draw(st.booleans()),
        memory=Memory(is_deleted_at_server=draw(st.booleans())),
    )


def actions_of(seen: Observed) -> list[Action]:
    return [action for group in decide(seen, NOW).groups for action in group]


@given(observations())
@settings(max_examples=300, deadline=None)
def test_deciding_again_and_again_comes_to_rest(seen: Observed) -> None:
    for _ in range(ROUNDS_MAX):
        actions = actions_of(seen)
        if not actions:
            break
        for action in actions:
            seen = after(seen, action)
        if seen.is_deleting and not seen.has_finalizer:
            break
    lasting = [action for action in actions_of(seen) if not _is_forced_delete(seen, action)]
    assert seen.is_deleting or lasting == []


def test_released_session_gets_no_sandbox() -> None:
    left = summary(wanted=False, released=True, status="idle", sandbox=sandbox_record("wanted"))
    actions = actions_of(observed(session=session("e0"), catalog=CATALOG, summary=left))
    assert not [action for action in actions if isinstance(action, CreateChild)]


@requirement("files-last")
@given(observations())
@settings(max_examples=300, deadline=None)
def test_what_is_still_copied_keeps_its_sandbox_and_its_proxy(seen: Observed) -> None:
    if seen.is_deleting or seen.collecting is None:
        return
    for action in actions_of(seen):
        assert not isinstance(action, DeleteChild) or (action.resource, action.name) != (PODS, seen.collecting)
        assert not isinstance(action, DeleteChild) or action.resource != DEPLOYMENTS


@pytest.mark.parametrize("status", ["idle", "terminated"])
@pytest.mark.parametrize("alive", [True, False])
def test_pods_of_a_session_that_is_taken_go_once_nobody_copies_from_them(status: str, alive: bool) -> None:
    left = summary(released=status == "idle", status=status, collecting="ma-repair-box")
    pods = (HarnessPod(reading=reading("harness", has_ended=not alive), deployment_uid="dddd"),)
    seen = observed(
        summary=left,
        deployment=deployment(),
        spare_deployments=(deployment("spare"),),
        harness_pods=pods,
        sandbox_pods=(reading("ma-repair-box"),),
    )
    gone = {action.uid for action in actions_of(seen) if isinstance(action, DeleteChild)}
    assert gone == (set() if alive else {"dddd", "spare", "uid-of-ma-repair-box"})


def _is_forced_delete(seen: Observed, action: Action) -> bool:
    return isinstance(action, DeleteChild) and seen.is_deleting


@given(observations())
@settings(max_examples=300, deadline=None)
def test_session_with_work_loses_neither_harness_nor_sandbox(seen: Observed) -> None:
    if seen.is_deleting or seen.summary is None or not seen.summary.wanted:
        return
    record = seen.summary.sandbox
    for action in actions_of(seen):
        assert not isinstance(action, ReleaseHarness)
        if isinstance(action, DeleteChild):
            assert action.resource == PODS
            assert record is None or action.name != record.pod_name


@given(observations())
@settings(max_examples=300, deadline=None)
def test_nothing_is_made_before_the_finalizer_or_after_the_deletion(seen: Observed) -> None:
    actions = actions_of(seen)
    if seen.is_deleting or seen.is_paused:
        assert not any(isinstance(action, (CreateChild, EnsureNamespace, PutSession)) for action in actions)
    if not seen.has_finalizer and seen.summary is None:
        outside = [action for action in actions if isinstance(action, (CreateChild, PutSession))]
        guarded = [action for action in actions if isinstance(action, SetFinalizer)]
        assert not outside or guarded
    assert sum(isinstance(action, CreateChild) and action.resource == DEPLOYMENTS for action in actions) <= 1


@given(observations())
@settings(max_examples=200, deadline=None)
def test_idle_is_claimed_only_when_every_event_is_processed(seen: Observed) -> None:
    for action in actions_of(seen):
        if isinstance(action, WriteStatus):
            idle = [item for item in action.status.get("conditions", []) if item["type"] == "Idle"]
            if idle and idle[0]["status"] == "True" and not seen.is_terminated:
                assert seen.summary is not None
                assert not seen.summary.wanted
                held = {event["name"] for event in seen.session["spec"]["events"]}
                assert held <= seen.summary.processed_names
