"""What is decided for a namespace's warm sandboxes, and what shapes their Pods: pure rules."""

from typing import Any

import pytest

from managed_agents.contracts import names
from managed_agents.contracts.api.environments import environment_id_of
from managed_agents.operator.pools.sandboxes import (
    STARTING_MAX,
    AddSandbox,
    DropPool,
    Found,
    MakeSandbox,
    ReportWarm,
    RetireSandbox,
    SandboxPool,
    ServerView,
    TellPool,
    WarmAction,
    WarmRecord,
    decide_sandboxes,
)
from managed_agents.operator.pools.sandboxes_pods import sandbox_pool_name_for, warm_claim_for, warm_pod_for
from managed_agents.operator.sessions.pod_state import PodReading, Problem
from managed_agents.operator.sessions.sandbox_pods import sandbox_pod_for
from managed_agents.operator.settings import SessionSettings
from support.kube import Manifest
from support.operator_values import ENVIRONMENT, reading, session
from support.requirements import requirement

ID = environment_id_of(ENVIRONMENT)
SETTINGS = SessionSettings()


def pool(wanted: int = 1, **changes: Any) -> SandboxPool:
    values: dict[str, Any] = {
        "environment": ENVIRONMENT,
        "name": "sandbox-1",
        "wanted": wanted,
        "packages": None,
        "can_start": True,
    }
    return SandboxPool(**values | changes)


def record(name: str = "ma-1", state: str = "free", **changes: Any) -> WarmRecord:
    is_made = state != "wanted"
    values: dict[str, Any] = {
        "pod_name": name,
        "environment": ID,
        "pool": "sandbox-1",
        "state": state,
        "token_sha256": "0" * 64,
        "has_claim": True,
        "packages": None,
        "pod_uid": f"uid-of-{name}" if is_made else None,
        "address": "10.0.0.1:7400" if is_made else None,
    }
    return WarmRecord(**values | changes)


def view(*records: WarmRecord, told: tuple[int, str] | None = (1, "sandbox-1")) -> ServerView:
    return ServerView(pools={} if told is None else {ID: told}, records=records)


def found(*pods: PodReading, claims: tuple[str, ...] = ()) -> Found:
    return Found(pods={pod.name: pod for pod in pods}, claims={name: f"claim-{name}" for name in claims})


def decided(pools: list[SandboxPool], seen: ServerView, there: Found, paused: tuple[str, ...] = ()) -> list[WarmAction]:
    return list(decide_sandboxes(pools, paused, seen, there).actions)


def retired(name: str, *, pod: bool = True, claim: bool = False) -> RetireSandbox:
    return RetireSandbox(
        pod_name=name, pod_uid=f"uid-of-{name}" if pod else None, claim_uid=f"claim-{name}" if claim else None
    )


def test_a_pool_that_stands_wants_nothing() -> None:
    decision = decide_sandboxes([pool()], (), view(record()), found(reading("ma-1"), claims=("ma-1",)))
    assert (decision.actions, decision.free, decision.is_settling) == ((), {"python": 1}, False)


def test_an_empty_pool_is_told_and_filled() -> None:
    assert decided([pool(2)], view(told=None), found()) == [
        TellPool(environment=ID, generation=1, pool="sandbox-1"),
        AddSandbox(pool=pool(2)),
        AddSandbox(pool=pool(2)),
    ]


def test_no_more_start_at_once_than_the_bound() -> None:
    starting = [record(f"ma-{number}", "wanted") for number in range(3)]
    pods = [reading(f"ma-{number}", is_running=False) for number in range(3)]
    actions = decided([pool(50)], view(*starting), found(*pods))
    assert actions == [AddSandbox(pool=pool(50))] * (STARTING_MAX - 3)


def test_what_runs_is_reported_once_and_again_when_it_changes() -> None:
    wanted = record(state="wanted")
    ready = ReportWarm(pod_name="ma-1", pod_uid="uid-of-ma-1", address="10.0.0.1:7400")
    assert decided([pool()], view(wanted), found(reading("ma-1"))) == [ready]
    assert decided([pool()], view(record()), found(reading("ma-1", address="10.0.0.2"))) == [
        ReportWarm(pod_name="ma-1", pod_uid="uid-of-ma-1", address="10.0.0.2:7400")
    ]
    assert decided([pool()], view(record()), found(reading("ma-1", is_running=False))) == [
        ReportWarm(pod_name="ma-1", pod_uid="uid-of-ma-1", address=None)
    ]


def test_a_record_without_its_pod_gets_one_before_it_ever_ran_and_goes_afterwards() -> None:
    wanted = record(state="wanted")
    assert decided([pool()], view(wanted), found()) == [MakeSandbox(pool=pool(), record=wanted)]
    assert decided([pool()], view(record()), found(claims=("ma-1",))) == [
        retired("ma-1", pod=False, claim=True),
        AddSandbox(pool=pool()),
    ]


LOST = Problem(reason="Evicted", message="of memory")


@pytest.mark.parametrize("dead", [{"loss": LOST}, {"is_deleting": True}, {"uid": "another"}])
def test_a_dead_pod_is_retired_and_replaced(dead: dict[str, Any]) -> None:
    pod = reading("ma-1", **dead)
    gone = RetireSandbox(pod_name="ma-1", pod_uid=pod.uid, claim_uid=None)
    assert decided([pool()], view(record()), found(pod)) == [gone, AddSandbox(pool=pool())]


