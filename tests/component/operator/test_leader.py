"""The Lease: one holder, a take-over after a silent one, and a hand-over at the end."""

from managed_agents.operator.leader import LEASE_SECONDS, Leadership
from support.kube import kind_of
from support.operator_world import World


def contender(operated: World, identity: str) -> Leadership:
    kube = operated.operator.kube
    return Leadership(kube, operated.clock, namespace="managed-agents-system", identity=identity)


async def test_one_leads_and_a_silent_one_is_replaced_after_its_term(operated: World) -> None:
    first, second = contender(operated, "a"), contender(operated, "b")
    assert await first.try_once()
    assert not await second.try_once()
    operated.clock.advance(LEASE_SECONDS - 1)
    assert await first.try_once()
    assert not await second.try_once()
    operated.clock.advance(LEASE_SECONDS + 1)
    assert await second.try_once()
    assert not await first.try_once()


async def test_released_lease_is_free_at_once(operated: World) -> None:
    first, second = contender(operated, "a"), contender(operated, "b")
    assert await first.try_once()
    await second.release()
    assert not await second.try_once()
    await first.release()
    assert await second.try_once()
    lease = operated.kube.get("leases", "managed-agents-system", "managed-agents-operator")
    assert lease["spec"]["holderIdentity"] == "b"
    assert lease["spec"]["leaseTransitions"] == 2


async def test_holder_whose_pod_is_gone_is_replaced_at_once(operated: World) -> None:
    operated.nodes.stop()
    pods = kind_of("pods")
    for name in ("a", "b"):
        operated.kube.create(pods, "managed-agents-system", {"metadata": {"name": name}, "spec": {"containers": []}})
    first, second = contender(operated, "a"), contender(operated, "b")
    assert await first.try_once()
    assert not await second.try_once()
    operated.kube.remove("pods", "managed-agents-system", "a")
    assert await second.try_once()
