"""The ring of recorded requests."""

import asyncio
from datetime import UTC, datetime

import orjson
import pytest

from managed_agents.simulator import records as module
from managed_agents.simulator.records import Record, Records

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def opened(records: Records, body: bytes = b"{}") -> Record:
    return records.open("/v1/messages", body, request_id="req_1", at=NOW, monotonic=1.0)


def test_records_are_numbered_and_read_from_a_position() -> None:
    records = Records()
    for _ in range(3):
        opened(records)

    assert [record.n for record in records.after(1)] == [2, 3]
    assert records.clear() == 3
    assert opened(records).n == 4


def test_ring_is_bounded_in_count_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECORDS_MAX", 3)
    monkeypatch.setattr(module, "RECORDED_BYTES_MAX", 100)
    records = Records()

    for size in (10, 10, 10, 10):
        opened(records, b"x" * size)
    by_count = [record.n for record in records.after(0)]
    opened(records, b"x" * 95)
    by_bytes = [record.n for record in records.after(0)]
    opened(records, b"x" * 500)

    assert (by_count, by_bytes) == ([2, 3, 4], [5])
    assert [record.n for record in records.after(0)] == [6]


async def test_wait_returns_with_the_next_finished_request() -> None:
    records = Records()
    record = opened(records)
    waiting = asyncio.create_task(records.wait_after(0, 5.0, finished_only=True))
    await asyncio.sleep(0)

    records.finish(record, "cut", 2.0)
    records.finish(record, "complete", 3.0)

    assert [(found.n, found.outcome) for found in await waiting] == [(1, "cut")]


async def test_wait_ends_empty_after_its_time() -> None:
    assert await Records().wait_after(0, 0.01) == []


def test_view_shows_the_body_as_json_and_the_time_to_the_first_token() -> None:
    records = Records()
    record = opened(records, b'{"a":1}')
    record.first_token_monotonic = 1.25

    view = orjson.loads(orjson.dumps(record.view()))

    assert (view["body"], view["first_token_ms"]) == ({"a": 1}, 250.0)
    assert orjson.loads(orjson.dumps(opened(records, b"{no json").view()))["body"] == "{no json"
