"""Fixtures of the differential tests."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.sandbox_pair import OurToolset, OwnChildren, Pair, SdkToolset


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two fresh folders with `work`, `outputs`, `uploads` and `outside` in each."""
    logging.getLogger("anthropic").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="ma-") as first, tempfile.TemporaryDirectory(prefix="ma-") as second:
        children = OwnChildren()
        pair = Pair(SdkToolset(Path(first)), OurToolset(Path(second), children))
        pair.on_both(_make_folders)
        try:
            yield pair
        finally:
            async with asyncio.timeout(5):
                await pair.sdk.close()
                await pair.ours.close()
            children.close()


def _make_folders(base: Path) -> None:
    for name in ("work", "outputs", "uploads", "outside"):
        (base / name).mkdir()
