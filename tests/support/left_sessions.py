"""The sessions that a test leaves on a server, each held to the ordering contract (API reference §5.7) over the API.

A session whose events may not be read yet is told apart from a breach; `docs/sessions.md` §2 names those answers.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from anthropic import Anthropic, APIStatusError

from support.ordering import Event, violations

PAGE_EVENTS = 1000
PAGE_SESSIONS = 100
WITHOUT_EVENTS = (
    (404, "not_found_error", " not found"),  # deleted since it was listed
    (400, "invalid_request_error", " is not accepted: "),  # its user must act: the condition's message follows
    (503, "api_error", " was applied just now and takes events in a moment"),
)
"""Status, type and first words after `session ID` of the answers about a session that has no log to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """One session as it was left: its breaches, or why it has no events to read."""

    session: str
    breaches: tuple[str, ...] = ()
    without_events: str | None = None


def newest_session(client: Anthropic) -> datetime | None:
    """Return when the newest session of the client's namespace was made, by the server's clock."""
    for session in client.beta.sessions.list(limit=1, order="desc", include_archived=True):
        return session.created_at
    return None


def left_sessions(client: Anthropic, since: datetime | None = None) -> Iterator[Left]:
    """Check each session of the client's namespace that was made after `since`, newest first; all without it.

    Raises: APIStatusError for an answer that is none of `WITHOUT_EVENTS`.
    """
    for session in client.beta.sessions.list(limit=PAGE_SESSIONS, order="desc", include_archived=True):
        if since is not None and session.created_at <= since:
            return
        yield left_session(client, session.id)


def left_session(client: Anthropic, session: str) -> Left:
    """Check one session; where it still works, what it did so far. Raises: as `left_sessions`."""
    try:
        events = recorded(client, session)
        is_at_rest = _is_at_rest(client, session, len(events))
    except APIStatusError as refusal:
        text = _why_without_events(refusal, session)
        if text is None:
            raise
        return Left(session=session, without_events=text)
    return Left(session=session, breaches=tuple(violations(events, at_rest=is_at_rest)))


def require_order(client: Anthropic, since: datetime | None = None) -> None:
    """Fail with every breach of the sessions made after `since`."""
    found = [f"{left.session}: {breach}" for left in left_sessions(client, since) for breach in left.breaches]
    assert not found, "the ordering contract is broken\n" + "\n".join(found)


def recorded(client: Anthropic, session: str) -> list[Event]:
    """Return all events of a session, byte for byte as the API shows them: a model of the SDK rewrites times."""
    events: list[Event] = []
    page: str | None = None
    while True:
        answer = _raw_page(client, session, **({} if page is None else {"page": page}))
        events += answer["data"]
        page = answer["next_page"]
        if page is None:
            return events


def _is_at_rest(client: Anthropic, session: str, head: int) -> bool:
    """Tell whether the session rested while its log ended at `head`: only then nothing may be left undone."""
    status = client.beta.sessions.retrieve(session).status
    if status not in ("idle", "terminated"):
        return False
    newest = _raw_page(client, session, order="desc", limit=1)["data"]
    return (newest[0]["position"] if newest else 0) == head


def _raw_page(client: Anthropic, session: str, **query: Any) -> Any:
    once = client.with_options(max_retries=0)  # what cannot be read yet is told, not waited for
    listed = once.beta.sessions.events.with_raw_response.list(session, **{"limit": PAGE_EVENTS, **query})
    return json.loads(listed.text())


def _why_without_events(refusal: APIStatusError, session: str) -> str | None:
    error = refusal.body.get("error") if isinstance(refusal.body, dict) else None
    kind, text = (error or {}).get("type"), str((error or {}).get("message"))
    for status, expected, words in WITHOUT_EVENTS:
        if (refusal.status_code, kind) == (status, expected) and text.startswith(f"session {session}{words}"):
            return text
    return None
