"""The conversation as the Messages API wants it: messages that are done, encoded once, and an open end.

A message that is followed by another never changes again, so it is kept as the bytes that go on the wire; only the last
user message is still growing. So a request costs the same however long the session is.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from managed_agents.harness.history.files import Content, file_ids, resolved
from managed_agents.harness.history.repair import Block, assistant_content, user_content
from managed_agents.harness.history.sealed import Sealed

CACHE_MARKER = {"type": "ephemeral"}
"""Prompt cache of five minutes, the API's default (API reference §6.5)."""

Context = Mapping[str, Any]
"""What a compaction leaves of a conversation: lists of blocks `summary`, `response`, `results`, `inputs`, `systems`.

It is JSON, because it stands in the log: whoever reads that log goes on with the same conversation.
"""


class Conversation:
    """A conversation that grows at its end. Not safe for concurrent use.

    `files` holds the contents of files that messages name, as far as they were fetched.
    """

    __slots__ = ("_calls", "_inputs", "_marked", "_named", "_results", "_sealed", "_spoken", "_systems", "files")

    def __init__(self) -> None:
        self.files: dict[str, Content] = {}
        self._sealed = Sealed()
        self._marked: tuple[int, list[Block]] | None = None
        self._named: dict[int, list[Block]] = {}
        self._calls: list[str] = []
        self._results: dict[str, Block] = {}
        self._inputs: list[Block] = []
        self._systems: list[Block] = []
        self._spoken: list[Block] = []

    def successor(self, context: Context) -> "Conversation":
        """Return the conversation that goes on from what a compaction has left."""
        conversation = Conversation()
        conversation.files = self.files
        conversation.say(context["summary"])
        if context["response"]:
            conversation.respond(context["response"])
        for result in context["results"]:
            conversation.answer(result["tool_use_id"], result)
        conversation.say(context["inputs"])
        conversation.instruct(context["systems"])
        return conversation

    @property
    def is_fresh(self) -> bool:
        """Tell whether the model has said nothing yet, so that there is nothing to compact."""
        return not self._sealed

    def say(self, blocks: Iterable[Block]) -> None:
        """Add what a user said, after the results of open calls."""
        self._inputs.extend(blocks)

    def instruct(self, blocks: Iterable[Block]) -> None:
        """Add a system turn, which follows what users said."""
        self._systems.extend(blocks)

    def answer(self, call: str, result: Block) -> None:
        """Add the result of a call of the last response; of two results the first counts."""
        self._results.setdefault(call, result)

    def withdraw(self, *, systems: bool = False) -> None:
        """Take back what users said since the last response, and on request what the system said then."""
        self._inputs.clear()
        if systems:
            self._systems.clear()

    def respond(self, blocks: Iterable[Block]) -> None:
        """Add the model's response. One without anything to say or call leaves no trace."""
        content = assistant_content(blocks)
        if not content:
            return
        self._seal()
        self._sealed.append(_encoded("assistant", content))
        self._settle()
        self._calls = [block["id"] for block in content if block["type"] == "tool_use"]

    def missing_files(self) -> set[str]:
        """Return the ids of named files that nobody has fetched yet."""
        named = [*self._named.values(), self._end()]
        return {file_id for blocks in named for file_id in file_ids(blocks)} - self.files.keys()

    @property
    def blocks(self) -> int:
        """Return how many of the pieces that `messages` begins with are large."""
        return len(self._sealed.blocks)

    def messages(self, then: Sequence[Block] = ()) -> list[bytes]:
        """Return the encoded messages of the next request, in pieces to join; `then` is added to what users said.

        The ends of the last two user messages carry cache markers: one for the next request to read, one where the
        previous request wrote, which may lie further back than the provider looks (20 blocks).
        """
        self._resolve()
        marked = None
        if self._marked is not None:
            index, content = self._marked
            marked = index, _encoded("user", _with_marker(resolved(content, self.files)))
        pieces = self._sealed.pieces(marked)
        last = resolved([*self._end(), *then], self.files)
        if last:
            turns = [_encoded("user", _with_marker(last)), *self._system_turn()]
            pieces.append(b",".join(turns))
        elif pieces:
            pieces[-1] = pieces[-1][:-1]
        return pieces

    def transcript(self) -> list[dict[str, Any]]:
        """Return all messages, decoded and with files as they are named."""
        last = self._end()
        return [*self._sealed, *([{"role": "user", "content": last}] if last else [])]

    def context(self) -> Context:
        """Return the last exchange and all system turns, as a compaction may keep them; its `summary` is empty."""
        response = self._sealed.last()["content"] if self._calls else []
        results = [block for block in self._end() if block["type"] == "tool_result"]
        systems = [*self._spoken, *self._systems]
        return {
            "summary": [],
            "response": response,
            "results": results,
            "inputs": list(self._inputs),
            "systems": systems,
        }

    def open_blocks(self) -> list[Block]:
        """Return what the model has not seen yet."""
        return [*self._end(), *self._systems]

    def _end(self) -> list[Block]:
        return user_content(self._calls, self._results, self._inputs)

    def _system_turn(self) -> list[bytes]:
        return [_encoded("system", self._systems)] if self._systems else []

    def _seal(self) -> None:
        content = self._end()
        if content:
            index = len(self._sealed)
            self._marked = (index, content)
            if any(file_ids(content)):
                self._named[index] = content
            self._sealed.append(_encoded("user", content))
            for turn in self._system_turn():
                self._sealed.append(turn)
            self._spoken += self._systems
            self._systems = []
        self._calls, self._results, self._inputs = [], {}, []

    def _settle(self) -> None:
        """Let what was sealed be joined, up to the first message that may still be encoded anew, and the last one."""
        marked = len(self._sealed) - 1 if self._marked is None else self._marked[0]
        self._sealed.settle(min((marked, *self._named)))

    def _resolve(self) -> None:
        """Encode anew what was sealed before its files were there."""
        for index, content in list(self._named.items()):
            if self.files.keys() >= set(file_ids(content)):
                self._sealed.replace(index, _encoded("user", resolved(content, self.files)))
                del self._named[index]


class Forgotten(Conversation):
    """A conversation that keeps nothing of what it is told, for a log that is only to be closed."""

    __slots__ = ()

    def say(self, blocks: Iterable[Block]) -> None:
        """Keep nothing."""

    def instruct(self, blocks: Iterable[Block]) -> None:
        """Keep nothing."""

    def answer(self, call: str, result: Block) -> None:
        """Keep nothing."""

    def respond(self, blocks: Iterable[Block]) -> None:
        """Keep nothing."""

    def successor(self, context: Context) -> Conversation:  # noqa: ARG002 - it keeps nothing of that either
        """Keep nothing."""
        return self


def _encoded(role: str, content: Sequence[Block]) -> bytes:
    return orjson.dumps({"role": role, "content": content})


def _with_marker(content: Sequence[Block]) -> list[Any]:
    return [*content[:-1], {**content[-1], "cache_control": CACHE_MARKER}]
