"""Words replaced in bytes that come piece by piece, wherever the pieces are cut (guarantee A20). Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote_plus

from managed_agents.proxy.injection.grants import Grant

MASKED_BYTES_MIN = 8
"""A shorter value is not looked for in answers: it would stand there by chance."""


class Replacing:
    """One stream of bytes. Holds back only what may be the beginning of a word."""

    def __init__(self, replacements: Mapping[bytes, bytes], found: set[bytes] | None = None) -> None:
        """Words must not be empty; where one begins another the longer one is replaced. `found` collects them."""
        self._replacements = dict(replacements)
        words = sorted(self._replacements, key=len, reverse=True)
        self._words = re.compile(b"|".join(re.escape(word) for word in words)) if words else None
        self._by_first = {word[:1]: [one for one in words if one[:1] == word[:1]] for word in words}
        self._longest = len(words[0]) if words else 0
        self._held = b""
        self.found = set() if found is None else found

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes and return those that are settled."""
        if self._words is None:
            return data
        text, at, pieces = self._held + data, 0, []
        for match in self._words.finditer(text):
            self.found.add(match[0])
            pieces += [text[at : match.start()], self._replacements[match[0]]]
            at = match.end()
        kept = self._begun_at(text, at)
        self._held = text[kept:]
        return b"".join((*pieces, text[at:kept]))

    def finish(self) -> bytes:
        """Return what was held back: no word came of it."""
        held, self._held = self._held, b""
        return held

    def _begun_at(self, text: bytes, least: int) -> int:
        """Return where a word may have begun that is not complete yet."""
        for at in range(max(least, len(text) - self._longest + 1), len(text)):
            tail = text[at:]
            if any(word.startswith(tail) for word in self._by_first.get(tail[:1], ())):
                return at
        return len(text)


def values_for_body(grants: Iterable[Grant], content_type: str) -> dict[bytes, bytes]:
    """Return what stands for what in a body, written as a program would that has the value itself."""
    kind = content_type.partition(";")[0].strip().lower()
    return {
        grant.placeholder.encode(): _written(grant.value, kind).encode("utf-8", "replace")
        for grant in grants
        if grant.in_body
    }


def masks_for(grants: Iterable[Grant]) -> dict[bytes, bytes]:
    """Return what an answer's body shows in a value's place: asterisks, as many bytes, so that no length changes."""
    values = [grant.value.encode("utf-8", "replace") for grant in grants]
    return {value: b"*" * len(value) for value in values if len(value) >= MASKED_BYTES_MIN}


def _written(value: str, kind: str) -> str:
    if kind == "application/json" or kind.endswith("+json"):
        return json.dumps(value)[1:-1]
    if kind == "application/x-www-form-urlencoded":
        return quote_plus(value)
    return value
