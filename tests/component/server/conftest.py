"""A server in this process for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import pytest

from support.public_sessions import Shelf, stocked
from support.sdk_client import client_of
from support.server import TestServer, server_in_process


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with server_in_process(tmp_path, stream_heartbeat_seconds=0.05, watch_heartbeat_seconds=0.05) as running:
        yield running


@pytest.fixture
async def client(server: TestServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with client_of(server) as opened:
        yield opened


@pytest.fixture
async def shelf(server: TestServer) -> Shelf:
    return await stocked(server)
