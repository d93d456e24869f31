"""What programs leave on the server keeps the order of events."""

import os
from collections.abc import Iterator

import pytest
from anthropic import Anthropic

from support.left_sessions import newest_session, require_order


@pytest.fixture(autouse=True)
def ordered() -> Iterator[None]:
    """Hold the sessions that a test made to the ordering contract, when it ends."""
    if "ANTHROPIC_BASE_URL" not in os.environ:
        yield
        return
    with Anthropic(max_retries=10) as client:  # the test, or the one before, may have killed the server
        since = newest_session(client)
        yield
        require_order(client, since)
