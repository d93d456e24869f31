"""Answers that may be asked for again: what a request led to, kept in the commit that it led to or right after."""

from dataclasses import dataclass

from managed_agents.eventlog.records import LoggedEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyKey:
    """Which request an answer is kept for. `key` is a digest of who asked for what, `digest` one of the body.

    `expires` is seconds since 1970: from then on the request is a new one.
    """

    key: bytes
    digest: bytes
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A kept answer: `body`, or where that is null the session that the request made, or the events it appended."""

    digest: bytes
    status: int
    body: bytes | None
    events: tuple[LoggedEvent, ...] = ()
    session: str | None = None
