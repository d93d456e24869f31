"""What a push wants to change, read from the head of its body, and git's own way to refuse it.

The body of `git-receive-pack` begins with pkt-lines, `OLD NEW REF`, the first with the client's capabilities behind a
NUL, and ends them with `0000`; what follows is the pack (gitprotocol-pack, gitprotocol-http).
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import StreamReader

from managed_agents.proxy.errors import RefusedError

HEAD_BYTES_MAX = 1024 * 1024
"""Some ten thousand refs in one push."""

_COMMAND = re.compile(rb"[0-9a-f]{40,64} [0-9a-f]{40,64} ([!-~\x80-\xff]+)\Z")
_SHALLOW = re.compile(rb"shallow [0-9a-f]{40,64}\Z")
_FLUSH = b"0000"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushHead:
    """The commands of a push, as they came and as they were understood."""

    raw: bytes
    refs: tuple[str, ...]
    capabilities: frozenset[str]


async def read_head(body: StreamReader) -> PushHead:
    """Read up to the end of the commands and no further. Raises: RefusedError for what is not understood."""
    raw, capabilities = b"", frozenset[str]()
    refs: list[str] = []
    while True:
        length = await _exactly(body, 4)
        raw += length
        if length == _FLUSH:
            return PushHead(raw=raw, refs=tuple(refs), capabilities=capabilities)
        line = await _exactly(body, _size(length))
        raw += line
        if len(raw) > HEAD_BYTES_MAX:
            raise _unclear("it names too many refs")
        command, _, said = line.removesuffix(b"\n").partition(b"\0")
        if said:
            capabilities |= frozenset(said.decode("utf-8", "replace").split())
        if _SHALLOW.match(command):
            continue
        match = _COMMAND.match(command)
        if match is None:  # a signed push among them, whose commands are inside its certificate
            raise _unclear("its commands are not understood")
        refs.append(match[1].decode("utf-8", "surrogateescape"))


def refused_refs(head: PushHead, patterns: Sequence[str]) -> list[str]:
    """Return the refs that no pattern allows. A `*` stands for any characters, as in a refspec."""
    allowed = [re.compile(".*".join(map(re.escape, pattern.split("*"))) + r"\Z", re.DOTALL) for pattern in patterns]
    return [ref for ref in head.refs if not any(pattern.match(ref) for pattern in allowed)]


def refusal_of(head: PushHead, refused: Sequence[str], patterns: Sequence[str]) -> bytes:
    """Return git's report of a push none of which was done, with the reason at each ref."""
    why = f"not allowed by this session: {', '.join(patterns) or 'no ref'} may be pushed"
    lines = [_packet(b"unpack ok\n")]
    for ref in head.refs:
        said = why if ref in refused else "another ref of this push is not allowed"
        lines.append(_packet(f"ng {ref} {said}\n".encode("utf-8", "surrogateescape")))
    report = b"".join([*lines, _FLUSH])
    if "side-band-64k" not in head.capabilities:
        return report
    size = 65000
    parts = [report[start : start + size] for start in range(0, len(report), size)]
    return b"".join(_packet(b"\x01" + part) for part in parts) + _FLUSH


def reports(head: PushHead) -> bool:
    """Tell whether the client reads a report."""
    return bool({"report-status", "report-status-v2"} & head.capabilities)


def _packet(content: bytes) -> bytes:
    return b"%04x" % (len(content) + 4) + content


def _size(length: bytes) -> int:
    try:
        size = int(length, 16) - 4
    except ValueError:
        size = -1
    if size <= 0 or not length.isalnum():
        raise _unclear("its commands are not understood")
    return size


async def _exactly(body: StreamReader, size: int) -> bytes:
    try:
        return await body.readexactly(size)
    except asyncio.IncompleteReadError:
        raise _unclear("it ends within its commands") from None


def _unclear(why: str) -> RefusedError:
    text = f"the refs that may be pushed are restricted, and what this push changes is not clear: {why}"
    return RefusedError(403, "repository_forbidden_error", text)
