"""How many harness Pods of a namespace start at once, and in which order the others follow."""

from managed_agents.operator.keys import Key
from managed_agents.operator.starts import START_SECONDS_MAX, STARTS_PER_NODE, Starts
from support.operator_world import ManualClock
from support.requirements import requirement


def asker(number: int, namespace: str = "team-a") -> Key:
    return Key("Session", namespace, f"s{number}")


class Line:
    """A line in which session n asks for Deployment dn."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.woken: list[Key] = []
        self.starts = Starts(self.clock, self.woken.append)

    def take(self, number: int, namespace: str = "team-a") -> bool:
        return self.starts.take(namespace, f"d{number}", asker(number, namespace))

    def end(self, number: int) -> list[Key]:
        self.woken.clear()
        self.starts.end("team-a", f"d{number}")
        return list(self.woken)


@requirement("starts-in-turn")
def test_those_beyond_the_bound_wait_and_are_woken_in_their_order() -> None:
    line = Line()
    assert [line.take(number) for number in range(STARTS_PER_NODE + 2)] == [True] * STARTS_PER_NODE + [False] * 2
    assert line.end(0) == [asker(STARTS_PER_NODE)]
    assert not line.take(STARTS_PER_NODE + 1)
    assert line.take(STARTS_PER_NODE)
    assert line.end(1) == [asker(STARTS_PER_NODE + 1)]
    assert line.take(STARTS_PER_NODE + 1)


@requirement("starts-in-turn")
def test_who_asks_again_for_what_starts_already_takes_no_second_place() -> None:
    line = Line()
    assert line.take(0)
    assert line.take(0)
    assert [line.take(number) for number in range(1, STARTS_PER_NODE)] == [True] * (STARTS_PER_NODE - 1)
    assert not line.take(STARTS_PER_NODE)


@requirement("starts-in-turn")
def test_who_leaves_the_line_makes_way() -> None:
    line = Line()
    for number in range(STARTS_PER_NODE + 2):
        line.take(number)
    line.starts.leave(asker(STARTS_PER_NODE))
    assert line.end(0) == [asker(STARTS_PER_NODE + 1)]


@requirement("starts-in-turn")
def test_namespaces_do_not_wait_for_each_other() -> None:
    line = Line()
    for number in range(STARTS_PER_NODE + 1):
        line.take(number)
    assert line.take(0, "team-b")


@requirement("starts-in-turn")
def test_start_that_never_ends_holds_its_place_for_a_while_only() -> None:
    line = Line()
    for number in range(STARTS_PER_NODE):
        line.take(number)
    line.clock.advance(START_SECONDS_MAX - 1)
    assert not line.take(STARTS_PER_NODE)
    line.clock.advance(1)
    assert line.take(STARTS_PER_NODE)


@requirement("starts-in-turn")
def test_deployment_that_is_refused_its_pod_starts_no_more() -> None:
    line = Line()
    for number in range(STARTS_PER_NODE + 1):
        line.take(number)
    metadata = {"name": "d0", "namespace": "team-a"}
    line.starts.seen({"metadata": metadata, "status": {"conditions": [{"type": "Available", "status": "False"}]}})
    assert line.woken == []
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    line.starts.seen({"metadata": metadata, "status": {"conditions": [refused]}})
    assert line.woken == [asker(STARTS_PER_NODE)]


@requirement("starts-in-turn")
def test_bound_grows_with_the_cluster() -> None:
    line = Line()
    for number in range(3 * STARTS_PER_NODE):
        line.take(number)
    line.starts.resize(3)
    assert line.woken == [asker(number) for number in range(STARTS_PER_NODE, 3 * STARTS_PER_NODE)]
