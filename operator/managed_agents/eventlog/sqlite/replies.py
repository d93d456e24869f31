"""Answers that may be asked for again, as rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from managed_agents.eventlog.replies import Reply, ReplyKey
from managed_agents.eventlog.sqlite.rows import SELECT_EVENTS, event_from, key_for
from managed_agents.eventlog.sqlite.state import State

REPLIES_MAX = 100_000
"""Rows kept; beyond, those that end first go. At 5 sends a second a day's keys fit four times."""

_INSERT = "INSERT OR REPLACE INTO replies (key, digest, expires, status, body, sid, first, count) VALUES "


@dataclass(frozen=True, slots=True)
class Replies:
    """The table of replies within the open transaction."""

    state: State

    def keep(self, key: ReplyKey, status: int, body: bytes) -> None:
        """Keep an answer."""
        self.state.connection.execute(
            f"{_INSERT} (?, ?, ?, ?, ?, NULL, NULL, NULL)", (key.key, key.digest, key.expires, status, body)
        )

    def keep_events(self, key: ReplyKey, sid: int, first: int, count: int) -> None:
        """Keep which events a request appended."""
        self.state.connection.execute(
            f"{_INSERT} (?, ?, ?, 200, NULL, ?, ?, ?)", (key.key, key.digest, key.expires, sid, first, count)
        )

    def keep_session(self, key: ReplyKey, sid: int) -> None:
        """Keep which session a request made."""
        self.state.connection.execute(
            f"{_INSERT} (?, ?, ?, 200, NULL, ?, NULL, NULL)", (key.key, key.digest, key.expires, sid)
        )

    def get(self, key: bytes, now: float) -> Reply | None:
        """Return an answer that has not ended, and whose session lives."""
        row = self.state.connection.execute(
            "SELECT digest, status, body, sid, first, count FROM replies WHERE key = ? AND expires > ?", (key, now)
        ).fetchone()
        if row is None:
            return None
        digest, status, body, sid, first, count = row
        if body is not None:
            return Reply(digest=digest, status=status, body=body)
        owner = self.state.connection.execute("SELECT id FROM sessions WHERE sid = ?", (sid,)).fetchone()
        if owner is None:
            return None
        if first is None:
            return Reply(digest=digest, status=status, body=None, session=owner[0])
        query = f"{SELECT_EVENTS} WHERE key >= ? AND key < ? ORDER BY key"
        rows = self.state.connection.execute(query, (key_for(sid, first), key_for(sid, first + count)))
        return Reply(
            digest=digest, status=status, body=None, events=tuple(event_from(owner[0], found) for found in rows)
        )

    def drop(self, keys: Sequence[bytes], now: float) -> None:
        """Forget answers, those that have ended, and what is too many."""
        connection = self.state.connection
        connection.executemany("DELETE FROM replies WHERE key = ?", [(key,) for key in keys])
        connection.execute("DELETE FROM replies WHERE expires <= ?", (now,))
        connection.execute(
            "DELETE FROM replies WHERE key IN (SELECT key FROM replies ORDER BY expires DESC LIMIT -1 OFFSET ?)",
            (REPLIES_MAX,),
        )
