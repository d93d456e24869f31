"""Who calls, and whether they may: Kubernetes decides, a small cache remembers (design §3)."""

import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import orjson

from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import RetryableError
from managed_agents.contracts.names import SYSTEM_NAMESPACE
from managed_agents.contracts.ports import SERVER_AUDIENCE
from managed_agents.server.services.errors import RateLimitedError, UnauthenticatedError
from managed_agents.server.services.review_budget import ReviewBudget

T = TypeVar("T")

CACHE_SECONDS = 10.0
"""A verdict is asked for again after this long: how long a deleted Pod's token can outlive it."""

REFUSAL_SECONDS = 1.0
"""A refusal is kept shorter: what was just created shall work soon."""

CACHE_MAX = 10_000
"""Remembered verdicts; the oldest go first."""

POD_UID_KEY = "authentication.kubernetes.io/pod-uid"
_ACCOUNT = "system:serviceaccount:"
OPERATOR_USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:managed-agents-operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A reviewed caller. `expires` is the token's own end in seconds since 1970, 0 when it has none."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)
    expires: float = 0.0

    @property
    def pod_uid(self) -> str | None:
        """Return the UID of the Pod that the token is bound to."""
        values = self.extra.get(POD_UID_KEY) or ()
        return values[0] if values else None

    @property
    def namespace(self) -> str | None:
        """Return the namespace of a ServiceAccount."""
        namespace, _, account = self.username.removeprefix(_ACCOUNT).partition(":")
        return namespace if account and self.username.startswith(_ACCOUNT) else None

    @property
    def is_operator(self) -> bool:
        """Tell whether this is the operator's own ServiceAccount."""
        return self.username == OPERATOR_USER


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One question for a SubjectAccessReview, on a resource of our group; no name stands for the collection."""

    verb: str
    namespace: str
    name: str | None
    resource: str = "sessions"
    subresource: str | None = None


class Reviewer(Protocol):
    """Asks the kube-apiserver. Raises: RetryableError when it does not answer."""

    async def review_token(self, token: str, audience: str | None) -> Identity | None:
        """Return whose token this is for an audience (null: the kube-apiserver's own), or null for nobody's."""
        ...

    async def review_access(self, identity: Identity, access: Access) -> bool:
        """Tell whether the identity may."""
        ...


@dataclass(slots=True)
class _Verdict(Generic[T]):
    value: T
    fresh_until: float


class _Cache(Generic[T]):
    """Verdicts by key: fresh for a while, and kept for when the kube-apiserver does not answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._verdicts: OrderedDict[Any, _Verdict[T]] = OrderedDict()

    def last(self, key: Any) -> T | None:
        """Return the last verdict, fresh or not."""
        known = self._verdicts.get(key)
        return None if known is None else known.value

    async def get(self, key: Any, ask: Callable[[], Awaitable[T]], *, usable: Callable[[T], bool]) -> T:
        known = self._verdicts.get(key)
        if known is not None and self._clock.monotonic() < known.fresh_until:
            return known.value
        try:
            value = await ask()
        except RateLimitedError:
            raise  # who asks too often must not make a verdict last longer
        except RetryableError:
            if known is not None and usable(known.value):
                return known.value
            raise
        seconds = CACHE_SECONDS if value else REFUSAL_SECONDS
        self._verdicts[key] = _Verdict(value, self._clock.monotonic() + seconds)
        self._verdicts.move_to_end(key)
        if len(self._verdicts) > CACHE_MAX:
            self._verdicts.popitem(last=False)
        return value


class Authenticator:
    """Turns bearer tokens into identities and answers whether they may act on a Session.

    The tokens of operator and proxies are always reviewed, those of the public port within a budget.
    """

    def __init__(self, reviewer: Reviewer, clock: Clock) -> None:
        self._reviewer = reviewer
        self._clock = clock
        self._budget = ReviewBudget(clock)
        self._tokens: _Cache[Identity | None] = _Cache(clock)
        self._accesses: _Cache[bool] = _Cache(clock)

    async def internal(self, token: str) -> Identity:
        """Return who sent a token of the server's own audience. Raises: UnauthenticatedError, RetryableError."""
        return await self._identity(token, SERVER_AUDIENCE)

    async def public(self, token: str, peer: str) -> Identity:
        """Return who sent a token that the kube-apiserver itself accepts.

        `peer` is where a token comes from that nobody knows yet. Raises: as `internal`, and RateLimitedError.
        """
        return await self._identity(token, None, peer)

    async def may(self, identity: Identity, access: Access) -> bool:
        """Tell whether the identity may do this to that Session. Raises: RetryableError."""
        key = (identity.username, identity.uid, identity.groups, access)
        return await self._accesses.get(
            key,
            lambda: self._reviewer.review_access(identity, access),
            usable=lambda _: self._clock.now().timestamp() < identity.expires,
        )

    async def _identity(self, token: str, audience: str | None, peer: str = "") -> Identity:
        if not token or not token.isascii():
            raise UnauthenticatedError(
                "no credential was sent; use `Authorization: Bearer TOKEN` or `X-Api-Key: TOKEN`"
            )
        key = (hashlib.sha256(token.encode()).digest(), audience)
        identity = await self._tokens.get(
            key,
            lambda: self._reviewed(token, audience, self._tokens.last(key), peer),
            usable=lambda known: known is not None and self._clock.now().timestamp() < known.expires,
        )
        if identity is None:
            raise UnauthenticatedError(
                "the credential is not valid here: it is unknown, expired or for another audience"
            )
        return identity

    async def _reviewed(self, token: str, audience: str | None, last: Identity | None, peer: str) -> Identity | None:
        if audience is None and last is not None:
            self._budget.take_known(last.namespace or last.username)
        elif audience is None:
            self._budget.take_unknown(peer)
        return await self._reviewer.review_token(token, audience)


def token_expiry(token: str) -> float:
    """Return a JWT's `exp`, unverified: only a token that was reviewed is asked for it. 0 when there is none."""
    try:
        payload = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return 0.0
