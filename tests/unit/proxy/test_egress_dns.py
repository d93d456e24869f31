"""Names of destinations: a DNS that hangs stops the names that hang, and only them, for a bounded time."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from managed_agents.proxy.egress_dns import Resolver, look_up


class Dns:
    """Answers every name but those that hang, which it answers when the test ends."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ends = threading.Event()

    def lookup(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        if host.startswith("hangs"):
            self.ends.wait(10)
        if host == "unknown":
            raise OSError("unknown")
        return ["192.0.2.1"]


@pytest.fixture
def dns() -> Iterator[Dns]:
    made = Dns()
    yield made
    made.ends.set()


async def test_name_that_hangs_is_given_up_and_stops_no_other(dns: Dns) -> None:
    resolver = Resolver(dns.lookup, threads_max=2, seconds_max=0.05)
    with pytest.raises(TimeoutError):
        await resolver.resolve("hangs", 443)

    assert await resolver.resolve("answers", 443) == ["192.0.2.1"]


async def test_same_name_is_asked_for_once_at_a_time_and_again_afterwards(dns: Dns) -> None:
    resolver = Resolver(dns.lookup, threads_max=2, seconds_max=5)
    both = asyncio.gather(resolver.resolve("hangs", 443), resolver.resolve("hangs", 443))
    assert await resolver.resolve("answers", 443) == ["192.0.2.1"]
    dns.ends.set()

    assert list(await both) == [["192.0.2.1"]] * 2
    assert sorted(dns.asked) == ["answers", "hangs"]
    await resolver.resolve("answers", 443)
    assert dns.asked.count("answers") == 2


async def test_threads_that_hang_are_few_and_make_room_when_they_end(dns: Dns) -> None:
    resolver = Resolver(dns.lookup, threads_max=2, seconds_max=0.05)
    silent = await asyncio.gather(*(resolver.resolve(f"hangs{n}", 443) for n in range(5)), return_exceptions=True)
    assert [type(problem) for problem in silent] == [TimeoutError] * 5
    assert len(dns.asked) == 2

    dns.ends.set()
    patient = Resolver(dns.lookup, threads_max=1, seconds_max=5)
    assert await asyncio.gather(*(patient.resolve(f"answers{n}", 443) for n in range(5))) == [["192.0.2.1"]] * 5


async def test_unknown_name_is_unknown_to_all_who_ask(dns: Dns) -> None:
    resolver = Resolver(dns.lookup)
    found = await asyncio.gather(*(resolver.resolve("unknown", 443) for _ in range(3)), return_exceptions=True)
    assert [str(problem) for problem in found] == ["unknown"] * 3


def test_this_machine_is_known() -> None:
    assert look_up("localhost", 443)[0] in ("127.0.0.1", "::1")