@requirement("warm-sandbox-rolls")
def test_what_is_outdated_goes_before_anything_is_made_in_its_place() -> None:
    old = record(pool="sandbox-0")
    assert decided([pool()], view(old, told=(1, "sandbox-0")), found(reading("ma-1"))) == [
        TellPool(environment=ID, generation=1, pool="sandbox-1"),
        retired("ma-1"),
        AddSandbox(pool=pool()),
    ]


def test_a_new_generation_of_the_same_pool_is_told_and_keeps_it() -> None:
    told = TellPool(environment=ID, generation=1, pool="sandbox-1")
    assert decided([pool()], view(record(), told=(7, "sandbox-1")), found(reading("ma-1"))) == [told]


def test_nothing_is_made_while_packages_are_not_installed() -> None:
    waiting = pool(can_start=False)
    assert decided([waiting], view(record("ma-2", "wanted")), found()) == []
    assert decided([waiting], view(), found()) == []


def test_too_many_go_the_least_useful_first() -> None:
    records = [record("ma-1", "wanted"), record("ma-2"), record("ma-3", "ready"), record("ma-4")]
    pods = [reading("ma-1", is_running=False), *(reading(f"ma-{number}") for number in (2, 3, 4))]
    assert decided([pool(2)], view(*records), found(*pods)) == [retired("ma-1"), retired("ma-3")]


@pytest.mark.parametrize("pools", [[], [pool(0)]], ids=["none asked for", "quiet"])
def test_a_pool_that_nobody_wants_is_dropped_and_emptied(pools: list[SandboxPool]) -> None:
    there = found(reading("ma-1"), claims=("ma-1",))
    assert decided(pools, view(record()), there) == [DropPool(environment=ID), retired("ma-1", claim=True)]


def test_what_the_server_does_not_know_is_taken_back_first() -> None:
    leaving = reading("ma-9", is_deleting=True)
    there = found(reading("ma-7"), leaving, claims=("ma-8",))
    assert decided([], view(told=None), there) == [retired("ma-7"), retired("ma-8", pod=False, claim=True)]


def test_the_pool_of_a_paused_environment_is_left_alone() -> None:
    assert decided([], view(record(), record("ma-2", "wanted")), found(reading("ma-1")), paused=(ID,)) == []


def changed(**sandbox: Any) -> Manifest:
    return {**ENVIRONMENT, "spec": {**ENVIRONMENT["spec"], "sandbox": {**ENVIRONMENT["spec"]["sandbox"], **sandbox}}}


@requirement("warm-sandbox-rolls")
@pytest.mark.parametrize(
    "other",
    [
        changed(image="other"),
        changed(resources={"limits": {"memory": "3Gi"}}),
        changed(runtimeClassName="gvisor"),
        changed(mounts=[{"mountPath": "/data", "configMapRef": {"name": "data"}}]),
        changed(workspace={"size": "2Gi"}),
        changed(workspace={"size": "1Gi", "storageClassName": "fast"}),
        changed(workspace=None),
        {**ENVIRONMENT, "spec": {**ENVIRONMENT["spec"], "config": {"type": "cloud", "packages": {"pip": ["x"]}}}},
    ],
)
def test_all_that_shapes_a_pod_names_its_pool(other: Manifest) -> None:
    assert sandbox_pool_name_for(other, SETTINGS) != sandbox_pool_name_for(ENVIRONMENT, SETTINGS)


@requirement("warm-sandbox-rolls")
def test_what_shapes_no_pod_does_not_and_the_installation_does() -> None:
    same = {**changed(warmReplicas=5), "metadata": {**ENVIRONMENT["metadata"], "generation": 9}}
    assert sandbox_pool_name_for(same, SETTINGS) == sandbox_pool_name_for(ENVIRONMENT, SETTINGS)
    upgraded = SessionSettings(harness_image="newer")
    assert sandbox_pool_name_for(ENVIRONMENT, upgraded) != sandbox_pool_name_for(ENVIRONMENT, SETTINGS)


def test_a_warm_pod_is_a_sessions_pod_without_the_session() -> None:
    token = "a" * 64
    warm = warm_pod_for(ENVIRONMENT, "sandbox-1", pod_name="ma-1", token_sha256=token, settings=SETTINGS)
    cold = sandbox_pod_for(session(), ENVIRONMENT, pod_name="ma-1", token_sha256=token, settings=SETTINGS, claim="ma-1")
    assert warm["spec"] == cold["spec"]
    claim = warm_claim_for(ENVIRONMENT, "sandbox-1", pod_name="ma-1")
    for manifest in (warm, claim):
        assert "ownerReferences" not in manifest["metadata"]
        labels = manifest["metadata"]["labels"]
        assert {names.LABEL_SESSION, names.LABEL_SESSION_UID}.isdisjoint(labels)
        assert (labels[names.LABEL_POOL], labels[names.LABEL_ENVIRONMENT]) == ("sandbox-1", "python")
        same = {key: value for key, value in cold["metadata"]["labels"].items() if key in labels}
        assert same == {key: value for key, value in labels.items() if key != names.LABEL_POOL}
