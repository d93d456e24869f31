"""Messages that never change again, as the bytes that go on the wire, each with the comma that follows it.

Older ones lie joined in a few large blocks: a request then names some ten pieces instead of thousands, and copies none
of them. One copy of all, which grows with each request, would be new memory each time, with a page fault every 4 KB.
"""

from collections.abc import Iterator
from typing import Any

import orjson

BLOCK_BYTES_MIN = 64 * 1024
"""Less than this is joined anew for each request, which costs a few microseconds."""

BLOCK_BYTES_MAX = 4 * 1024 * 1024
"""Blocks of this size are joined no further: it would cost a pause, and save next to nothing."""


class Sealed:
    """A list of messages that grows at its end. The last ones, which are `loose`, can still be replaced."""

    __slots__ = ("_joined", "blocks", "loose")

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self.loose: list[bytes] = []
        self._joined = 0

    def __len__(self) -> int:
        return self._joined + len(self.loose)

    def append(self, message: bytes) -> None:
        """Add an encoded message."""
        self.loose.append(message + b",")

    def replace(self, index: int, message: bytes) -> None:
        """Put another message in the place of a loose one."""
        self.loose[index - self._joined] = message + b","

    def pieces(self, instead: tuple[int, bytes] | None) -> list[bytes]:
        """Return everything in order, with another message in the place of a loose one."""
        pieces = [*self.blocks, *self.loose]
        if instead is not None:
            index, message = instead
            pieces[index - self._joined + len(self.blocks)] = message + b","
        return pieces

    def settle(self, before: int) -> None:
        """Join the loose messages in front of an index, once that is worth it: nobody will replace them.

        Blocks double in size as they age, so each byte is copied a few times in all.
        """
        count = before - self._joined
        if sum(map(len, self.loose[:count])) < BLOCK_BYTES_MIN:
            return
        block = b"".join(self.loose[:count])
        del self.loose[:count]
        self._joined += count
        while self.blocks and len(self.blocks[-1]) <= len(block) < BLOCK_BYTES_MAX:
            block = self.blocks.pop() + block
        self.blocks.append(block)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for piece in (*self.blocks, *self.loose):
            yield from orjson.loads(b"[%b]" % piece[:-1])

    def last(self) -> dict[str, Any]:
        """Return the newest message, decoded."""
        message: dict[str, Any] = orjson.loads(self.loose[-1][:-1])
        return message
