"""A namespace's NetworkPolicies stand as long as it has Sessions, whatever somebody does to them (guarantee I20)."""

import pytest

from support.kube import ApiError, Manifest, kind_of
from support.operator_world import NAMESPACE, World
from support.requirements import requirement

POLICIES = kind_of("networkpolicies")
NAMES = ["ma-harness", "ma-sandbox"]


def specs(operated: World) -> dict[str, Manifest]:
    return {item["metadata"]["name"]: item["spec"] for item in operated.kube.list("networkpolicies", NAMESPACE)}


@pytest.fixture
async def at_work(operated: World) -> dict[str, Manifest]:
    """Bring a session to work; its namespace's policies."""
    await operated.catalog()
    operated.session("repair", "Make it pass.")
    await operated.settle()
    standing = specs(operated)
    assert sorted(standing) == NAMES
    return standing


@requirement("policies-stand")
@pytest.mark.parametrize("name", NAMES)
async def test_deleted_policy_comes_back_at_once_without_a_new_pod(
    operated: World, at_work: dict[str, Manifest], name: str
) -> None:
    pods = operated.names("pods")
    operated.kube.delete(POLICIES, NAMESPACE, name)
    await operated.settle()
    assert specs(operated) == at_work
    assert operated.names("pods") == pods


@requirement("policies-stand")
async def test_changed_policy_is_put_right(operated: World, at_work: dict[str, Manifest]) -> None:
    operated.kube.merge(POLICIES, NAMESPACE, "ma-sandbox", {"spec": {"ingress": [{}], "egress": [{}]}})
    await operated.settle()
    assert specs(operated) == at_work


@requirement("policies-stand", "I20")
async def test_policy_whose_deletion_no_watch_told_is_found_by_the_sweep(
    operated: World, at_work: dict[str, Manifest]
) -> None:
    operated.deaf = True
    operated.kube.delete(POLICIES, NAMESPACE, "ma-sandbox")
    await operated.operator.sweeper.sweep()
    await operated.settle()
    assert specs(operated) == at_work


@requirement("policies-stand")
async def test_policies_deleted_while_no_operator_ran_come_back_with_the_next_one(
    operated: World, at_work: dict[str, Manifest]
) -> None:
    operated.deaf = True
    for name in NAMES:
        operated.kube.delete(POLICIES, NAMESPACE, name)
    await operated.restart()
    await operated.settle()
    assert specs(operated) == at_work


async def test_policy_that_cannot_come_back_holds_the_next_pod_up(
    operated: World, at_work: dict[str, Manifest]
) -> None:
    operated.api.fail("patch", "networkpolicies", ApiError(500, "InternalError", "no"), times=1000)
    operated.kube.delete(POLICIES, NAMESPACE, "ma-sandbox")
    operated.session("second", "Make it pass.")
    await operated.settle()
    await operated.advance(5)
    assert len(operated.names("deployments")) == 1
    operated.api.faults.clear()
    for _ in range(3):
        await operated.advance(60)
    assert specs(operated) == at_work
    assert len(operated.names("deployments")) == 2


async def test_namespace_without_sessions_is_left_alone(operated: World, at_work: dict[str, Manifest]) -> None:
    operated.kube.delete(kind_of("sessions"), NAMESPACE, "repair")
    for _ in range(5):
        await operated.advance(1)
    before = len(operated.api.writes())
    for name in NAMES:
        operated.kube.delete(POLICIES, NAMESPACE, name)
    await operated.advance(60)
    assert operated.names("networkpolicies") == []
    assert operated.api.writes()[before:] == []


async def test_namespace_that_is_being_deleted_is_asked_again_only_now_and_then(
    operated: World, at_work: dict[str, Manifest]
) -> None:
    ending = ApiError(
        403, "Forbidden", "unable to create new content in namespace team-a because it is being terminated"
    )
    operated.api.fail("patch", "networkpolicies", ending, times=100)
    before = len(operated.api.writes())
    operated.kube.delete(POLICIES, NAMESPACE, "ma-harness")
    for _ in range(6):
        await operated.advance(10)
    assert len(operated.api.writes()[before:]) <= 3
