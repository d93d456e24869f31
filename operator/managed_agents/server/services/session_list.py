"""Lists of sessions: the query, cursors in both directions, and one order over the log and what is only applied yet.

A cursor names a place between sessions, the order and the direction; it is signed, and good for one namespace only.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from managed_agents.contracts.errors import RejectedError
from managed_agents.eventlog.queries import Place, SessionQuery, SessionRecord
from managed_agents.eventlog.store import EventLog
from managed_agents.server.services.cursors import cursor_of, place_of, require_order
from managed_agents.server.services.pending_sessions import PendingSessions
from managed_agents.server.services.query import (
    grouped,
    parse_choice,
    parse_created,
    parse_flag,
    parse_number,
)

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
"""The hosted bounds are unknown; a session may carry 100 KB of instructions."""

STATUSES = ("rescheduling", "running", "idle", "terminated")
Direction = Literal["next", "prev"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list. `query` is in reading order, which a step back turns around; `is_empty` by its filters."""

    query: SessionQuery
    order: Literal["asc", "desc"]
    direction: Direction | None
    is_empty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The sessions of a page and the cursors of its neighbours, null where there are none."""

    records: Sequence[SessionRecord]
    next_page: str | None
    prev_page: str | None


def parse_page(namespace: str, query: Iterable[tuple[str, str]], secret: bytes) -> Page:
    """Read the query of a list request. Raises: RejectedError with the parameter at fault."""
    values = grouped(query)
    single = {name: items[-1] for name, items in values.items()}
    statuses = [parse_choice("statuses", value, STATUSES) for value in values.get("statuses", [])]
    order = parse_choice("order", single.get("order") or "desc", ("asc", "desc"))
    wanted = SessionQuery(
        namespace=namespace,
        limit=parse_number("limit", single.get("limit"), 1, LIMIT_MAX) or LIMIT_DEFAULT,
        backwards=order == "desc",
        created=parse_created(single),
        agent_id=single.get("agent_id"),
        agent_version=parse_number("agent_version", single.get("agent_version"), 1, 2**31 - 1),
        statuses=tuple(dict.fromkeys(statuses)),
        include_archived=parse_flag("include_archived", single.get("include_archived")),
    )
    if wanted.agent_version is not None and wanted.agent_id is None:
        wanted = replace(wanted, agent_version=None)  # applies only with agent_id (API reference §3.3)
    page = Page(
        query=wanted,
        order="desc" if order == "desc" else "asc",
        direction=None,
        is_empty=bool(single.get("deployment_id") or single.get("memory_store_id")),
    )
    return _resumed(page, single["page"], secret) if single.get("page") else page


async def list_sessions(log: EventLog, pending: PendingSessions, page: Page) -> Listed:
    """Return a page: one scan of the log's index, merged with what only the cluster has."""
    if page.is_empty:
        return Listed(records=(), next_page=None, prev_page=None)
    query = replace(page.query, limit=page.query.limit + 1)
    found = {record.session.id: record for record in (*pending.find(query), *await log.find(query))}
    records = sorted(found.values(), key=lambda record: record.place, reverse=query.backwards)
    more, shown = len(records) > page.query.limit, records[: page.query.limit]
    if page.direction == "prev":
        shown.reverse()
    before = more if page.direction == "prev" else page.direction == "next"
    after = more if page.direction != "prev" else True
    secret, namespace = log.secret, page.query.namespace
    return Listed(
        records=shown,
        next_page=_cursor(namespace, page.order, "next", shown[-1].place, secret) if shown and after else None,
        prev_page=_cursor(namespace, page.order, "prev", shown[0].place, secret) if shown and before else None,
    )


def _scope(namespace: str) -> str:
    return f"sessions\n{namespace}"


def _cursor(namespace: str, order: str, direction: Direction, place: Place, secret: bytes) -> str:
    text = json.dumps([order, direction, *place], separators=(",", ":"))
    return cursor_of(_scope(namespace), text, secret)


def _resumed(page: Page, cursor: str, secret: bytes) -> Page:
    place = place_of(cursor, _scope(page.query.namespace), secret)
    order, direction, created_at, session_id = json.loads(place)
    require_order(order, page.order)
    _require_within(created_at, page.query)
    is_back = direction == "prev"
    query = replace(page.query, beyond=(created_at, session_id), backwards=page.query.backwards != is_back)
    return replace(page, query=query, direction="prev" if is_back else "next")


def _require_within(created_at: str, query: SessionQuery) -> None:
    """Refuse a filter that excludes the cursor's own place (API reference §2.3). Raises: RejectedError."""
    for comparison, moment in query.created:
        fits = {">": created_at > moment, ">=": created_at >= moment, "<": created_at < moment}
        if not fits.get(comparison, created_at <= moment):
            text = f"page: this cursor stands at {created_at}, which created_at {comparison} {moment} excludes"
            raise RejectedError(text, field="page")
