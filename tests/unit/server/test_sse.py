"""One reader's buffer: bounded, previews first to go, past it where the connection is free."""

import asyncio

import pytest

from managed_agents.eventlog.records import LoggedEvent
from managed_agents.server import sse
from managed_agents.server.sse import Frame, Stream, Wire, event_frame, framed

START = {"type": "event_start", "event": {"type": "agent.message", "id": "e1"}}
DELTA = {"type": "event_delta", "event_id": "e1", "delta": {}}


class Connection(asyncio.WriteTransport):
    """A transport that keeps what it is given; `waiting` bytes stand in front of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.waiting = 0
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


def stream(dropped: list[str]) -> Stream:
    return Stream("s", frozenset({"agent.message"}), lambda: dropped.append("dropped"))


def event(position: int, kind: str = "agent.message") -> LoggedEvent:
    return LoggedEvent(
        session="s",
        position=position,
        id=f"sevt_{position}",
        type=kind,
        epoch=1,
        processed_at="T",
        body=b'{"id":"sevt_1","type":"agent.message","content":[]}',
        private=b'{"internal":{"x":1}}',
    )


async def data(reader: Stream, seconds: float = 0) -> list[bytes]:
    return [frame.data for frame in await reader.take(seconds)]


def test_an_event_frame_has_name_data_and_id() -> None:
    shown = b'data: {"id":"sevt_1","type":"agent.message","content":[],"processed_at":"T","position":1}\n\n'
    assert event_frame(event(1)) == b"id: sevt_1\nevent: agent.message\n" + shown
    assert event_frame(event(1), resumable=False) == b"event: agent.message\n" + shown
    assert event(1).logged().endswith(b'"processed_at":"T","position":1,"internal":{"x":1}}')
    assert framed(b"x" * 17, 2.0) == Frame(b"x" * 17, b"11\r\n" + b"x" * 17 + b"\r\n", 2.0)


async def test_too_many_bytes_drop_the_reader_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "BUFFER_BYTES_MAX", 10)
    dropped: list[str] = []
    reader = stream(dropped)
    reader.event(event(1), framed(b"x" * 20))  # one frame may be larger than the bound, else it could never be sent
    assert dropped == []
    for position in (2, 3):
        reader.event(event(position), framed(b"x"))
    assert dropped == ["dropped"]
    assert reader.dropped
    assert await data(reader) == []


async def test_previews_are_left_out_of_a_half_full_buffer_and_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "BUFFER_BYTES_MAX", 10)
    reader = stream([])
    reader.event(event(1, "span.model_request_start"), framed(b"r"))
    reader.preview(START, framed(b"s"))
    reader.preview(DELTA, framed(b"d"))
    reader.event(event(2), framed(b"123456"))
    reader.preview(DELTA, framed(b"d"))
    assert await data(reader) == [b"r", b"s", b"d", b"123456"]
    reader.preview(DELTA, framed(b"d"))  # its text would no longer be a prefix
    assert await data(reader) == []


async def test_events_already_sent_from_the_log_are_left_out() -> None:
    reader = stream([])
    for position in (1, 2, 3):
        reader.event(event(position), framed(b"%d" % position))
    reader.copy(framed(b"copy"))
    reader.attach(None, 2)
    assert await data(reader) == [b"3", b"copy"]
    assert reader.position == 3


async def test_a_free_connection_gets_frames_at_once_and_a_busy_one_in_order() -> None:
    reader, connection = stream([]), Connection()
    reader.attach(Wire(connection, chunked=True), 0)
    reader.event(event(1), framed(b"one"))
    assert (connection.written, reader.position) == ([b"3\r\none\r\n"], 1)
    connection.waiting = 1
    reader.event(event(2), framed(b"two"))
    connection.waiting = 0
    reader.event(event(3), framed(b"3"))  # behind the one that waits
    assert len(connection.written) == 1
    assert await data(reader) == [b"two", b"3"]
    reader.copy(framed(b"copy"))
    assert connection.written[1:] == [b"4\r\ncopy\r\n"]
    connection.closing = True
    reader.copy(framed(b"late"))
    assert len(connection.written) == 2


async def test_without_chunks_frames_go_out_as_they_are() -> None:
    reader, connection = stream([]), Connection()
    reader.attach(Wire(connection, chunked=False), 0)
    reader.event(event(1), framed(b"one"))
    assert connection.written == [b"one"]


async def test_a_long_buffer_is_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "WRITE_BYTES_MAX", 4)
    reader = stream([])
    for position in (1, 2, 3):
        reader.event(event(position), framed(b"abc"))
    assert [await data(reader), await data(reader), await data(reader)] == [[b"abc", b"abc"], [b"abc"], []]


async def test_an_ended_stream_gives_what_is_left() -> None:
    reader = stream([])
    reader.event(event(1), framed(b"1"))
    reader.end()
    reader.event(event(2), framed(b"2"))
    assert await data(reader, 5) == [b"1"]
    assert await data(reader, 5) == []
    assert reader.ended
