"""A request's body on its way to a host that has a credential: streamed, with values in place of placeholders.

Of a body whose length was told, the beginning is looked at first. Where that is all of it, it goes on with its new
length; else, with a placeholder there, in chunks, and without one as it is.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal

from managed_agents.proxy.egress_refusal import EgressRefusedError
from managed_agents.proxy.injection.grants import HostGrants
from managed_agents.proxy.injection.heads import Fields
from managed_agents.proxy.injection.replacing import Replacing, values_for_body

LOOKED_AT_BYTES = 64 * 1024
"""Of a body with a length, what is held until it is known how it goes on; memory of one connection."""

Length = int | Literal["chunked"] | None
"""In bytes; null where a head says nothing, so that there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A body as it goes on: the headers of its length, and its bytes."""

    fields: Fields
    pieces: AsyncIterator[bytes]


def length_of(fields: Fields) -> Length:
    """Return what a head says of its body; h11 has checked that each says one thing. Raises: EgressRefusedError."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if codings and lengths:
        text = "the request names both Content-Length and Transfer-Encoding"
        raise EgressRefusedError(status=400, reason="malformed", message=text)
    if codings:
        return "chunked"
    return int(lengths[0]) if lengths else None


def replacements_for(fields: Fields, grants: HostGrants) -> dict[bytes, bytes]:
    """Return what is replaced in a body with this head: nothing in one that is compressed."""
    headers = dict(fields)
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        return {}
    return values_for_body(grants.grants, headers.get(b"content-type", b"").decode("latin-1"))


async def body_to_send(
    length: Length, pieces: AsyncIterator[bytes], replacements: Mapping[bytes, bytes], found: set[bytes]
) -> Body:
    """Decide how a body goes on. Adds to `found` the placeholders that were replaced, also while it is sent.

    Raises, while it is sent: EgressRefusedError, for a placeholder that comes too late.
    """
    replacing = Replacing(replacements, found)

    async def replaced() -> AsyncIterator[bytes]:
        async for piece in pieces:
            yield replacing.feed(piece)
        yield replacing.finish()

    if not isinstance(length, int) or not replacements:
        return Body(fields=_fields(length), pieces=replaced())
    begun, rest = bytearray(), replaced()
    async for piece in rest:
        begun += piece
        if len(begun) > LOOKED_AT_BYTES:
            break
    else:
        return Body(fields=_fields(len(begun)), pieces=_joined(begun, None))
    if replacing.found:
        return Body(fields=_fields("chunked"), pieces=_joined(begun, rest))
    return Body(fields=_fields(length), pieces=_unchanged(begun, rest, replacing))


async def _unchanged(begun: bytearray, rest: AsyncIterator[bytes], replacing: Replacing) -> AsyncIterator[bytes]:
    yield bytes(begun)
    async for piece in rest:
        if replacing.found:
            text = (
                f"a placeholder stands behind the first {LOOKED_AT_BYTES} bytes of a body with a Content-Length; "
                "send the body in chunks, or the placeholder in a header"
            )
            raise EgressRefusedError(status=413, reason="placeholder_late", message=text)
        yield piece


async def _joined(begun: bytearray, rest: AsyncIterator[bytes] | None) -> AsyncIterator[bytes]:
    yield bytes(begun)
    if rest is not None:
        async for piece in rest:
            yield piece


def _fields(length: Length) -> Fields:
    if length == "chunked":
        return [(b"Transfer-Encoding", b"chunked")]
    return [] if length is None else [(b"Content-Length", str(length).encode())]
