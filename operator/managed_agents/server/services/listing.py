"""What a list of events may be asked for, how it is read, and the cursors that page through it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from managed_agents.contracts.errors import RejectedError
from managed_agents.eventlog.records import SLICE_BYTES_MAX, LoggedEvent, Slice
from managed_agents.eventlog.store import EventLog
from managed_agents.server.services.cursors import cursor_at, position_of
from managed_agents.server.services.query import CREATED_AT, grouped, parse_choice, parse_created, parse_number

LIMIT_MAX = 1000
"""Also the default (API reference §3)."""

POSITION_MAX = (1 << 32) - 1

SCAN_EVENTS = 5000
"""Positions that one read looks through for a filter, so that a rare type in a long log holds up no writer."""

Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list. `scope` and `order` are what its cursor is bound to; `around` is a position to centre on."""

    session_id: str
    scope: str
    order: Order
    slice: Slice
    around: int | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """The events of a page, and the cursor of the next one; null at the end."""

    events: Sequence[LoggedEvent]
    cursor: str | None


def parse_page(session_id: str, query: Iterable[tuple[str, str]], secret: bytes, known_types: frozenset[str]) -> Page:
    """Read the query of a session's list. Raises: RejectedError with the parameter at fault."""
    values = grouped(query)
    single = {name: items[-1] for name, items in values.items()}
    order: Order = "desc" if parse_choice("order", single.get("order", "asc"), ("asc", "desc")) == "desc" else "asc"
    wanted = Slice(
        after=parse_number("after_position", single.get("after_position"), 0, POSITION_MAX) or 0,
        before=parse_number("before_position", single.get("before_position"), 0, POSITION_MAX),
        limit=parse_number("limit", single.get("limit"), 1, LIMIT_MAX) or LIMIT_MAX,
        backwards=order == "desc",
        types=_types(values.get("types", []), known_types),
        processed=parse_created(single),
    )
    around = parse_number("around_position", single.get("around_position"), 1, POSITION_MAX)
    _require_alone(around, single)
    page = Page(session_id=session_id, scope=session_id, order=order, slice=wanted, around=around)
    return _resumed(page, single, secret)


def parse_thread_page(session_id: str, thread_id: str, query: Iterable[tuple[str, str]], secret: bytes) -> Page:
    """Read the query of a thread's list, which has no filters and no order. Raises: RejectedError."""
    single = {name: items[-1] for name, items in grouped(query).items()}
    refused = sorted(set(single) & {"types", "order", "after_position", "before_position", "around_position"})
    refused += sorted(set(single) & CREATED_AT)
    if refused:
        raise RejectedError(
            f"{refused[0]}: a thread's list takes limit and page only; the session's list has filters",
            field=refused[0],
        )
    limit = parse_number("limit", single.get("limit"), 1, LIMIT_MAX) or LIMIT_MAX
    scope = f"{session_id}/{thread_id}"
    return _resumed(Page(session_id=session_id, scope=scope, order="asc", slice=Slice(limit=limit)), single, secret)


async def read_page(log: EventLog, page: Page, head: int, secret: bytes) -> Listed:
    """Read a page of a log that reaches to `head`. Raises: RejectedError; as `EventLog.read`."""
    if page.around is not None:
        return Listed(await _read_around(log, page, page.around, head), None)
    events = await _read(log, page.session_id, replace(page.slice, limit=page.slice.limit + 1), head)
    shown = events[: page.slice.limit]
    more = len(events) > len(shown) or sum(len(event.body) for event in shown) > SLICE_BYTES_MAX
    if not more or not shown:
        return Listed(shown, None)
    return Listed(shown, cursor_at(page.scope, page.order, shown[-1].position, secret))


async def _read_around(log: EventLog, page: Page, around: int, head: int) -> Sequence[LoggedEvent]:
    """Return what led to a position (half of the limit) and what came from there on, in the page's order."""
    if around > head:
        raise RejectedError(
            f"around_position: the last position of this session is {head}, found {around}", field="around_position"
        )
    before = page.slice.limit // 2
    led = replace(page.slice, before=around, backwards=True, limit=before)
    earlier = await _read(log, page.session_id, led, head) if before else []
    from_there = replace(page.slice, after=around - 1, backwards=False, limit=page.slice.limit - before)
    later = await _read(log, page.session_id, from_there, head)
    return [*later[::-1], *earlier] if page.order == "desc" else [*earlier[::-1], *later]


async def _read(log: EventLog, session_id: str, wanted: Slice, head: int) -> list[LoggedEvent]:
    """Read a slice, with a filter in bounded pieces. It may end early where its bytes exceed a bound."""
    if not wanted.types and not wanted.processed:
        return list(await log.read(session_id, wanted))
    found: list[LoggedEvent] = []
    low, high = wanted.after, head + 1 if wanted.before is None else min(wanted.before, head + 1)
    while low + 1 < high and len(found) < wanted.limit and sum(len(event.body) for event in found) <= SLICE_BYTES_MAX:
        after, before = _window(low, high, backwards=wanted.backwards)
        piece = replace(wanted, after=after, before=before, limit=wanted.limit - len(found))
        found += await log.read(session_id, piece)
        low, high = (low, after + 1) if wanted.backwards else (before - 1, high)
    return found


def _window(low: int, high: int, *, backwards: bool) -> tuple[int, int]:
    """Return the next bounds, both exclusive, to look through between two."""
    if backwards:
        return max(low, high - 1 - SCAN_EVENTS), high
    return low, min(high, low + 1 + SCAN_EVENTS)


def _resumed(page: Page, single: Mapping[str, str], secret: bytes) -> Page:
    if "page" not in single:
        return page
    position = position_of(single["page"], page.scope, page.order, secret)
    if page.order == "asc":
        return replace(page, slice=replace(page.slice, after=max(page.slice.after, position)))
    before = position if page.slice.before is None else min(page.slice.before, position)
    return replace(page, slice=replace(page.slice, before=before))


def _require_alone(around: int | None, single: Mapping[str, str]) -> None:
    for other in ("after_position", "before_position", "page"):
        if around is not None and other in single:
            raise RejectedError(
                f"{other}: cannot be combined with around_position, which gives one window; leave one of them out",
                field=other,
            )


def _types(values: Sequence[str], known: frozenset[str]) -> tuple[str, ...]:
    for value in values:
        if value not in known:
            raise RejectedError(f"types: {value!r} is no event type that a list can hold", field="types")
    return tuple(dict.fromkeys(values))
