"""A burst beyond the pool: harness Pods start a few at a time, in the order in which the sessions asked."""

from managed_agents.contracts import names
from managed_agents.operator.sessions.run import TURN_RECHECK_SECONDS
from managed_agents.operator.starts import START_SECONDS_MAX, STARTS_PER_NODE
from support.kube import ApiError, kind_of
from support.operator_world import NAMESPACE, World
from support.requirements import requirement

SESSIONS = 3 * STARTS_PER_NODE


def started(world: World) -> list[str]:
    """Return the sessions that have a harness Deployment."""
    found = world.kube.list("deployments", NAMESPACE, names.LABEL_SESSION)
    return sorted(item["metadata"]["labels"][names.LABEL_SESSION] for item in found)


def sessions(count: int) -> list[str]:
    return [f"s{number:02}" for number in range(count)]


async def burst(world: World) -> None:
    """Let more sessions ask at once than harness Pods may start; none of these comes up by itself."""
    await world.catalog()
    world.nodes.auto_run = False
    for name in sessions(SESSIONS):
        world.session(name, "Hello.")
    await world.settle()


async def come_up(world: World) -> None:
    """Let the harness Pods run that are there."""
    for pod in world.names("pods"):
        world.nodes.run(NAMESPACE, pod)
    await world.settle()


@requirement("starts-in-turn")
async def test_burst_starts_a_few_at_a_time_in_order_and_says_so(operated: World) -> None:
    await burst(operated)
    for done in range(STARTS_PER_NODE, SESSIONS + 1, STARTS_PER_NODE):
        assert started(operated) == sessions(done)
        if done < SESSIONS:
            waiting = operated.condition("sessions", sessions(SESSIONS)[-1], "Idle")
            assert (waiting["reason"], waiting["message"].split(":")[0]) == (
                "StartingHarness",
                "no warm harness is free, so input waits its turn",
            )
        await come_up(operated)


@requirement("starts-in-turn")
async def test_session_that_is_deleted_while_it_waits_makes_way(operated: World) -> None:
    await burst(operated)
    gone = sessions(SESSIONS)[STARTS_PER_NODE]
    operated.kube.delete(kind_of("sessions"), NAMESPACE, gone)
    await operated.settle()
    await come_up(operated)
    expected = [name for name in sessions(2 * STARTS_PER_NODE + 1) if name != gone]
    assert started(operated) == expected


@requirement("starts-in-turn", "I9")
async def test_refused_deployment_holds_no_place(operated: World) -> None:
    refusal = ApiError(403, "Forbidden", "exceeded quota: pods")
    operated.api.fail("create", "deployments", refusal, times=STARTS_PER_NODE)
    await burst(operated)
    assert len(started(operated)) == STARTS_PER_NODE


@requirement("starts-in-turn")
async def test_pods_that_never_come_up_hold_the_others_for_a_while_only(operated: World) -> None:
    await burst(operated)
    await operated.advance(START_SECONDS_MAX + TURN_RECHECK_SECONDS)
    assert started(operated) == sessions(2 * STARTS_PER_NODE)


@requirement("starts-in-turn")
async def test_larger_cluster_starts_more_at_once(operated: World) -> None:
    await burst(operated)
    await operated.count_nodes(2)
    assert started(operated) == sessions(2 * STARTS_PER_NODE)


@requirement("starts-in-turn", "pools")
async def test_pool_fills_in_its_turn(operated: World) -> None:
    await operated.catalog()
    operated.nodes.auto_run = False
    operated.change("environments", "python", {"harness": {"warmReplicas": SESSIONS}})
    await operated.settle()
    for done in range(STARTS_PER_NODE, SESSIONS + 1, STARTS_PER_NODE):
        assert len(operated.kube.list("deployments", NAMESPACE, names.LABEL_POOL)) == done
        await come_up(operated)


@requirement("starts-in-turn", "pools")
async def test_pool_that_lacks_nothing_does_not_take_another_out_of_the_line(operated: World) -> None:
    await operated.catalog()
    operated.nodes.auto_run = False
    for name in sessions(STARTS_PER_NODE):
        operated.session(name, "Hello.")
    await operated.settle()
    operated.create("environments", "lacking", {"harness": {"image": "a", "warmReplicas": 1}})
    operated.create("environments", "content", {"harness": {"image": "b", "maxWarmReplicas": 1}})
    await operated.settle()
    assert operated.kube.list("deployments", NAMESPACE, names.LABEL_POOL) == []
    await come_up(operated)
    assert len(operated.kube.list("deployments", NAMESPACE, names.LABEL_POOL)) == 1
