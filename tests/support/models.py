"""A scripted model: which answer comes next follows from the request alone, and a malformed request fails the test."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from managed_agents.contracts import causes
from managed_agents.harness.history.request import Body
from managed_agents.harness.model import Preview
from managed_agents.harness.reply import Reply
from managed_agents.harness.retry import ModelFailureError
from managed_agents.simulator.validation import validated
from support.platform import Gate, open_gate

Block = Mapping[str, Any]


def text(value: str) -> Block:
    return {"type": "text", "text": value}


def cited(value: str, *citations: Mapping[str, Any]) -> Block:
    return {"type": "text", "text": value, "cited": citations}


def tool(name: str, **values: Any) -> Block:
    return {"type": "tool_use", "name": name, "input": values}


def thinking(value: str, signature: str = "") -> Block:
    return {"type": "thinking", "thinking": value, "signature": signature}


class Answer:
    """One response: its blocks and how it ends. `cut` ends the stream before message_stop, `usage` is added."""

    def __init__(
        self,
        *blocks: Block,
        stop_reason: str | None = None,
        cut: bool = False,
        details: Any = None,
        usage: Mapping[str, Any] | None = None,
    ) -> None:
        uses_tools = any(block["type"] == "tool_use" for block in blocks)
        self.blocks = blocks
        self.stop_reason = stop_reason or ("tool_use" if uses_tools else "end_turn")
        self.cut = cut
        self.details = details
        self.usage = dict(usage or {})

    def events(self) -> list[dict[str, Any]]:
        usage = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": {"usage": usage | self.usage}}]
        for index, block in enumerate(self.blocks):
            events += _block_events(index, block)
        if self.cut:
            return events
        delta = {"stop_reason": self.stop_reason, "stop_details": self.details}
        return [
            *events,
            {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}},
            {"type": "message_stop"},
        ]


def _block_events(index: int, block: Block) -> list[dict[str, Any]]:
    start, deltas = dict(block), []
    match block["type"]:
        case "text":
            start["text"] = ""
            half = len(block["text"]) // 2
            deltas = [{"type": "text_delta", "text": piece} for piece in (block["text"][:half], block["text"][half:])]
            deltas += [{"type": "citations_delta", "citation": {**one, "more": 1}} for one in start.pop("cited", ())]
        case "tool_use":
            start |= {"id": f"toolu_{index}", "input": {}}
            encoded = block.get("raw") or orjson.dumps(block["input"]).decode()
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in (encoded[:3], encoded[3:])]
        case "thinking":
            start |= {"thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
    events: list[dict[str, Any]] = [{"type": "content_block_start", "index": index, "content_block": start}]
    events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [*events, {"type": "content_block_stop", "index": index}]


class ScriptedModel:
    """Answers the n-th response of a conversation with the n-th answer of the script, then with a last word.

    `failures` are raised first, one a request, before the answer whose index is their key.
    """

    def __init__(
        self, answers: Sequence[Answer], failures: Mapping[int, Sequence[ModelFailureError]] | None = None
    ) -> None:
        self.answers = list(answers)
        self.failures = {index: list(errors) for index, errors in (failures or {}).items()}
        self.requests: list[bytes] = []
        self.last_word = Answer(text("Done."))

    def bodies(self) -> list[dict[str, Any]]:
        return [orjson.loads(body) for body in self.requests]

    def connect(self, gate: Gate = open_gate) -> "ModelConnection":
        return ModelConnection(self, gate)

    def index_of(self, body: Mapping[str, Any]) -> int:
        return sum(message["role"] == "assistant" for message in body["messages"])


class ModelConnection:
    """The scripted model as one worker reaches it."""

    def __init__(self, model: ScriptedModel, gate: Gate) -> None:
        self._model = model
        self._gate = gate

    async def stream(self, body: Body, reply: Reply, preview: Preview) -> None:
        await self._gate("before request")
        model, request = self._model, orjson.loads(bytes(body))
        validated(request)
        model.requests.append(bytes(body))
        index = model.index_of(request)
        if model.failures.get(index):
            raise model.failures[index].pop(0)
        answer = model.answers[index] if index < len(model.answers) else model.last_word
        for event in answer.events():
            await self._gate(f"stream {event['type']}")
            for shown in reply.feed(event):
                await preview(shown)
        if not reply.complete:
            raise ModelFailureError(cause=causes.MODEL_UNREACHABLE, message="cut")
