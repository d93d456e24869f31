"""What a broken connection to the sandbox means, and which binding is kept."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import pytest
from yarl import URL

from managed_agents.proxy.bindings import Binding, MalformedError, Pending, Wanted
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import UnreachableError
from managed_agents.proxy.sandbox_ends import Gone
from managed_agents.proxy.sandbox_hand import SandboxHand
from managed_agents.proxy.settings import Pacing

RESULT = {"content": [{"type": "text", "text": "hi"}], "is_error": False}
GONE = Gone(reason="OOMKilled", message="the tools took too much memory")
BROKEN = UnreachableError("reset")


class TestClock:
    """A clock that the fakes move."""

    __test__ = False

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


class FakeClaims:
    """Answers claims and questions from lists; a question takes the time that it may wait."""

    def __init__(self, clock: TestClock, ends: Iterable[Gone | Exception | None] = ()) -> None:
        self.clock = clock
        self.ends = iter(ends)
        self.claims: list[Binding | Pending | Exception] = []
        self.waits: list[float] = []

    async def claim(self, wanted: Wanted) -> Binding | Pending:
        answer = self.claims.pop(0) if self.claims else binding(epoch=wanted.epoch)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def end_of(self, binding: Binding, *, wait_seconds: float) -> Gone | None:
        self.waits.append(wait_seconds)
        self.clock.seconds += wait_seconds
        end = next(self.ends, None)
        if isinstance(end, Exception):
            raise end
        return end


class FakeSupervisor:
    """Gives one outcome after the other; the last one stays."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes) or [RESULT]
        self.calls: list[tuple[int, str, str]] = []
        self.binds: list[Binding] = []
        self.environments: list[Mapping[str, object] | None] = []
        self.bind_problem: Exception | None = None

    async def bind(self, binding: Binding, environment: Mapping[str, object] | None = None) -> None:
        self.binds.append(binding)
        self.environments.append(environment)
        if self.bind_problem is not None:
            raise self.bind_problem

    async def call(self, binding: Binding, method: str, path: str, body: bytes | None = None) -> object:
        self.calls.append((binding.epoch, method, path))
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def binding(*, epoch: int = 1, generation: int = 1) -> Binding:
    return Binding(
        session="sesn_1",
        name="default",
        epoch=epoch,
        pod_name=f"ma-x-{generation}",
        generation=generation,
        base=URL("http://10.0.0.1:7400"),
        token="t",
        secret="s",
    )


def wanted(epoch: int = 1) -> Wanted:
    return Wanted(session="sesn_1", epoch=epoch, name="default", wait_seconds=0)


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


def _hand(clock: TestClock, claims: FakeClaims, supervisor: FakeSupervisor) -> SandboxHand:
    return SandboxHand(claims, supervisor, Pacing(pause_seconds=0.0), clock)


async def _refusal_of(hand: SandboxHand) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        await hand.execute(b"{}")
    return refused.value


async def test_nothing_runs_before_provision(clock: TestClock) -> None:
    supervisor = FakeSupervisor()
    refusal = await _refusal_of(_hand(clock, FakeClaims(clock), supervisor))
    assert (refusal.status, refusal.kind, supervisor.calls) == (409, "not_provisioned", [])


async def test_calls_carry_the_epoch_of_the_last_provision(clock: TestClock) -> None:
    supervisor = FakeSupervisor(RESULT)
    hand = _hand(clock, FakeClaims(clock), supervisor)
    await hand.provision(wanted(3))
    await hand.provision(wanted(5))
    assert await hand.execute(b"{}") == RESULT
    assert [bound.epoch for bound in supervisor.binds] == [3, 5]
    assert supervisor.calls == [(5, "POST", "/execute")]


async def test_a_provision_again_binds_once(clock: TestClock) -> None:
    supervisor = FakeSupervisor()
    hand = _hand(clock, FakeClaims(clock), supervisor)
    await hand.provision(wanted())
    await hand.provision(wanted())
    assert len(supervisor.binds) == 1


async def test_a_late_provision_of_an_older_epoch_does_not_replace_a_newer_one(clock: TestClock) -> None:
    supervisor = FakeSupervisor(RESULT)
    hand = _hand(clock, FakeClaims(clock), supervisor)
    await hand.provision(wanted(5))
    await hand.provision(wanted(4))
    await hand.execute(b"{}")
    assert supervisor.calls == [(5, "POST", "/execute")]


async def test_a_pending_sandbox_is_not_bound(clock: TestClock) -> None:
    claims = FakeClaims(clock)
    pending = Pending(pod_name="p", generation=1, reason="ImagePullFailed", message="m")
    claims.claims = [pending]
    hand = _hand(clock, claims, FakeSupervisor())
    assert await hand.provision(wanted()) == pending
    assert (await _refusal_of(hand)).kind == "not_provisioned"


async def test_a_broken_connection_to_a_living_sandbox_is_tried_again(clock: TestClock) -> None:
    supervisor = FakeSupervisor(BROKEN, BROKEN, RESULT)
    claims = FakeClaims(clock)
    hand = _hand(clock, claims, supervisor)
    await hand.provision(wanted())
    assert await hand.execute(b"{}") == RESULT
    assert (len(supervisor.calls), claims.waits) == (3, [0.0, 1.0])


async def test_a_sandbox_known_to_be_gone_is_lost_with_its_reason_and_stays_so(clock: TestClock) -> None:
    supervisor = FakeSupervisor(BROKEN)
    hand = _hand(clock, FakeClaims(clock, [None, GONE]), supervisor)
    await hand.provision(wanted())
    refusal = await _refusal_of(hand)
    assert (refusal.status, refusal.kind, refusal.detail) == (410, "sandbox_lost", {"reason": "OOMKilled"})
    assert refusal.message == GONE.message
    calls = len(supervisor.calls)
    assert (await _refusal_of(hand)).kind == "sandbox_lost"
    assert len(supervisor.calls) == calls


