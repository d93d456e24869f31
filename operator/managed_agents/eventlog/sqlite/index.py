"""The index behind lists of sessions: one narrow row each, written only when what a list filters by changes."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

import apsw
import orjson

from managed_agents.contracts.clock import parse_rfc3339, rfc3339
from managed_agents.eventlog.queries import SessionQuery, SessionRecord
from managed_agents.eventlog.records import Config, Session
from managed_agents.eventlog.sqlite.state import Entry, State

_SELECT = "SELECT id, created_at, updated_at, archived_at FROM session_index"


def add(connection: apsw.Connection, entry: Entry, config: Config) -> None:
    """Index a new session."""
    session, agent = entry.session, config.get("agent") or {}
    connection.execute(
        "INSERT OR REPLACE INTO session_index VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        (
            entry.sid,
            session.id,
            session.namespace,
            _created_at(config, session),
            agent.get("id"),
            agent.get("version"),
            session.shown_status,
            session.created_at,
        ),
    )


def reconfigure(connection: apsw.Connection, entry: Entry, config: Config, at: str) -> None:
    """Index a new config of a session."""
    agent = config.get("agent") or {}
    connection.execute(
        "UPDATE session_index SET agent_id = ?, agent_version = ?, updated_at = ? WHERE sid = ?",
        (agent.get("id"), agent.get("version"), at, entry.sid),
    )


def archive(connection: apsw.Connection, entry: Entry, at: str) -> None:
    """Note when a session was archived; the first time counts."""
    connection.execute(
        "UPDATE session_index SET archived_at = ?, updated_at = ? WHERE sid = ? AND archived_at IS NULL",
        (at, at, entry.sid),
    )


def backfill(state: State) -> None:
    """Index the sessions of a log that was made before this index."""
    connection = state.connection
    query = "SELECT id FROM sessions WHERE sid NOT IN (SELECT sid FROM session_index)"
    missing = [str(row[0]) for row in connection.execute(query)]
    with connection:
        for session_id in missing:
            entry = state.entry(session_id)
            config = connection.execute("SELECT config FROM configs WHERE sid = ?", (entry.sid,)).get
            add(connection, entry, orjson.loads(config))
            if entry.session.projection.status == "terminated":
                archive(connection, entry, entry.session.projection.status_since)


def record(state: State, session_id: str) -> SessionRecord:
    """Return one session. Raises: NotFoundError."""
    sid = state.entry(session_id).sid
    row = state.connection.execute(f"{_SELECT} WHERE sid = ?", (sid,)).fetchall()
    return _record(state, row[0])


def find(state: State, query: SessionQuery) -> Sequence[SessionRecord]:
    """Return the sessions that a list wants, in its order: one scan of the index."""
    terms, bindings = _terms(query)
    direction = "DESC" if query.backwards else "ASC"
    rows = state.connection.execute(
        f"{_SELECT} WHERE {' AND '.join(terms)} ORDER BY created_at {direction}, id {direction} LIMIT ?",
        [*bindings, query.limit],
    ).fetchall()
    return [_record(state, row) for row in rows]


def _terms(query: SessionQuery) -> tuple[list[str], list[Any]]:
    terms, bindings = ["namespace = ?"], [query.namespace]
    values: list[Any] = bindings
    if query.beyond is not None:
        terms.append(f"(created_at, id) {'<' if query.backwards else '>'} (?, ?)")
        values += query.beyond
    for comparison, moment in query.created:
        terms.append(f"created_at {comparison} ?")
        values.append(moment)
    if query.agent_id is not None:
        terms.append("agent_id = ?")
        values.append(query.agent_id)
    if query.agent_version is not None:
        terms.append("agent_version = ?")
        values.append(query.agent_version)
    if query.statuses:
        terms.append(f"status IN ({','.join('?' * len(query.statuses))})")
        values += query.statuses
    if not query.include_archived:
        terms.append("archived_at IS NULL")
    return terms, values


def _record(state: State, row: tuple[Any, ...]) -> SessionRecord:
    session_id, created_at, updated_at, archived_at = row
    entry = state.entry(session_id)
    config = state.connection.execute("SELECT config FROM configs WHERE sid = ?", (entry.sid,)).get
    return SessionRecord(
        session=entry.session,
        config=orjson.loads(config),
        created_at=created_at,
        updated_at=max(updated_at, entry.session.projection.last_at),
        archived_at=archived_at,
    )


def _created_at(config: Config, session: Session) -> str:
    """Return the creation time in the form that sorts as text."""
    moment = parse_rfc3339(config.get("created_at") or session.created_at)
    return rfc3339(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
