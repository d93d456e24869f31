"""Compaction: when a conversation nears the end of the model's window, and what is kept of it. Pure.

The log is untouched. What a policy decides is recorded with `agent.thread_context_compacted`, so a session goes on with
the same conversation whoever reads its log, also after its policy was exchanged.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import orjson

from managed_agents.harness.history.conversation import Context, Conversation
from managed_agents.harness.history.repair import Block
from managed_agents.harness.history.request import Body, body_for, head_without_tools
from managed_agents.harness.history.state import State

CHARS_PER_TOKEN = 4
IMAGE_TOKENS = 2_000
"""An image costs about this, whatever its bytes (it is scaled down)."""

PDF_CHARS_PER_TOKEN = 30
"""Bytes of an encoded PDF, of which most is not text."""

KEPT_RESULT_CHARS = 20_000
"""A tool result that stays in the conversation is cut to this many characters: its beginning and its end."""

EXCERPT_CHARS = 2_000
UNKNOWN_WINDOW_TOKENS = 200_000

_INSTRUCTION = """\
The conversation is about to exceed your context window. Write a summary that will replace all of it but the last \
exchange. You will go on with the work from this summary alone, so keep what that takes: what the user asked for, in \
their words where wording matters; decisions and their reasons; facts learned, with file names, commands, identifiers \
and values exactly; what is done, what is open, and what comes next. Do not call tools; answer with the summary only."""

_FRAME = "[The conversation so far was compacted. This is your summary of it:]\n\n{}\n\n[The conversation goes on.]"


class CompactionPolicy(Protocol):
    """Decides when a conversation is compacted and what remains. `name` selects it in the settings."""

    @property
    def name(self) -> str:
        """Return the policy's name."""
        ...

    def is_due(self, state: State, *, window_tokens: int | None) -> bool:
        """Tell whether to compact before the next request; the window may be unknown."""
        ...

    def body_for(self, head: bytes, state: State, *, window_tokens: int | None) -> Body:
        """Return the body of the request whose answer `context_for` works with."""
        ...

    def context_for(self, conversation: Conversation, answer: str) -> Context:
        """Return what remains of a conversation."""
        ...


class Summarize:
    """Lets the model summarise all but the last exchange, once the window is full to `fill`."""

    name = "summarize"

    def __init__(self, *, fill: float = 0.8) -> None:
        self._fill = fill

    def is_due(self, state: State, *, window_tokens: int | None) -> bool:
        """Tell whether the model found the conversation too large, or is about to."""
        if state.overflowed:
            return True
        if window_tokens is None or state.conversation.is_fresh:
            return False
        return state.context_tokens + tokens_of(state.conversation.open_blocks()) >= window_tokens * self._fill

    def body_for(self, head: bytes, state: State, *, window_tokens: int | None) -> Body:
        """Ask for a summary: of the conversation as it is, which is cached, or of an excerpt if that was too large."""
        head = head_without_tools(head)
        instruction = {"type": "text", "text": _INSTRUCTION}
        if not state.compaction_failures:
            return body_for(head, state.conversation, then=[instruction])
        chars = (window_tokens or UNKNOWN_WINDOW_TOKENS) * CHARS_PER_TOKEN // 2**state.compaction_failures
        excerpt = Conversation()
        text = _cut("\n\n".join(_lines_of(state.conversation.transcript())), chars)
        excerpt.say([{"type": "text", "text": f"<conversation>\n{text}\n</conversation>"}, instruction])
        return body_for(head, excerpt)

    def context_for(self, conversation: Conversation, answer: str) -> Context:
        """Keep the summary, the last exchange with its results cut, and all system turns."""
        kept = conversation.context()
        results = [
            result | {"content": [_shortened(block) for block in result["content"]]} for result in kept["results"]
        ]
        return {**kept, "summary": [{"type": "text", "text": _FRAME.format(answer)}], "results": results}


def policy_for(name: str, *, fill: float) -> CompactionPolicy:
    """Return the policy of that name. Raises: ValueError naming those that exist."""
    make = _POLICIES.get(name)
    if make is None:
        raise ValueError(f"compaction_policy: found {name!r}, allowed is one of {', '.join(_POLICIES)}")
    return make(fill=fill)


def tokens_of(blocks: Iterable[Block]) -> int:
    """Estimate the tokens of blocks that no provider has counted yet."""
    return sum(map(_tokens, blocks))


def context_tokens(context: Context) -> int:
    """Estimate the tokens that the model has seen of what a compaction leaves; what it has not is still open."""
    return tokens_of([*context["summary"], *context["response"]]) if context["response"] else 0


def _tokens(block: Block) -> int:
    match block["type"]:
        case "text":
            return len(block["text"]) // CHARS_PER_TOKEN + 1
        case "tool_result":
            return tokens_of(block["content"])
        case "image":
            return IMAGE_TOKENS
        case "document":
            source = block.get("source") or {}
            per_token = PDF_CHARS_PER_TOKEN if source.get("type") == "base64" else CHARS_PER_TOKEN
            return len(source.get("data") or "") // per_token + 1
        case _:
            return len(orjson.dumps(block)) // CHARS_PER_TOKEN + 1


def _lines_of(messages: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for message in messages:
        for block in message["content"]:
            yield f"{message['role']}: {_cut(_text_of(block), EXCERPT_CHARS)}"


def _text_of(block: Block) -> str:
    match block["type"]:
        case "text":
            return str(block["text"])
        case "tool_use":
            return f"calls {block['name']} {orjson.dumps(block['input']).decode()}"
        case "tool_result":
            return "result: " + " ".join(map(_text_of, block["content"]))
        case "document" if block["source"].get("type") == "text":
            return f"{block.get('title') or ''}: {block['source']['data']}"
        case "search_result":
            return f"{block['title']} ({block['source']}): " + " ".join(map(_text_of, block["content"]))
        case other:
            return f"[{other}]"


def _shortened(block: Block) -> Block:
    match block["type"]:
        case "text":
            return block | {"text": _cut(block["text"], KEPT_RESULT_CHARS)}
        case "document" if block["source"].get("type") == "text":
            data = _cut(block["source"]["data"], KEPT_RESULT_CHARS)
            return block | {"source": block["source"] | {"data": data}}
        case "document":
            return {
                "type": "text",
                "text": "[A document was here; compaction left it out.]",
            }
        case _:
            return block


def _cut(text: str, chars_max: int) -> str:
    """Leave out the middle of a text that is too long."""
    if len(text) <= chars_max:
        return text
    half = chars_max // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[len(text) - half :]}"


_POLICIES: Mapping[str, type[Summarize]] = MappingProxyType({Summarize.name: Summarize})
