"""Keeps the files of the bound sandbox those of the session's config, beside the calls that run there.

A file that cannot be placed breaks nothing: its path stays empty, and the next tool result says so to the model.
"""

import asyncio
from collections.abc import Mapping

import structlog

from managed_agents.proxy.bindings import Binding, MalformedError
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.files.plan import Upload, changes_for, notice_for, uploads_from
from managed_agents.proxy.files.transfers import Transfers
from managed_agents.proxy.forward import UnreachableError

SETTLE_SECONDS = 60.0
"""How long a tool call waits for the files; afterwards it runs without those that are still on their way."""

AT_ONCE = 4
ATTEMPTS = 3
PAUSE_SECONDS = 0.5

_log = structlog.get_logger(__name__)


class Uploads:
    """Follows config and binding; one task at a time makes the sandbox equal to the config."""

    def __init__(self, transfers: Transfers, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._transfers = transfers
        self._pause_seconds = pause_seconds
        self._session: object = None
        self._wanted: tuple[Upload, ...] | None = None
        self._binding: Binding | None = None
        self._done: tuple[Binding, tuple[Upload, ...]] | None = None
        self._failed_once: tuple[Binding, tuple[Upload, ...]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._notices: list[str] = []
        self._said: set[tuple[str, Upload]] = set()

    def configure(self, config: Mapping[str, object]) -> None:
        """Use this config from now on."""
        self._session, self._wanted = config.get("id"), uploads_from(config)
        self._go()

    def in_use(self, binding: Binding) -> None:
        """Note the sandbox that is in use, and see to its files where they are not all there."""
        if self._binding is None or not binding.is_older_than(self._binding):
            self._binding = binding
            self._go()

    async def settled(self) -> None:
        """Wait until the files are there, or have failed, or a bound is met. What failed before is not waited for."""
        if self._task is not None and self._wanted and self._goal() != self._failed_once:
            await asyncio.wait((self._task,), timeout=SETTLE_SECONDS)

    def notices(self) -> list[str]:
        """Return what the model has not been told yet, once."""
        notices, self._notices = self._notices, []
        return notices

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _go(self) -> None:
        goal = self._goal()
        if goal is not None and goal != self._done and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._reach())

    def _goal(self) -> tuple[Binding, tuple[Upload, ...]] | None:
        if self._binding is None or self._wanted is None or self._binding.session != self._session:
            return None
        return self._binding, self._wanted

    async def _reach(self) -> None:
        """Work until what is there is what is wanted now, or an attempt failed: the next call tries again."""
        while (goal := self._goal()) is not None and goal != self._done:
            if await self._make_equal(*goal):
                self._done = goal
            elif goal == self._goal():
                self._failed_once = goal
                return

    async def _make_equal(self, binding: Binding, wanted: tuple[Upload, ...]) -> bool:
        """Return whether nothing is left that another attempt could mend."""
        try:
            changes = changes_for(wanted, await self._transfers.present(binding))
            for path in changes.remove:
                await self._transfers.remove(binding, path)
        except (RefusedError, UnreachableError, MalformedError) as problem:
            _log.warning("uploads_failed", session=binding.session, reason=str(problem))
            return False
        gate = asyncio.Semaphore(AT_ONCE)
        return all(await asyncio.gather(*(self._place(binding, upload, gate) for upload in changes.place)))

    async def _place(self, binding: Binding, upload: Upload, gate: asyncio.Semaphore) -> bool:
        reason = ""
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(attempt * self._pause_seconds)
            try:
                async with gate:
                    await self._transfers.place(binding, upload)
            except RefusedError as refusal:
                if refusal.status != 408:  # the bytes stopped on their way, which the next attempt may mend
                    self._give_up(binding, upload, refusal.message)
                    return refusal.status < 500
                reason = refusal.message
            except (UnreachableError, MalformedError) as problem:
                reason = str(problem)
            else:
                _log.info("file_placed", session=binding.session, file_id=upload.file_id)
                return True
        self._give_up(binding, upload, reason)
        return False

    def _give_up(self, binding: Binding, upload: Upload, reason: str) -> None:
        _log.warning("file_not_placed", session=binding.session, file_id=upload.file_id, reason=reason)
        key = (binding.pod_name, upload)
        if key not in self._said:
            self._said.add(key)
            self._notices.append(notice_for(upload, reason))
