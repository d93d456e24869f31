"""Intents within the open transaction: added, bound to an object once, dropped or abandoned."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from managed_agents.contracts.errors import ConflictError
from managed_agents.eventlog.intents import Identity, Intent
from managed_agents.eventlog.records import Config, Session
from managed_agents.eventlog.replies import ReplyKey
from managed_agents.eventlog.sqlite.appending import Appender
from managed_agents.eventlog.sqlite.registry import Registry
from managed_agents.eventlog.sqlite.replies import Replies
from managed_agents.eventlog.sqlite.state import State
from managed_agents.eventlog.store import Admit, Append

_SELECT = "SELECT key, namespace, name, created_at, state, body FROM intents"


@dataclass(frozen=True, slots=True)
class Intents:
    """The sessions that are on their way."""

    state: State
    appender: Appender
    registry: Registry
    replies: Replies

    def add(self, intent: Intent) -> None:
        """Store an intent."""
        values = {"config": intent.config, "events": intent.events, "sender": intent.sender}
        body = orjson.dumps({**values, "reply": _reply_text(intent.reply)})
        self.state.connection.execute(
            "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?)",
            (intent.key, intent.namespace, intent.name, intent.created_at, intent.state, body),
        )

    def get(self, key: str) -> Intent | None:
        """Return an intent that is neither bound nor dropped."""
        row = self.state.connection.execute(f"{_SELECT} WHERE key = ?", (key,)).fetchone()
        return None if row is None else _intent(row)

    def all(self) -> list[Intent]:
        """Return every intent, oldest first."""
        return [_intent(row) for row in self.state.connection.execute(f"{_SELECT} ORDER BY created_at, key")]

    def bind(
        self, key: str, identity: Identity, changes: Config, admit: Callable[[str, Intent], Admit]
    ) -> Session | None:
        """Make the session of an intent, with its events, and drop the intent; null where there is none to bind.

        Raises: ConflictError for one that was abandoned, or whose session was deleted meanwhile.
        """
        intent = self.get(key)
        if intent is None:
            return None
        if intent.state == "abandoned":
            raise ConflictError(f"the creation of {intent.namespace}/{intent.name} failed; its object is to be removed")
        config = {
            **intent.config,
            **changes,
            "id": identity.id,
            "uid": identity.uid,
            "namespace": intent.namespace,
            "name": intent.name,
            "generation": identity.generation,
        }
        self.registry.put(config, lambda _, __: ())
        if intent.events:
            rules, once = admit(identity.id, intent), f"intent/{key}"
            self.appender.append(
                Append(session=identity.id, events=intent.events, key=once, admit=rules, sender=intent.sender)
            )
        self.drop(key)
        entry = self.state.entry(identity.id)
        if intent.reply is not None:
            self.replies.keep_session(intent.reply, entry.sid)
        return entry.session

    def drop(self, key: str) -> None:
        """Forget an intent; also one that is not there."""
        self.state.connection.execute("DELETE FROM intents WHERE key = ?", (key,))

    def abandon(self, key: str) -> None:
        """Keep an intent only as a reason to remove the object that may still appear."""
        self.state.connection.execute("UPDATE intents SET state = 'abandoned' WHERE key = ?", (key,))


def _intent(row: tuple[str, str, str, str, str, bytes]) -> Intent:
    key, namespace, name, created_at, state, body = row
    values = orjson.loads(body)
    return Intent(
        key=key,
        namespace=namespace,
        name=name,
        created_at=created_at,
        state="abandoned" if state == "abandoned" else "open",
        config=values["config"],
        events=tuple(values["events"]),
        sender=values["sender"],
        reply=_reply_from(values.get("reply")),
    )


def _reply_text(key: ReplyKey | None) -> list[Any] | None:
    return None if key is None else [key.key.hex(), key.digest.hex(), key.expires]


def _reply_from(text: list[Any] | None) -> ReplyKey | None:
    if text is None:
        return None
    key, digest, expires = text
    return ReplyKey(key=bytes.fromhex(key), digest=bytes.fromhex(digest), expires=expires)
