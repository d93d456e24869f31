"""Fixtures: a sandbox of two processes, unbound and bound."""

import shutil
from collections.abc import AsyncIterator

import pytest

from support.sandbox_process import Sandbox, new_folder


@pytest.fixture
def arguments() -> tuple[str, ...]:
    """More arguments of the supervisor; a test's parameter of this name replaces them."""
    return ()


@pytest.fixture
async def blank(arguments: tuple[str, ...]) -> AsyncIterator[Sandbox]:
    """A sandbox that no session has."""
    sandbox = Sandbox(new_folder(), arguments=arguments)
    try:
        await sandbox.start_supervisor()
        await sandbox.start_runner()
        yield sandbox
    finally:
        await sandbox.close()
        shutil.rmtree(sandbox.folder)


@pytest.fixture
async def sandbox(blank: Sandbox) -> Sandbox:
    """A sandbox bound to `sesn_1` at epoch 1."""
    assert (await blank.bind()).status == 200
    return blank
