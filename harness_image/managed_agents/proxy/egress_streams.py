"""Bytes between a tool and its destination: bounded, with half-close, and for plain HTTP one request only."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

CHUNK_BYTES = 32 * 1024
"""Read at once and held per direction; twice as much may wait in a transport."""

_LINE_BYTES_MAX = 8 * 1024


@dataclass(slots=True, kw_only=True)
class Counted:
    """Bytes that went each way, seen from the tool."""

    out: int = 0
    back: int = 0


async def exchange(
    tool: tuple[StreamReader, StreamWriter],
    destination: tuple[StreamReader, StreamWriter],
    counted: Counted,
    body: int | Literal["chunked", "open"],
) -> None:
    """Copy both ways until both have ended. With a body's length, no more than that goes out. Raises: OSError."""

    async def outwards() -> None:
        async for chunk in _parts(tool[0], body):
            counted.out += len(chunk)
            destination[1].write(chunk)
            await destination[1].drain()
        if body == "open":
            _end(destination[1])

    async def back() -> None:
        async for chunk in _parts(destination[0], "open"):
            counted.back += len(chunk)
            tool[1].write(chunk)
            await tool[1].drain()
        _end(tool[1])

    await (_both(outwards(), back()) if body == "open" else until_second(outwards(), back()))


async def closed(writer: StreamWriter) -> None:
    """Close a connection and wait until its last bytes are out, or it is known to be broken."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _end(writer: StreamWriter) -> None:
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()


async def _both(*directions: Coroutine[Any, Any, None]) -> None:
    """Run both to their end; when one breaks, the other has nothing to wait for."""
    tasks = [asyncio.ensure_future(direction) for direction in directions]
    try:
        await asyncio.gather(*tasks)
    finally:
        await cancelled(*tasks)


async def until_second(first: Coroutine[Any, Any, None], second: Coroutine[Any, Any, None]) -> None:
    """Run both until the second ends: an answer may come before the request has gone out whole."""
    sending, answering = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            sending.result()
        await answering
    finally:
        await cancelled(sending, answering)


async def cancelled(*tasks: asyncio.Future[None]) -> None:
    """End tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _parts(reader: StreamReader, body: int | Literal["chunked", "open"]) -> AsyncIterator[bytes]:
    if body == "open":
        while chunk := await reader.read(CHUNK_BYTES):
            yield chunk
    elif body == "chunked":
        async for chunk in _chunks(reader):
            yield chunk
    else:
        async for chunk in _bounded(reader, body):
            yield chunk


async def _bounded(reader: StreamReader, left: int) -> AsyncIterator[bytes]:
    while left > 0 and (chunk := await reader.read(min(left, CHUNK_BYTES))):
        left -= len(chunk)
        yield chunk
    if left:
        raise ConnectionResetError("the tool's request ended early")


async def _chunks(reader: StreamReader) -> AsyncIterator[bytes]:
    """Yield a chunked body as it stands, to the empty line after its last chunk."""
    while True:
        line = await _line(reader)
        yield line
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            raise ConnectionResetError("the tool's chunks are malformed") from None
        if size <= 0:
            break
        async for part in _bounded(reader, size + 2):
            yield part
    while (line := await _line(reader)) != b"\r\n":
        yield line
    yield line


async def _line(reader: StreamReader) -> bytes:
    try:
        line = await reader.readuntil(b"\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise ConnectionResetError("the tool's chunks are malformed") from None
    if len(line) > _LINE_BYTES_MAX:
        raise ConnectionResetError("the tool's chunks are malformed")
    return line
