"""When to look for what the tools leave: after calls, at each idle and while it lasts, and before a sandbox goes.

All of it happens beside the harness' calls, none of which waits for it.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Protocol

import structlog

from managed_agents.contracts.limits import LAST_LOOK_SECONDS
from managed_agents.proxy.bindings import Binding, MalformedError
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.files.copying import OutputCopier
from managed_agents.proxy.files.transfers import Transfers
from managed_agents.proxy.forward import UnreachableError

AGAIN_SECONDS = 15.0
"""While idle, background jobs may still write."""

LEASE_SECONDS = 2.0
"""How long a new lease is left to itself: most begin with a turn, and its first call tells of the sandbox."""

UNANSWERED_MAX = 8
"""Looks without an answer before a sandbox is left alone until the next idle: its Pod may be gone."""

LAST_SECONDS = 0.8 * LAST_LOOK_SECONDS
"""How long the last look may take: the server's own bound, less the time that it takes to hear of its end."""

LAST_ATTEMPTS = 3
LAST_PAUSE_SECONDS = 0.5

CALLS_SECONDS = 1.0
"""Between two looks of one turn: calls that end meanwhile share the next."""

CALLS_SHARE = 10
"""The looks of a turn may take one part of so many of its time, however much there is to list and to copy."""

CALLS_BYTES_MAX = 16 * 1024 * 1024
"""Larger files wait for the end of the turn: one that is still being written would be copied again and again."""

_log = structlog.get_logger(__name__)


class Finder(Protocol):
    """Finds the sandbox of a session that another proxy has used before."""

    async def is_idle(self) -> bool:
        """Tell whether the session is known to be idle."""
        ...

    async def find(self) -> Binding | None:
        """Bind the sandbox that is there, if there is one."""
        ...


class Outputs:
    """The outputs of the sandbox in use."""

    def __init__(
        self,
        transfers: Transfers,
        finder: Finder,
        *,
        again_seconds: float = AGAIN_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
        calls_seconds: float = CALLS_SECONDS,
    ) -> None:
        self._transfers = transfers
        self._copier = OutputCopier(transfers)
        self._finder = finder
        self._lease_seconds = lease_seconds
        self._again_seconds = again_seconds
        self._calls_seconds = calls_seconds
        self._binding: Binding | None = None
        self._running = asyncio.Event()
        self._called = asyncio.Event()
        self._following = False
        self._tasks: set[asyncio.Task[None]] = set()

    def in_use(self, binding: Binding) -> None:
        """Note the sandbox that is in use."""
        if self._binding is None or not binding.is_older_than(self._binding):
            self._binding = binding

    def leased(self) -> None:
        """Look for what an earlier proxy may have left behind, where the new lease begins with rest."""
        if self._binding is None:
            self._begin(self._after_lease(self._running))

    def called(self) -> None:
        """Look soon: a call has ended, and a sandbox that is lost before the turn's end shall take little with it."""
        self._called.set()
        if not self._following:
            self._following = True
            self._begin(self._follow())

    def idle(self) -> None:
        """Begin to look: a turn has ended."""
        self._copier.retry_refused()  # what had no room then may have some now
        self._running.set()  # ends the watch of the turn before
        self._running = asyncio.Event()
        self._begin(self._watch(self._running))

    def running(self) -> None:
        """Watch no more: a turn has begun. What is being copied is copied to its end."""
        self._running.set()

    def let_go(self, session: str, sandbox_name: str) -> None:
        """Look once more into a sandbox that was taken away, and tell the server that its Pod may go."""
        self._running.set()
        self._begin(self._let_go(session, sandbox_name))

    async def last_look(self) -> None:
        """Look once more, for a bounded time: until sandbox and server have answered, or have failed to repeatedly."""
        binding = self._binding
        if binding is None:
            return
        try:
            async with asyncio.timeout(LAST_SECONDS):
                for _ in range(LAST_ATTEMPTS):
                    if await self._copier.look(binding):
                        return
                    await asyncio.sleep(LAST_PAUSE_SECONDS)
        except TimeoutError:
            pass
        _log.warning("outputs_late", session=binding.session)

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _let_go(self, session: str, sandbox_name: str) -> None:
        binding = self._binding
        if binding is not None and binding.pod_name == sandbox_name:
            self._copier.retry_refused()
            await self.last_look()
            if self._binding is binding:
                self._binding = None
        try:
            await self._transfers.end_last_look(session, sandbox_name)
        except (RefusedError, UnreachableError, MalformedError) as problem:  # the server's own bound ends the wait
            _log.info("last_look_untold", session=session, reason=str(problem))

    async def _follow(self) -> None:
        try:
            while self._called.is_set() and (binding := self._binding) is not None:
                self._called.clear()
                began = time.monotonic()
                await self._copier.look(binding, bytes_max=CALLS_BYTES_MAX)
                took = time.monotonic() - began
                await asyncio.sleep(max(self._calls_seconds, (CALLS_SHARE - 1) * took))
        finally:
            self._following = False

    async def _after_lease(self, running: asyncio.Event) -> None:
        await asyncio.sleep(self._lease_seconds)
        if self._binding is None and not running.is_set() and await self._finder.is_idle():
            await self._watch(running)

    async def _watch(self, running: asyncio.Event) -> None:
        if self._binding is None and (found := await self._finder.find()) is not None:
            self.in_use(found)
        unanswered = 0
        while unanswered < UNANSWERED_MAX:
            if (binding := self._binding) is None:
                return  # the session has no sandbox, or gave it up
            unanswered = 0 if await self._copier.look(binding) else unanswered + 1
            if running.is_set():
                return
            try:
                async with asyncio.timeout(self._again_seconds):
                    await running.wait()
            except TimeoutError:
                continue
            return
