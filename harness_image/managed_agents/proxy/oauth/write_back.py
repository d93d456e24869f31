"""Sends renewed grants to the server, beside the calls that use them, and again until one is stored or out of date."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from managed_agents.contracts.clock import Clock, rfc3339
from managed_agents.proxy.oauth.grants import Grant
from managed_agents.proxy.oauth.server_grants import (
    NotKeptError,
    ServerGrants,
    ServerUnavailableError,
    StaleGrantError,
)

PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 30.0
"""Between two attempts at a server that gives no answer: twice as long each time, up to this."""

REPORT_ATTEMPTS = 5

CLOSE_SECONDS = 1.0
"""What a shutdown waits for grants that are on their way."""

_log = structlog.get_logger(listener="mcp")
_Result = TypeVar("_Result")


@dataclass(slots=True, kw_only=True)
class Kept:
    """A grant that this process renewed; the one value here that changes, for it outlives several refreshes."""

    grant: Grant = field(repr=False)
    version: str
    """The stored version that the grant comes from."""
    versions: set[str]
    """What the file may show while the grant here is the newer one, or the same."""
    writes: bool
    renewed_at: float = 0.0
    expires_in: float | None = None
    is_writing: bool = False


class Background:
    """Tasks that no caller waits for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Run something; it is held until it ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Wait a moment for what runs, then end it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class WriteBack:
    """Stores what is kept, the newest last, one write of a credential at a time."""

    def __init__(self, server: ServerGrants, background: Background, clock: Clock) -> None:
        self._server = server
        self._background = background
        self._clock = clock

    def begin(self, session: str, credential: str, kept: Kept) -> None:
        """Begin to store a grant, unless one of the same credential is being stored: then this one follows it."""
        if not kept.is_writing:
            kept.is_writing = True
            self._background.run(self._write(session, credential, kept))

    async def report(self, session: str, credential: str, problem: Mapping[str, str | None]) -> None:
        """Tell the server of a problem, a few times if need be."""
        pause = PAUSE_SECONDS
        for _ in range(REPORT_ATTEMPTS):
            try:
                return await self._server.report(session, credential, problem)
            except ServerUnavailableError:
                await asyncio.sleep(pause)
                pause *= 2
            except (StaleGrantError, NotKeptError):
                return None
        return None

    async def _write(self, session: str, credential: str, kept: Kept) -> None:
        pause, written = PAUSE_SECONDS, None
        try:
            while kept.grant is not written:
                grant = kept.grant
                try:
                    version = await self._server.store(session, credential, self._body(kept))
                except ServerUnavailableError:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, PAUSE_SECONDS_MAX)
                    continue
                kept.version, written = version, grant
                kept.versions.add(version)
                _log.info("grant_stored", credential=credential)
        except StaleGrantError:  # the file will show the newer one, which wins
            kept.writes = False
            _log.info("grant_superseded", credential=credential)
        except NotKeptError:
            kept.writes = False
            _log.warning("grant_not_kept", credential=credential)
        finally:
            kept.is_writing = False

    def _body(self, kept: Kept) -> dict[str, str | None]:
        expires_at = None
        if kept.expires_in is not None:
            left = kept.expires_in - (self._clock.monotonic() - kept.renewed_at)
            expires_at = rfc3339(self._clock.now() + timedelta(seconds=max(left, 0.0)))
        return {
            "version": kept.version,
            "access_token": kept.grant.access_token,
            "refresh_token": kept.grant.refresh_token,
            "expires_at": expires_at,
        }
