"""A model's response, put together from its stream: pure, one stream event at a time.

Each block gets the id of the event it will become as soon as it starts, so that previews and log agree. Stream events
are those of the Messages API, as dictionaries.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from managed_agents.contracts.events import types

BAD_INPUT = "The input of this call was not a JSON object, so it did not run. Please call the tool again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text block, never empty, with the search results that it cites, as they are to be sent back."""

    id: str
    text: str
    citations: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """A `thinking` or `redacted_thinking` block, whole, to be sent back as it is."""

    id: str
    block: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call. `problem` tells why its input cannot be used; the input is then empty."""

    id: str
    name: str
    input: Mapping[str, Any]
    problem: str | None = None


Part = Text | Thinking | Call

CUT_STOPS = frozenset({"max_tokens", "model_context_window_exceeded"})
"""Stop reasons of a response that a limit cut off: its last block may be incomplete."""

_CITATION = ("type", "cited_text", "source", "title", "search_result_index", "start_block_index", "end_block_index")
"""What the Messages API takes back of the citation of a search result."""

Usage = dict[str, int]
_EXTRAS = ("cache_creation", "server_tool_use", "speed")
"""What a provider may tell besides; `speed` is the tier at which the response was made."""

_COUNTERS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@dataclass(slots=True, kw_only=True)
class _Block:
    """A block that is still growing: its start, and the pieces of the field that its deltas extend."""

    id: str
    start: dict[str, Any]
    pieces: list[str] = field(default_factory=list)
    citations: list[Mapping[str, Any]] = field(default_factory=list)
    previewed: bool = False
    closed: bool = False


class Reply:
    """A response as far as it has arrived. It counts only once it is `complete`; its `usage` counts always."""

    def __init__(self, new_id: Callable[[], str], call_begins: Callable[[str], None] = lambda _: None) -> None:
        """`call_begins` is told the name of each tool whose call begins; its input is still to come."""
        self._new_id = new_id
        self._call_begins = call_begins
        self._blocks: dict[int, _Block] = {}
        self._extras: dict[str, Any] = {}
        self._usage: Usage = dict.fromkeys(_COUNTERS, 0)
        self.complete = False
        self.stop_reason = "end_turn"
        self.stop_details: Mapping[str, Any] | None = None

    def feed(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Take in one stream event and return the previews that it gives rise to; unknown types give none."""
        match event["type"]:
            case "message_start":
                self._count(event["message"].get("usage") or {})
            case "content_block_start":
                return self._start(event["index"], event["content_block"])
            case "content_block_delta":
                return self._extend(self._blocks[event["index"]], event["delta"])
            case "content_block_stop":
                self._blocks[event["index"]].closed = True
            case "message_delta":
                self.stop_reason = event["delta"].get("stop_reason") or self.stop_reason
                self.stop_details = _details_of(event["delta"]) or self.stop_details
                self._count(event.get("usage") or {})
            case "message_stop":
                self.complete = True
        return []

    @property
    def usage(self) -> dict[str, Any]:
        """Return the tokens that the provider has counted so far."""
        return {**self._usage, **self._extras}

    @property
    def parts(self) -> list[Part]:
        """Return the blocks, in order, without what a limit cut off, text apart, and without refused calls."""
        parts = [part for part in map(_part, self._blocks.values()) if part is not None]
        if self.stop_reason == "refusal":
            return [part for part in parts if not isinstance(part, Call)]
        if self.stop_reason in CUT_STOPS and parts and not isinstance(parts[-1], Text):
            parts.pop()
        return parts

    @property
    def text(self) -> str:
        """Return what the model said, all text blocks together."""
        return "\n\n".join(part.text for part in self.parts if isinstance(part, Text))

    def _count(self, usage: Mapping[str, Any]) -> None:
        for counter in _COUNTERS:
            if usage.get(counter) is not None:
                self._usage[counter] = usage[counter]
        self._extras |= {name: usage[name] for name in _EXTRAS if usage.get(name) is not None}

    def _start(self, index: int, start: dict[str, Any]) -> list[dict[str, Any]]:
        block = self._blocks[index] = _Block(id=self._new_id(), start=start)
        match start["type"]:
            case "thinking" | "redacted_thinking":
                return [_preview(types.AGENT_THINKING, block.id)]
            case "text" if start.get("text"):
                return self._text(block, start["text"])
            case "tool_use":
                self._call_begins(str(start["name"]))
        return []

    def _extend(self, block: _Block, delta: Mapping[str, Any]) -> list[dict[str, Any]]:
        match delta["type"]:
            case "text_delta":
                return self._text(block, delta["text"])
            case "input_json_delta":
                block.pieces.append(delta["partial_json"])
            case "thinking_delta":
                block.pieces.append(delta["thinking"])
            case "citations_delta" if delta["citation"].get("type") == "search_result_location":
                citation = delta["citation"]
                block.citations.append({key: citation[key] for key in _CITATION if key in citation})
            case "signature_delta":
                block.start["signature"] = delta["signature"]
        return []

    def _text(self, block: _Block, text: str) -> list[dict[str, Any]]:
        if not text:
            return []
        text = _clean(text)
        block.pieces.append(text)
        content = {"type": "content_delta", "index": 0, "content": {"type": "text", "text": text}}
        delta = {"type": types.EVENT_DELTA, "event_id": block.id, "delta": content}
        if block.previewed:
            return [delta]
        block.previewed = True
        return [_preview(types.AGENT_MESSAGE, block.id), delta]


def _details_of(delta: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the API shows of a refusal, also where the provider explains nothing."""
    if delta.get("stop_reason") != "refusal":
        return None
    details = delta.get("stop_details") or {}
    return {"type": "refusal", "category": details.get("category"), "explanation": details.get("explanation")}


def _preview(event_type: str, event_id: str) -> dict[str, Any]:
    return {"type": types.EVENT_START, "event": {"type": event_type, "id": event_id}}


def _part(block: _Block) -> Part | None:
    grown = "".join(block.pieces)
    match block.start["type"]:
        case "text":
            return Text(id=block.id, text=grown, citations=tuple(block.citations)) if grown else None
        case "thinking":
            thinking = _clean(block.start.get("thinking", "") + grown)
            return Thinking(id=block.id, block=block.start | {"thinking": thinking})
        case "redacted_thinking":
            return Thinking(id=block.id, block=block.start)
        case "tool_use":
            return _call(block, grown)
        case _:
            return None


def _call(block: _Block, grown: str) -> Call:
    name = str(block.start["name"])
    try:
        value = orjson.loads(grown) if grown else block.start.get("input") or {}
    except orjson.JSONDecodeError:
        value = None
    if not block.closed or not isinstance(value, dict):
        return Call(id=block.id, name=name, input={}, problem=BAD_INPUT)
    return Call(id=block.id, name=name, input=value)


def _clean(text: str) -> str:
    """Replace half surrogate pairs, which no UTF-8 text may hold, so that what is logged can be sent again."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
