"""HTTP as bytes, for requests that no client library would send."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

WAIT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class RawAnswer:
    """What came back. `body` is decoded JSON where it is JSON, the bytes otherwise, null for a stream."""

    status: int
    headers: dict[str, str]
    body: Any


async def exchange(url: str, content: bytes) -> RawAnswer:
    """Send bytes to a server, read its first answer and close. A stream of events is not read."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(content)
        await writer.drain()
        async with asyncio.timeout(WAIT_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
    finally:
        writer.close()
    is_json = headers.get("content-type", "").startswith("application/json") and body
    return RawAnswer(status=int(first.split()[1]), headers=headers, body=json.loads(body) if is_json else body)
