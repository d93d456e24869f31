"""Copies what the tools leave to the server, at each idle and again while it lasts, beside everything else.

Nothing is remembered that a new proxy needs: the server knows which version of each path it has.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Protocol

import structlog

from managed_agents.proxy.bindings import Binding, MalformedError
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.files.plan import Output
from managed_agents.proxy.files.transfers import Transfers
from managed_agents.proxy.forward import UnreachableError

AGAIN_SECONDS = 15.0
"""While idle, background jobs may still write; so a sandbox that is let go has been looked at this recently."""

LEASE_SECONDS = 2.0
"""How long a new lease is left to itself: most begin with a turn, and its first call tells of the sandbox."""

UNANSWERED_MAX = 8
"""Looks without an answer before a sandbox is left alone until the next idle: its Pod may be gone."""

LAST_SECONDS = 10.0
"""How long a release waits for what is not stored yet."""

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
    ) -> None:
        self._transfers = transfers
        self._finder = finder
        self._lease_seconds = lease_seconds
        self._again_seconds = again_seconds
        self._binding: Binding | None = None
        self._stored: dict[str, str] | None = None
        self._refused: set[Output] = set()
        self._passing = asyncio.Lock()
        self._running = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def in_use(self, binding: Binding) -> None:
        """Note the sandbox that is in use."""
        if self._binding is None or not binding.is_older_than(self._binding):
            if self._binding is not None and self._binding.session != binding.session:
                self._stored = None
            self._binding = binding

    def leased(self) -> None:
        """Look for what an earlier proxy may have left behind, where the new lease begins with rest."""
        if self._binding is None:
            self._begin(self._after_lease(self._running))

    def idle(self) -> None:
        """Begin to look: a turn has ended."""
        self._refused.clear()  # what had no room then may have some now
        self._running.set()  # ends the watch of the turn before
        self._running = asyncio.Event()
        self._begin(self._watch(self._running))

    def running(self) -> None:
        """Look no more: a turn has begun. What is being copied is copied to its end."""
        self._running.set()

    async def last_look(self) -> None:
        """Look once more before the sandbox is let go, for a bounded time."""
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await self._pass()
        except TimeoutError:
            _log.warning("outputs_late", session=self._binding.session if self._binding else None)

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _after_lease(self, running: asyncio.Event) -> None:
        await asyncio.sleep(self._lease_seconds)
        if self._binding is None and not running.is_set() and await self._finder.is_idle():
            await self._watch(running)

    async def _watch(self, running: asyncio.Event) -> None:
        if self._binding is None and (found := await self._finder.find()) is not None:
            self.in_use(found)
        if self._binding is None:
            return  # the session has no sandbox
        unanswered = 0
        while unanswered < UNANSWERED_MAX:
            unanswered = 0 if await self._pass() else unanswered + 1
            if running.is_set():
                return
            try:
                async with asyncio.timeout(self._again_seconds):
                    await running.wait()
            except TimeoutError:
                continue
            return

    async def _pass(self) -> bool:
        """Copy what is new. Returns whether sandbox and server answered."""
        async with self._passing:
            binding = self._binding
            if binding is None:
                return False
            try:
                listed = await self._transfers.outputs(binding)
                if listed and self._stored is None:
                    self._stored = await self._transfers.stored(binding.session)
            except (RefusedError, UnreachableError, MalformedError) as problem:
                _log.info("outputs_unknown", session=binding.session, reason=str(problem))
                return False
            for output in self._new(listed):
                await self._store(binding, output)
            return True

    def _new(self, listed: Sequence[Output]) -> list[Output]:
        stored = self._stored or {}
        return [
            output for output in listed if stored.get(output.path) != output.version and output not in self._refused
        ]

    async def _store(self, binding: Binding, output: Output) -> None:
        try:
            await self._transfers.store(binding, output)
        except RefusedError as refusal:
            if refusal.status < 500:
                self._refused.add(output)
            _log.warning("output_not_stored", session=binding.session, size=output.size, reason=refusal.message)
        except (UnreachableError, MalformedError) as problem:
            _log.warning("output_not_stored", session=binding.session, size=output.size, reason=str(problem))
        else:
            if self._stored is not None:
                self._stored[output.path] = output.version
            _log.info("output_stored", session=binding.session, size=output.size)
