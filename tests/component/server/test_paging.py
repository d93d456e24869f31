"""Pages of a long log while writers append: no event missing, none twice, in either order and by position (I2).

Acceptance 4 of the public API. `MANAGED_AGENTS_PAGING=large` reads ten times as many pages of a log ten times as long.
"""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from managed_agents.eventlog.store import Append, EventLog
from support.server import TestServer, message
from support.streams import said

SCALE = 10 if os.environ.get("MANAGED_AGENTS_PAGING") == "large" else 1
EVENTS = 10_000 * SCALE
PAGES = 1_000 * SCALE
WRITERS = 4


def admitted(*_: Any) -> bool:
    return False


async def filled(server: TestServer) -> tuple[str, int]:
    """A session with a long log, half of it queued client events; and its harness's epoch."""
    assert server.running is not None
    log, session = server.running.context.log, await server.create()
    epoch = (await log.take_epoch(session)).epoch
    for _ in range(0, EVENTS, 500):
        await log.append(Append(session=session, events=[message("q")] * 250, admit=admitted, sender={}))
        await log.append(Append(session=session, events=[said("a") for _ in range(250)], epoch=epoch))
    return session, epoch


@contextlib.asynccontextmanager
async def writing(log: EventLog, session: str, epoch: int) -> AsyncIterator[None]:
    """Append, and stamp queued events, from several tasks until the block ends."""

    async def write() -> None:
        while True:
            await log.append(Append(session=session, events=[message("more")], admit=admitted, sender={}))
            await log.append(Append(session=session, events=[said("more")], epoch=epoch))
            await asyncio.sleep(0.005)  # writers that leave the readers some of the machine

    writers = [asyncio.create_task(write()) for _ in range(WRITERS)]
    try:
        yield
    finally:
        for writer in writers:
            writer.cancel()
        ended = await asyncio.gather(*writers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)


async def page_of(server: TestServer, session: str, **query: Any) -> tuple[list[int], str | None]:
    status, answer = await server.user("GET", f"/sessions/{session}/events", params=query)
    assert status == 200, answer
    return [event["position"] for event in answer["data"]], answer["next_page"]


async def walked(server: TestServer, session: str, pages: int, **query: Any) -> list[int]:
    """Follow cursors for at most that many pages."""
    found, cursor = await page_of(server, session, **query)
    for _ in range(pages - 1):
        if cursor is None:
            break
        more, cursor = await page_of(server, session, page=cursor, **query)
        found += more
    return found


@pytest.mark.timeout(60 * SCALE * 10)
async def test_pages_of_a_growing_log_miss_nothing_and_repeat_nothing(server: TestServer) -> None:
    assert server.running is not None
    session, epoch = await filled(server)
    chance = random.Random(4)  # noqa: S311 - a test, not a secret
    async with writing(server.running.context.log, session, epoch):
        limit = EVENTS // (PAGES * 4 // 10)
        upwards = await walked(server, session, PAGES * 4 // 10, limit=limit)
        assert upwards == list(range(1, len(upwards) + 1))
        assert len(upwards) >= EVENTS
        downwards = await walked(server, session, PAGES * 4 // 10, limit=limit, order="desc")
        assert downwards == list(range(downwards[0], downwards[0] - len(downwards), -1))
        assert downwards[0] > EVENTS
        for _ in range(PAGES // 10):
            around, limit = chance.randint(1, EVENTS), chance.randint(1, 40)
            found, _ = await page_of(server, session, around_position=around, limit=limit)
            first = max(1, around - limit // 2)
            assert found == list(range(first, around - limit // 2 + limit))
        position = EVENTS - PAGES // 10 * 10
        for _ in range(PAGES // 10):  # a program that polls from where it stopped
            found, _ = await page_of(server, session, after_position=position, limit=10)
            assert found == list(range(position + 1, position + 11))
            position = found[-1]
