"""Token counts: four characters are a token; a prefix that a marker cached before is read, not paid for again."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

CHARS_PER_TOKEN: Final = 4
LOOKBACK_BLOCKS: Final = 20
"""How far before a marker the API looks for an earlier prefix (prompt caching documentation)."""
CACHE_ENTRIES_MAX: Final = 50_000
_TTL_SECONDS: Final = {"5m": 300.0, "1h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """The prompt up to the end of a block: characters so far, digest so far, and the marker's time to live."""

    chars: int
    digest: bytes
    ttl: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request's prompt: its size, a digest of all of it, and the boundaries a cache may know."""

    chars: int
    digest: bytes
    boundaries: tuple[Boundary, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputUsage:
    """Input tokens; the three sum up to the whole prompt."""

    uncached: int
    read: int = 0
    created_5m: int = 0
    created_1h: int = 0


def tokens_of(chars: int) -> int:
    """Tokens of that many characters, rounded up."""
    return -(-chars // CHARS_PER_TOKEN)


def prompt_of(body: dict[str, Any]) -> Prompt:
    """Measure a well-shaped request: tools, then system, then messages, in the order in which the API caches."""
    segments = list(_segments(body))
    if body.get("cache_control") is not None and segments:
        data, ttl = segments[-1]
        segments[-1] = (data, ttl or body["cache_control"].get("ttl", "5m"))
    marks = [index for index, (_, ttl) in enumerate(segments) if ttl]
    wanted = {index for mark in marks for index in range(max(0, mark - LOOKBACK_BLOCKS), mark + 1)}
    hasher = hashlib.blake2b(str(body["model"]).encode(), digest_size=16)
    chars = 0
    boundaries = []
    for index, (data, ttl) in enumerate(segments):
        hasher.update(data)
        chars += len(data)
        if index in wanted:
            boundaries.append(Boundary(chars=chars, digest=hasher.copy().digest(), ttl=ttl))
    return Prompt(chars=chars, digest=hasher.digest(), boundaries=tuple(boundaries))


def _segments(body: dict[str, Any]) -> Iterator[tuple[bytes, str | None]]:
    for tool in body.get("tools") or ():
        yield _segment("tool", tool)
    yield from _content_segments("system", body.get("system") or [])
    for message in body["messages"]:
        yield from _content_segments(message["role"], message["content"])


def _content_segments(role: str, content: str | list[dict[str, Any]]) -> Iterator[tuple[bytes, str | None]]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for block in content:
        yield _segment(role, block)


def _segment(role: str, block: dict[str, Any]) -> tuple[bytes, str | None]:
    marker = block.get("cache_control")
    if marker is not None:
        # The marker moves on with the conversation and is no part of what is cached.
        block = {key: value for key, value in block.items() if key != "cache_control"}
    return role.encode() + orjson.dumps(block), marker.get("ttl", "5m") if marker else None


class PromptCache:
    """Which prefixes were sent, and until when they count. Bounded; the least recently used goes first."""

    def __init__(self) -> None:
        self._expiry: OrderedDict[bytes, float] = OrderedDict()

    def charge(self, prompt: Prompt, now: float) -> InputUsage:
        """Count the prompt's tokens and remember its marked prefixes; `now` is in monotonic seconds."""
        marked = [boundary for boundary in prompt.boundaries if boundary.ttl]
        if not marked:
            return InputUsage(uncached=tokens_of(prompt.chars))
        read = max((b.chars for b in prompt.boundaries if self._expiry.get(b.digest, 0.0) > now), default=0)
        created = {"5m": 0, "1h": 0}
        start = tokens_of(read)
        total_read = start
        for boundary in marked:
            ttl = boundary.ttl or "5m"
            self._remember(boundary.digest, now + _TTL_SECONDS[ttl])
            end = tokens_of(boundary.chars)
            if end > start:
                created[ttl] += end - start
                start = end
        return InputUsage(
            uncached=tokens_of(prompt.chars) - start,
            read=total_read,
            created_5m=created["5m"],
            created_1h=created["1h"],
        )

    def _remember(self, digest: bytes, expiry: float) -> None:
        self._expiry[digest] = max(expiry, self._expiry.get(digest, 0.0))
        self._expiry.move_to_end(digest)
        while len(self._expiry) > CACHE_ENTRIES_MAX:
            self._expiry.popitem(last=False)
