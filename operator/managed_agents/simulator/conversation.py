"""The messages of a request as turns: consecutive messages of one role are one turn, as the model sees them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A content block and where it stood in the request: `messages.{message}.content.{position}`."""

    message: int
    position: int
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        """The block's type, such as `text` or `tool_result`."""
        kind: str = self.body["type"]
        return kind

    @property
    def path(self) -> str:
        """The block's place as the API names it in errors."""
        return f"messages.{self.message}.content.{self.position}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one role said without the other in between; `message` is the position of its first message.

    `kinds` are the blocks again, by type: a long conversation is looked through several times a request.
    """

    role: str
    message: int
    blocks: tuple[Block, ...]
    kinds: Mapping[str, Sequence[Block]]

    def of_kind(self, kind: str) -> Sequence[Block]:
        """The blocks of that type, in order."""
        return self.kinds.get(kind, ())


def blocks_of(message: int, content: str | list[dict[str, Any]]) -> Iterator[Block]:
    """The blocks of one message; a string stands for one text block, an empty one for none."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}] if content else []
    for position, body in enumerate(content):
        yield Block(message=message, position=position, body=body)


def turns_of(messages: Sequence[dict[str, Any]]) -> tuple[Turn, ...]:
    """The turns of well-shaped messages (see `shapes`)."""
    turns: list[Turn] = []
    role, first, blocks = "", 0, list[Block]()
    for index, message in enumerate(messages):
        if message["role"] != role:
            if role:
                turns.append(_turn(role, first, blocks))
            role, first, blocks = message["role"], index, []
        blocks.extend(blocks_of(index, message["content"]))
    return (*turns, _turn(role, first, blocks)) if role else ()


def _turn(role: str, message: int, blocks: Sequence[Block]) -> Turn:
    kinds: dict[str, list[Block]] = {}
    for block in blocks:
        kinds.setdefault(block.body["type"], []).append(block)
    return Turn(role=role, message=message, blocks=tuple(blocks), kinds=kinds)


def result_text(block: dict[str, Any]) -> str:
    """The text of a `tool_result` block; other content is left out."""
    content = block.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def last_tool_result(turns: Sequence[Turn], end: int | None = None) -> str:
    """The text of the latest tool result before turn `end`, or the empty string."""
    for index in range((len(turns) if end is None else end) - 1, -1, -1):
        if turns[index].role == "user" and (results := turns[index].of_kind("tool_result")):
            return result_text(results[-1].body)
    return ""


def user_texts(turns: Sequence[Turn], end: int | None = None) -> Iterator[tuple[int, str]]:
    """Per user message with text before turn `end`, newest first: the position of its turn in `turns`, and the text."""
    for index in range((len(turns) if end is None else end) - 1, -1, -1):
        turn = turns[index]
        if turn.role != "user" or not turn.of_kind("text"):
            continue
        by_message: dict[int, list[str]] = {}
        for block in turn.of_kind("text"):
            by_message.setdefault(block.message, []).append(block.body["text"])
        for message in sorted(by_message, reverse=True):
            yield index, "\n".join(by_message[message])


def last_user_text(turns: Sequence[Turn], end: int | None = None) -> str:
    """The text of the latest user message that has any before turn `end`, or the empty string."""
    return next((text for _, text in user_texts(turns, end)), "")
