"""Reading server-sent events from a stream that is cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managed_agents.harness.sse import OversizedError, SseEvent, SseParser

BYTES_MAX = 1 << 20
STREAM = 'id: 1\ndata:\n\n: hello\nevent: message\r\ndata: {"a":\r\ndata: 1}\r\nid: 2\r\n\r\nevent: other\rdata: x\r\r'
EVENTS = [SseEvent(id="1"), SseEvent(data='{"a":\n1}', id="2"), SseEvent(name="other", data="x")]


@given(st.lists(st.integers(1, 40)))
def test_a_stream_is_read_the_same_however_it_is_cut(cuts: list[int]) -> None:
    parser, rest, found = SseParser(BYTES_MAX), STREAM.encode(), []
    for cut in cuts:
        found += parser.feed(rest[:cut])
        rest = rest[cut:]
    found += parser.feed(rest)
    found += parser.feed(b"\n")  # what ends with a carriage return is known to have ended by what follows
    assert found == EVENTS


def test_an_event_without_end_is_refused() -> None:
    parser, piece = SseParser(BYTES_MAX), b"x" * (BYTES_MAX // 32)
    for _ in range(32):
        parser.feed(piece)
    with pytest.raises(OversizedError):
        parser.feed(piece)
