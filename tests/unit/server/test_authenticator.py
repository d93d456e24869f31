"""Tokens and permissions: asked once, remembered a little, kept while the kube-apiserver is away."""

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from managed_agents.contracts.errors import RetryableError
from managed_agents.contracts.ports import SERVER_AUDIENCE
from managed_agents.server.services.authenticator import (
    CACHE_SECONDS,
    POD_UID_KEY,
    Access,
    Authenticator,
    Identity,
    token_expiry,
)
from managed_agents.server.services.errors import RateLimitedError, UnauthenticatedError
from managed_agents.server.services.review_budget import (
    KNOWN_PER_MINUTE,
    PEER_PER_MINUTE,
    STRANGERS_PER_MINUTE,
    client_of,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class ManualClock:
    """Both clocks move only when a test says so."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class ScriptedReviewer:
    """Answers from tables and counts; `down` makes it fail."""

    tokens: dict[tuple[str, str | None], Identity] = field(default_factory=dict)
    allowed: bool = True
    down: bool = False
    asked: int = 0

    async def review_token(self, token: str, audience: str | None) -> Identity | None:
        self._count()
        return self.tokens.get((token, audience))

    async def review_access(self, identity: Identity, access: Access) -> bool:
        self._count()
        return self.allowed

    def _count(self) -> None:
        self.asked += 1
        if self.down:
            raise RetryableError("down")


HARNESS = Identity(
    username="system:serviceaccount:team-a:ma-harness",
    extra={POD_UID_KEY: ["pod-1"]},
    expires=(START + timedelta(hours=1)).timestamp(),
)
ACCESS = Access(verb="get", namespace="team-a", name="repair")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def reviewer() -> ScriptedReviewer:
    return ScriptedReviewer(tokens={("t", SERVER_AUDIENCE): HARNESS, ("u", None): Identity(username="alice")})


@pytest.fixture
def authenticator(reviewer: ScriptedReviewer, clock: ManualClock) -> Authenticator:
    return Authenticator(reviewer, clock)


async def test_a_verdict_is_remembered_for_ten_seconds(
    authenticator: Authenticator, reviewer: ScriptedReviewer, clock: ManualClock
) -> None:
    for _ in range(3):
        assert (await authenticator.internal("t")).pod_uid == "pod-1"
    assert reviewer.asked == 1
    clock.seconds += CACHE_SECONDS
    await authenticator.internal("t")
    assert reviewer.asked == 2


async def test_a_token_counts_for_its_own_audience_only(authenticator: Authenticator) -> None:
    assert (await authenticator.public("u", "")).username == "alice"
    for attempt in (authenticator.public("t", ""), authenticator.internal("u"), authenticator.internal("")):
        with pytest.raises(UnauthenticatedError):
            await attempt


async def test_a_deleted_pods_token_is_refused_once_the_verdict_is_old(
    authenticator: Authenticator, reviewer: ScriptedReviewer, clock: ManualClock
) -> None:
    await authenticator.internal("t")
    reviewer.tokens.clear()
    clock.seconds += CACHE_SECONDS
    with pytest.raises(UnauthenticatedError):
        await authenticator.internal("t")


async def test_while_the_apiserver_is_away_known_tokens_hold_until_they_expire(
    authenticator: Authenticator, reviewer: ScriptedReviewer, clock: ManualClock
) -> None:
    await authenticator.internal("t")
    assert await authenticator.may(HARNESS, ACCESS)
    reviewer.down = True
    clock.seconds = 3599
    assert (await authenticator.internal("t")) == HARNESS
    assert await authenticator.may(HARNESS, ACCESS)
    with pytest.raises(RetryableError):
        await authenticator.internal("never seen")
    clock.seconds = 3601
    for attempt in (authenticator.internal("t"), authenticator.may(HARNESS, ACCESS)):
        with pytest.raises(RetryableError):
            await attempt


async def test_a_refusal_is_not_remembered_for_long(
    authenticator: Authenticator, reviewer: ScriptedReviewer, clock: ManualClock
) -> None:
    reviewer.allowed = False
    assert not await authenticator.may(HARNESS, ACCESS)
    reviewer.allowed = True
    clock.seconds += 1
    assert await authenticator.may(HARNESS, ACCESS)


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "a.!.c", "a." + base64.urlsafe_b64encode(b"[]").decode()])
def test_what_is_no_jwt_has_no_expiry(token: str) -> None:
    assert token_expiry(token) == 0.0


def test_a_jwt_has_its_expiry() -> None:
    payload = base64.urlsafe_b64encode(json.dumps({"exp": 17}).encode()).decode().rstrip("=")
    assert token_expiry(f"h.{payload}.s") == 17.0


async def test_a_stranger_who_tries_tokens_takes_a_share_and_others_go_on(
    authenticator: Authenticator, clock: ManualClock
) -> None:
    for number in range(PEER_PER_MINUTE):
        with pytest.raises(UnauthenticatedError):
            await authenticator.public(f"guess-{number}", "10.0.0.9")
    with pytest.raises(RateLimitedError) as refusal:
        await authenticator.public("u", "10.0.0.9")
    assert refusal.value.delay_seconds == pytest.approx(0.1)
    assert (await authenticator.public("u", "10.0.0.1")).username == "alice"
    assert (await authenticator.internal("t")).pod_uid == "pod-1"
    clock.seconds += CACHE_SECONDS
    assert (await authenticator.public("u", "10.0.0.9")).username == "alice"


async def test_all_strangers_together_have_a_budget_that_known_tokens_do_not_need(
    authenticator: Authenticator, clock: ManualClock
) -> None:
    await authenticator.public("u", "10.0.0.1")
    clock.seconds += CACHE_SECONDS
    for number in range(STRANGERS_PER_MINUTE):
        with pytest.raises(UnauthenticatedError):
            await authenticator.public(f"guess-{number}", f"10.1.0.{number % 100}")
    with pytest.raises(RateLimitedError):
        await authenticator.public("new", "10.0.0.2")
    assert (await authenticator.public("u", "10.1.0.1")).username == "alice"


async def test_who_is_over_its_budget_does_not_keep_a_revoked_token_alive(
    authenticator: Authenticator, reviewer: ScriptedReviewer, clock: ManualClock
) -> None:
    forever = Identity(username="system:serviceaccount:team-a:ci", expires=(START + timedelta(days=1)).timestamp())
    for number in range(KNOWN_PER_MINUTE + 1):
        reviewer.tokens[f"ci-{number}", None] = forever
        await authenticator.public(f"ci-{number}", f"10.{number % 250}.0.1")
        clock.seconds += 0.02
    clock.seconds += CACHE_SECONDS
    reviewer.tokens.clear()
    seen = set()
    for number in range(KNOWN_PER_MINUTE + 1):
        with pytest.raises((UnauthenticatedError, RateLimitedError)) as refusal:
            await authenticator.public(f"ci-{number}", "10.0.0.1")
        seen.add(type(refusal.value))
    assert seen == {UnauthenticatedError, RateLimitedError}


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_client_is_its_address_or_its_network(address: str, client: str) -> None:
    assert client_of(address) == client
