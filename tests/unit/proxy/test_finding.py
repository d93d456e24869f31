"""Looking for a sandbox that an earlier proxy may have left."""

from typing import cast

import pytest
from aiohttp import ClientSession

from managed_agents.proxy.bindings import Binding, Pending, Wanted
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.files.finding import SandboxFinder
from managed_agents.proxy.forward import UnreachableError
from managed_agents.proxy.sandbox_ends import Supervisor
from managed_agents.proxy.server_access import ServerAccess

NONE = Pending(pod_name=None, generation=None, reason="None", message="the session has no sandbox now")


class Claims:
    """Answers each claim with what is next, and notes the epochs that asked."""

    def __init__(self, *answers: Pending | Exception) -> None:
        self._answers = list(answers)
        self.epochs: list[int] = []

    async def claim(self, wanted: Wanted) -> Binding | Pending:
        self.epochs.append(wanted.epoch)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def end_of(self, binding: Binding, *, wait_seconds: float) -> None:
        raise NotImplementedError


def finder_over(claims: Claims) -> SandboxFinder:
    unused = cast("ServerAccess", None)
    return SandboxFinder(cast("ClientSession", None), unused, claims, cast("Supervisor", None))


async def test_a_session_without_a_sandbox_is_asked_for_once_a_lease() -> None:
    claims = Claims(NONE, NONE)
    finder = finder_over(claims)
    finder.leased("sesn_1", 1)
    assert [await finder.find() for _ in range(3)] == [None] * 3
    finder.leased("sesn_1", 2)
    assert [await finder.find() for _ in range(3)] == [None] * 3
    assert claims.epochs == [1, 2]


@pytest.mark.parametrize("problem", [UnreachableError("gone"), RefusedError(503, "unavailable", "m")])
async def test_a_server_that_does_not_say_is_asked_again(problem: Exception) -> None:
    claims = Claims(problem, NONE)
    finder = finder_over(claims)
    finder.leased("sesn_1", 1)
    assert [await finder.find() for _ in range(3)] == [None] * 3
    assert claims.epochs == [1, 1]
