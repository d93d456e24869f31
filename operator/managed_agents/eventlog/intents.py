"""A session about to be made through the API: durable before its object, so that a crash leaves one or none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from managed_agents.eventlog.records import Config
from managed_agents.eventlog.replies import ReplyKey

IntentState = Literal["open", "abandoned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a session shall become once its object exists (design §3, "Doors").

    `key` is random and stands in the object's annotation, so that nobody can claim an intent who cannot read it.
    `config` is the session config without `id`, `uid` and `generation`; `events` are in the log's form. An `abandoned`
    intent was answered with an error: an object that appears late under its key must go. `reply` names the request that
    asked for the session: whoever binds the intent, a repeat of that request finds its session.
    """

    key: str
    namespace: str
    name: str
    created_at: str
    config: Config
    events: tuple[Mapping[str, Any], ...]
    sender: Mapping[str, Any]
    state: IntentState = "open"
    reply: ReplyKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What only the object's creation could tell."""

    id: str
    uid: str
    generation: int
