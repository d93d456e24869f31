from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.operator_world import World, world


@pytest.fixture
async def operated(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made
