"""An answer's body, unpacked within bounds: what is small on the wire may be large in memory (a bomb)."""

import zlib
from collections.abc import AsyncIterator

from managed_agents.proxy.web.problems import WebProblemError

BODY_BYTES_MAX = 8 * 1024 * 1024
"""An unpacked body. Beyond it nothing is read."""

ACCEPTED_ENCODINGS = "gzip, deflate"
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 47}


async def read_body(parts: AsyncIterator[bytes], encoding: str) -> bytes:
    """Return the unpacked body. Raises: WebProblemError when it is too large, broken, or packed in another way."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return await _joined(parts)
    if name not in _WINDOW_BITS:
        raise WebProblemError("unsupported_content_type", f"the answer is packed as {name[:40]!r}")
    return await _unpacked(parts, zlib.decompressobj(_WINDOW_BITS[name]))


async def _joined(parts: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > BODY_BYTES_MAX:
            raise _too_large()
    return bytes(body)


async def _unpacked(parts: AsyncIterator[bytes], unpacker: "zlib._Decompress") -> bytes:
    body = bytearray()
    try:
        async for part in parts:
            body += unpacker.decompress(part, BODY_BYTES_MAX - len(body) + 1)
            if len(body) > BODY_BYTES_MAX:
                raise _too_large()
            if unpacker.eof:
                break
    except zlib.error:
        raise WebProblemError("url_not_accessible", "the answer's compression is broken") from None
    return bytes(body)


def _too_large() -> WebProblemError:
    limit = BODY_BYTES_MAX // (1024 * 1024)
    return WebProblemError("unsupported_content_type", f"the page is larger than {limit} MiB")