async def test_the_next_provision_ends_the_loss(clock: TestClock) -> None:
    supervisor = FakeSupervisor(BROKEN, RESULT)
    claims = FakeClaims(clock, [GONE])
    hand = _hand(clock, claims, supervisor)
    await hand.provision(wanted())
    await _refusal_of(hand)
    claims.claims = [binding(generation=2)]
    await hand.provision(wanted())
    assert await hand.execute(b"{}") == RESULT


async def test_a_silent_sandbox_that_may_live_is_unreachable_within_the_bound(clock: TestClock) -> None:
    hand = _hand(clock, FakeClaims(clock), FakeSupervisor(BROKEN))
    await hand.provision(wanted())
    refusal = await _refusal_of(hand)
    assert (refusal.status, refusal.kind) == (502, "unreachable")
    assert clock.seconds == pytest.approx(6.0)  # the bound, and the last question


async def test_a_server_that_forgot_the_sandbox_means_it_is_gone(clock: TestClock) -> None:
    hand = _hand(clock, FakeClaims(clock, [RefusedError(404, "not_found", "no such sandbox")]), FakeSupervisor(BROKEN))
    await hand.provision(wanted())
    assert (await _refusal_of(hand)).kind == "sandbox_lost"


@pytest.mark.parametrize("kind", ["permission_error", "not_bound"])
async def test_a_stranger_at_a_dead_pod_s_address_is_a_lost_sandbox(clock: TestClock, kind: str) -> None:
    supervisor = FakeSupervisor(RefusedError(403, kind, "who are you"))
    hand = _hand(clock, FakeClaims(clock, [GONE, None]), supervisor)
    await hand.provision(wanted())
    assert (await _refusal_of(hand)).kind == "sandbox_lost"


async def test_a_fence_passes_unchanged_and_asks_nobody(clock: TestClock) -> None:
    claims = FakeClaims(clock)
    hand = _hand(clock, claims, FakeSupervisor(RefusedError(409, "stale_epoch", "m", detail={"epoch": 9})))
    await hand.provision(wanted())
    refusal = await _refusal_of(hand)
    assert (refusal.status, refusal.kind, refusal.detail, claims.waits) == (409, "stale_epoch", {"epoch": 9}, [])


@pytest.mark.parametrize("reply", [{"content": "x", "is_error": False}, MalformedError("body: not JSON")])
async def test_a_malformed_reply_is_refused(clock: TestClock, reply: object) -> None:
    hand = _hand(clock, FakeClaims(clock), FakeSupervisor(reply))
    await hand.provision(wanted())
    refusal = await _refusal_of(hand)
    assert (refusal.status, refusal.kind) == (502, "malformed_reply")


async def test_lookup_and_cancel_quote_the_id(clock: TestClock) -> None:
    supervisor = FakeSupervisor({"state": "running"})
    hand = _hand(clock, FakeClaims(clock), supervisor)
    await hand.provision(wanted())
    await hand.lookup("a:b")
    await hand.cancel("a:b")
    assert [path for _, _, path in supervisor.calls] == ["/calls/a%3Ab", "/calls/a%3Ab/cancel"]


async def test_a_failed_bind_keeps_the_old_binding(clock: TestClock) -> None:
    supervisor = FakeSupervisor(RESULT)
    hand = _hand(clock, FakeClaims(clock), supervisor)
    await hand.provision(wanted(1))
    supervisor.bind_problem = RefusedError(409, "stale_epoch", "m")
    with pytest.raises(RefusedError):
        await hand.provision(wanted(2))
    await hand.execute(b"{}")
    assert supervisor.calls == [(1, "POST", "/execute")]


@pytest.mark.parametrize(
    ("problem", "status", "kind"),
    [
        (UnreachableError("refused"), 503, "unavailable"),
        (MalformedError("address"), 502, "bad_gateway"),
        (RefusedError(409, "fenced", "m"), 409, "fenced"),
    ],
)
async def test_a_claim_that_fails_says_why(clock: TestClock, problem: Exception, status: int, kind: str) -> None:
    claims = FakeClaims(clock)
    claims.claims = [problem]
    with pytest.raises(RefusedError) as refused:
        await _hand(clock, claims, FakeSupervisor()).provision(wanted())
    assert (refused.value.status, refused.value.kind) == (status, kind)


async def test_a_sandbox_is_told_its_environment_and_again_where_it_changes(clock: TestClock) -> None:
    supervisor = FakeSupervisor(RESULT)
    current: list[Mapping[str, object]] = [{}]

    async def environment_of(_: Binding) -> Mapping[str, object] | None:
        return current[0]

    hand = SandboxHand(FakeClaims(clock), supervisor, Pacing(pause_seconds=0.0), clock, environment_of=environment_of)
    await hand.provision(wanted(1))
    for environment in ({"variables": {"A": "x"}}, {"variables": {"A": "x"}}, {}):
        current[0] = environment
        await hand.execute(b"{}")
    assert supervisor.environments == [{}, {"variables": {"A": "x"}}, {}]


async def test_an_environment_that_is_not_known_is_left_as_it_is(clock: TestClock) -> None:
    supervisor = FakeSupervisor(RESULT)
    hand = _hand(clock, FakeClaims(clock), supervisor)
    await hand.provision(wanted(1))
    await hand.execute(b"{}")
    assert supervisor.environments == [None]
