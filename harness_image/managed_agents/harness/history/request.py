"""The Messages API request of a session: a head that changes with its config only, and the conversation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from managed_agents.harness.history.conversation import CACHE_MARKER, Conversation
from managed_agents.harness.history.repair import Block
from managed_agents.harness.history.repositories import repository_hint
from managed_agents.harness.session import Session

_TOOLS = b',"tools":['
"""Where a head has tools. A string cannot hold these bytes: its quotes are escaped."""

_SANDBOX_HINT = (
    "You work in a sandbox of your own. Its working directory is /workspace. Files that were given to you are in "
    "/mnt/session/uploads (read-only). Put files that you want to deliver to the user in /mnt/session/outputs."
)
"""Extension of the system prompt where there is a sandbox (API reference §9); the hosted text is not published."""

_ADAPTIVE_THINKING = re.compile(r"^claude-(?:(?:opus|sonnet)-4-[6-9]|(?:opus|sonnet|fable|mythos|haiku)-[5-9])")
"""Models that decide themselves how long to think; for others the provider's default stands."""


def head_for(session: Session, *, max_tokens: int) -> bytes:
    """Encode all of a session's requests but the messages: an open JSON object, for `body_for` to close."""
    model = session.model
    head: dict[str, Any] = {"model": model["id"], "max_tokens": max_tokens, "stream": True}
    if _ADAPTIVE_THINKING.match(model["id"]):
        head["thinking"] = {"type": "adaptive"}
    effort = model.get("effort")
    if effort:
        head["output_config"] = {"effort": effort if isinstance(effort, str) else effort["type"]}
    if model.get("inference_geo"):
        head["inference_geo"] = model["inference_geo"]
    if model.get("speed") == "fast":
        head["speed"] = "fast"
    if system := _system_for(session):
        head["system"] = [{"type": "text", "text": system, "cache_control": CACHE_MARKER}]
    if tools := session.toolset.definitions:
        if "system" not in head:  # else the system's marker, which comes later in the prompt, covers them too
            tools[-1] |= {"cache_control": CACHE_MARKER}
        head["tools"] = tools
    return orjson.dumps(head)[:-1]


def head_without_tools(head: bytes) -> bytes:
    """Return a head under which the model calls no tool. The tools stay: the conversation refers to them."""
    return head + b',"tool_choice":{"type":"none"}' if _TOOLS in head else head


@dataclass(frozen=True, slots=True)
class Body:
    """An encoded request, in pieces to send one after the other. `bytes` joins them, which costs a copy."""

    pieces: tuple[bytes, ...]

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)


def body_for(head: bytes, conversation: Conversation, *, then: Sequence[Block] = ()) -> Body:
    """Put a head and a conversation together to a request body, without a copy of what is old and large in it."""
    pieces = conversation.messages(then)
    large, rest = pieces[: conversation.blocks], pieces[conversation.blocks :]
    opening = b'%b,"messages":[' % head
    if not large:
        return Body((b"".join([opening, *rest, b"]}"]),))
    return Body((opening, *large, b"".join([*rest, b"]}"])))


def _system_for(session: Session) -> str:
    has_sandbox = bool(session.toolset.policies)
    parts = [session.system or "", _SANDBOX_HINT if has_sandbox else ""]
    if has_sandbox:
        parts += [text for one in session.repositories if (text := repository_hint(one))]
    return "\n\n".join(part for part in parts if part.strip())
