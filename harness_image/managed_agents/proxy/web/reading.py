"""Runs the reader (`reader/`) for one body: its own process, one at a time, and killed when its time is over."""

import asyncio
import os
import sys
from dataclasses import dataclass

import orjson

from managed_agents.proxy.web.media import Kind
from managed_agents.proxy.web.problems import WebProblemError

READING_SECONDS = 15.0
"""From the start of a reader to its answer, on a machine that is busy; its CPU time is limited to less."""

ANSWER_BYTES_MAX = 4 * 1024 * 1024
"""An answer; JSON's escapes make six bytes of one character at worst."""

_COMMAND = (sys.executable, "-I", "-m", "managed_agents.proxy.web.reader")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a body says, or as much of it as was asked for."""

    title: str
    text: str
    is_cut: bool


class Reader:
    """Turns bodies into text. The second body waits for the first one's reader to end: memory is scarce."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def read(self, kind: Kind, body: bytes, *, charset: str | None, url: str, characters_max: int) -> Reading:
        """Return the text of a body. Raises: WebProblemError where it has none or its reader failed."""
        order = {"kind": kind, "charset": charset, "url": url, "characters_max": characters_max}
        async with self._turn:
            try:
                async with asyncio.timeout(READING_SECONDS):
                    raw = await _run(orjson.dumps(order) + b"\n" + body)
            except TimeoutError:
                raise _unread("it takes too long to be read") from None
        return _reading_from(raw)


async def _run(given: bytes) -> bytes:
    """Start a reader, give it its input and return its output; it never outlives this call."""
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONDONTWRITEBYTECODE": "1", **({"PATH": os.environ["PATH"]} if "PATH" in os.environ else {})},
        cwd="/",
    )
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    assert process.stdout is not None  # noqa: S101 - as above
    sending = asyncio.ensure_future(_send(process.stdin, given))
    try:
        answer = bytearray()
        while (part := await process.stdout.read(65536)) and len(answer) <= ANSWER_BYTES_MAX:
            answer += part
        return bytes(answer)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _send(pipe: asyncio.StreamWriter, given: bytes) -> None:
    try:
        pipe.write(given)
        await pipe.drain()
    except ConnectionError:  # the reader has ended: its answer, or that there is none, says why
        return
    finally:
        pipe.close()


def _reading_from(raw: bytes) -> Reading:
    """Check an answer; what read hostile input is not believed before it has this shape."""
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError:
        answer = {"problem": "it is too large or too deep to be read"}
    match answer:
        case {"title": str(title), "text": str(text), "is_cut": bool(is_cut)} if text.strip():
            return Reading(title=title, text=text, is_cut=is_cut)
        case {"problem": str(problem)}:
            raise _unread(problem)
        case _:
            raise _unread("it holds no text; pages that scripts fill in are not read")


def _unread(problem: str) -> WebProblemError:
    return WebProblemError("unsupported_content_type", f"the page was loaded, and {problem}")
