"""The stored form of a record: what its checksum is, for ever, and that each flipped bit of it is noticed."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managed_agents.eventlog.errors import DamagedError
from managed_agents.eventlog.records import LoggedEvent
from managed_agents.eventlog.sqlite.rows import checksum, event_from, events_from, row_for
from support.requirements import requirement

events = st.builds(
    LoggedEvent,
    session=st.just("sesn_1"),
    position=st.integers(1, 2**32 - 1),
    id=st.text(st.characters(codec="utf-8"), max_size=40),
    type=st.sampled_from(["user.message", "agent.message"]),
    epoch=st.none() | st.integers(0, 2**40),
    processed_at=st.none() | st.just("2026-01-01T00:00:00.000000Z"),
    body=st.binary(max_size=300),
    private=st.none() | st.binary(max_size=100),
)


@requirement("I3")
@given(events)
def test_a_record_reads_back_and_its_checksum_is_the_crc_32_of_all_it_holds(event: LoggedEvent) -> None:
    _, position, event_id, kind, epoch, at, body, private = event
    whole = f"{position}\n{event_id}\n{kind}\n{epoch}\n{at}\n".encode() + body + (private or b"")
    row = row_for(7, event)
    assert checksum(event) == row[-1] == zlib.crc32(whole)
    assert event_from("sesn_1", row) == event


@requirement("I3", "F3")
@given(st.lists(events.filter(lambda event: bool(event.body)), min_size=1, max_size=4), st.data())
def test_a_slice_with_a_flipped_bit_is_damaged(found: list[LoggedEvent], data: st.DataObject) -> None:
    assert events_from("sesn_1", [row_for(7, event) for event in found]) == found
    at = data.draw(st.integers(0, len(found) - 1))
    flipped = bytearray(found[at].body)
    bit = data.draw(st.integers(0, len(flipped) * 8 - 1))
    flipped[bit // 8] ^= 1 << bit % 8
    rows = [list(row_for(7, event)) for event in found]
    rows[at][5] = bytes(flipped)
    with pytest.raises(DamagedError):
        events_from("sesn_1", rows)
