"""What a log says about its session, as far as the harness acts upon it.

A `State` is a function of the events folded into it and of nothing else: two workers that read the same log hold equal
states. It is changed in place, an event at a time, so that a step of a long session costs no more than its first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from managed_agents.contracts.events import types
from managed_agents.contracts.usage import UsageTotals
from managed_agents.harness.history.conversation import Conversation

Event = Mapping[str, Any]
"""A logged event: the API's fields, `position`, and `internal` where the harness put one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A client's answer to a call whose policy is to ask. `message` is shown to the model when it was denied."""

    allowed: bool
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """A tool call that has no result yet.

    `permission` is what its policy said; `custom` calls have none and are run by the client. `problem` tells why a call
    cannot run at all. `position` is where it became runnable, `sandbox` the generation that the harness then held.
    `client` calls are run by a worker of the client (self-hosted environments), those with a `server` by an MCP server.
    """

    id: str
    name: str
    input: Mapping[str, Any]
    position: int
    permission: Literal["allow", "ask", "deny", "custom"]
    problem: str | None = None
    decision: Decision | None = None
    sandbox: int | None = None
    client: bool = False
    server: str | None = None

    @property
    def waits_for_client(self) -> bool:
        """Tell whether only a client can move this call: it must run it, or allow it."""
        if self.permission == "ask" and self.decision is None:
            return True
        is_denied = self.permission == "deny" or (self.decision is not None and not self.decision.allowed)
        return self.permission == "custom" or (self.client and not is_denied)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the last response ended, and so how its turn will."""

    stop_reason: Mapping[str, Any]
    stop_details: Mapping[str, Any] | None = None


END_TURN = Ending(stop_reason={"type": "end_turn"})


@dataclass(slots=True, kw_only=True)
class State:
    """The fold of a log. Positions are 0 for none.

    `inbox` holds client events that wait to be processed, oldest first, `loose` which system messages of them go with a
    tool result; `uses` the tool calls without result, in the
    order of the model; `span` the id of a model request without an end; `owes_answer` tells that the model has not
    seen all there is; `stirred` that something lies after the last idle event that wants an answer.

    `turns` counts how often the session went from idle to running.
    `updates` are values of the config that the log itself tells of, so that they count from their position on.
    `exhausted_at` is the position of the error that ends the turn: input from before it is flushed with the turn.
    `context_tokens` is the size of the conversation up to the last response; `overflowed` tells that the model found it
    too large. `compactions` counts those since the last response, `compaction_failures` the attempts that brought none.
    """

    head: int = 0
    ended: bool = False
    conversation: Conversation = field(default_factory=Conversation)
    inbox: dict[str, Event] = field(default_factory=dict)
    loose: set[str] = field(default_factory=set)
    last_type: str = ""
    uses: dict[str, ToolUse] = field(default_factory=dict)

    turn_open: bool = False
    turns: int = 0
    turn_opened_at: str = ""
    last_at: str = ""
    stirred: bool = False
    at_budget: bool = False
    updates: dict[str, Any] = field(default_factory=dict)
    ending: Ending = END_TURN

    span: str | None = None
    response: list[Event] = field(default_factory=list)
    owes_answer: bool = False
    context_tokens: int = 0
    overflowed: bool = False
    compactions: int = 0
    compaction_failures: int = 0

    rescheduled: bool = False
    retries: int = 0
    retry_seconds: float = 0.0
    abandoned: int = 0
    exhausted_at: int = 0
    rounds: int = 0
    truncations: int = 0

    sandbox: int | None = None
    usage: UsageTotals = field(default_factory=UsageTotals)
    closed_seconds: float = 0.0

    @property
    def messages(self) -> list[Event]:
        """Return the user messages that wait, and the system messages that go with them, oldest first."""
        return [event for event in self.inbox.values() if self._is_message(event)]

    @property
    def remarks(self) -> list[Event]:
        """Return the system messages that wait and go with a tool result: the next request takes them in."""
        return [event for event_id, event in self.inbox.items() if event_id in self.loose]

    @property
    def others(self) -> list[str]:
        """Return the ids of all that waits but messages: what going idle settles."""
        return [event_id for event_id, event in self.inbox.items() if not self._is_message(event)]

    @property
    def interrupted(self) -> bool:
        """Tell whether an interrupt waits."""
        return any(event["type"] == types.USER_INTERRUPT for event in self.inbox.values())

    def _is_message(self, event: Event) -> bool:
        if event["type"] == types.SYSTEM_MESSAGE:
            return event["id"] not in self.loose
        return bool(event["type"] == types.USER_MESSAGE)
