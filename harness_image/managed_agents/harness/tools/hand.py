"""A hand: something that a turn can act on, and the one protocol by which it does (design §6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

TextBlocks = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreachableCredential:
    """An environment credential for hosts that the Environment does not allow."""

    credential_id: str
    vault_id: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingToken:
    """A repository that was asked for while its token was missing; `message` says what is amiss with it."""

    url: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a call brought: content blocks of the Messages API, whether it failed, and how long it ran if known.

    `web_searches` is how many searches it took that cost something.
    """

    content: TextBlocks
    is_error: bool = False
    run_seconds: float | None = None
    web_searches: int = 0
    unreachable: Sequence[UnreachableCredential] = ()
    """Credentials that were found to be for hosts that the sandbox cannot reach, each once a lease."""
    missing_tokens: Sequence[MissingToken] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The call has ended, well or badly; of an unknown outcome the result says so."""

    result: ToolResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The call runs; executing it again joins it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverSeen:
    """The hand has never been asked for this call, so it has had no effect there."""


Lookup = Finished | Running | NeverSeen


@dataclass(slots=True, kw_only=True)
class HandNotProvisionedError(Exception):
    """The hand must be provisioned first."""


@dataclass(slots=True, kw_only=True)
class HandUnavailableError(Exception):
    """The hand did not become ready in time, so nothing ran. `message` says why, for the model to read."""

    message: str


@dataclass(slots=True, kw_only=True)
class HandLostError(Exception):
    """The hand is gone, and with it whatever ran there."""

    reason: str
    message: str


@dataclass(slots=True, kw_only=True)
class HandUnreachableError(Exception):
    """The hand did not answer: whether the call took effect is unknown."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call to run. `id` is the id of its event, under which the hand journals it."""

    id: str
    name: str
    input: Mapping[str, Any] = field(default_factory=dict)


class Hand(Protocol):
    """What each adapter offers. Calls raise the errors above, and nothing else for a fault of the hand."""

    @property
    def generation(self) -> int | None:
        """Return which incarnation of the hand is provisioned; it grows with each new one. None: none is."""
        ...

    async def provision(self) -> int:
        """Make the hand ready and return its generation; at once when it is. Raises: HandUnavailableError."""
        ...

    async def execute(self, call: Call) -> ToolResult:
        """Run a call once, however often it is asked for: a running one is joined, a finished one answers again."""
        ...

    async def lookup(self, call_id: str) -> Lookup:
        """Tell what the hand knows of a call, without running anything."""
        ...

    async def cancel(self, call_id: str) -> None:
        """Stop a call if it runs. Best effort; returns when it has ended or can not be stopped."""
        ...


def error_result(text: str) -> ToolResult:
    """Make a result that tells the model what went wrong."""
    return ToolResult(content=[{"type": "text", "text": text}], is_error=True)
