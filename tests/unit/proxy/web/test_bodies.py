"""Bodies unpacked within bounds, and what kind they are."""

import gzip
import zlib
from collections.abc import AsyncIterator

import pytest

from managed_agents.proxy.web.bodies import BODY_BYTES_MAX, read_body
from managed_agents.proxy.web.media import kind_of, media_from
from managed_agents.proxy.web.problems import WebProblemError
from support.requirements import requirement


async def parts(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [("", b"hello"), ("identity", b"hello"), ("gzip", gzip.compress(b"hello")), ("deflate", zlib.compress(b"hello"))],
)
async def test_a_body_comes_unpacked(encoding: str, packed: bytes) -> None:
    assert await read_body(parts(packed[:3], packed[3:]), encoding) == b"hello"


@requirement("web-fetch-hostile")
async def test_a_bomb_is_not_unpacked_beyond_the_bound() -> None:
    bomb = gzip.compress(bytes(4 * BODY_BYTES_MAX))
    with pytest.raises(WebProblemError, match="larger than 8 MiB"):
        await read_body(parts(bomb), "gzip")


@requirement("web-fetch-hostile")
async def test_an_endless_body_is_left_at_the_bound() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65536
            yield bytes(65536)

    with pytest.raises(WebProblemError, match="larger than 8 MiB"):
        await read_body(endless(), "")
    assert sent <= BODY_BYTES_MAX + 65536


@pytest.mark.parametrize(("encoding", "packed"), [("br", b"x"), ("gzip", b"not gzip"), ("gzip, gzip", b"x")])
async def test_what_cannot_be_unpacked_is_said(encoding: str, packed: bytes) -> None:
    with pytest.raises(WebProblemError):
        await read_body(parts(packed), encoding)


@pytest.mark.parametrize(
    ("header", "kind", "charset"),
    [
        ("text/html; charset=ISO-8859-1", "html", "iso-8859-1"),
        ("application/xhtml+xml", "html", None),
        ("application/pdf", "pdf", None),
        ("text/plain", "text", None),
        ("application/ld+json", "text", None),
        ("application/octet-stream", None, None),
        ("", None, None),
    ],
)
def test_a_content_type_says_what_it_is(header: str, kind: str | None, charset: str | None) -> None:
    media = media_from(header)
    assert (media.kind, media.charset) == (kind, charset)


@pytest.mark.parametrize("header", ["image/png", "video/mp4", "application/zip", "application/x-shockwave-flash"])
def test_a_type_without_text_is_refused(header: str) -> None:
    with pytest.raises(WebProblemError, match="unsupported_content_type"):
        media_from(header)


def test_an_unnamed_body_is_told_by_its_first_bytes() -> None:
    assert kind_of(b"%PDF-1.7\n") == "pdf"
    assert kind_of(b"\n <!DOCTYPE html><p>x") == "html"
    assert kind_of(b"just words") == "text"
    with pytest.raises(WebProblemError, match="no text"):
        kind_of(b"\x7fELF\x00")
