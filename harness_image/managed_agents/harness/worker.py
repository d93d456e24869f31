"""A worker: holds a lease, keeps it alive, and runs the loop under it; after a lost connection, under the next one."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import aiohttp
import structlog

from managed_agents.contracts.errors import ConflictError, FencedError, NotFoundError
from managed_agents.contracts.ids import new_event_id
from managed_agents.harness.files import Files, FileSource
from managed_agents.harness.history.conversation import Forgotten
from managed_agents.harness.history.state import State
from managed_agents.harness.log import SessionLog
from managed_agents.harness.loop import Loop, WebHandFor
from managed_agents.harness.mcp.client import McpClient
from managed_agents.harness.mcp.event_stream import EventStream
from managed_agents.harness.mcp.http import StreamableHttp
from managed_agents.harness.mcp.servers import McpServers
from managed_agents.harness.model import MessagesModel, Model
from managed_agents.harness.platform import ConfigChanged, EventArrived, Lease, LeaseEnded, Platform
from managed_agents.harness.platform_http import HttpPlatform
from managed_agents.harness.readings import Readings
from managed_agents.harness.settings import Settings
from managed_agents.harness.tools.hand import Hand
from managed_agents.harness.tools.sandbox import SandboxHand
from managed_agents.harness.tools.web import ConfigOf, WebHand

_log = structlog.get_logger()

HandFor = Callable[[Lease], Hand]
McpClientFor = Callable[[str], McpClient]
"""Makes the client of an MCP server that the session names."""


class _SessionOverError(Exception):
    """This worker has nothing more to do for its session."""


class Worker:
    """Works on one session through any number of leases; what it has folded of the log stays between them.

    Where too many of its predecessors died reading the log, it only ends what is open, without a conversation.
    """

    def __init__(
        self,
        *,
        platform: Platform,
        model: Model,
        hand_for: HandFor,
        web_hand_for: WebHandFor,
        files: FileSource,
        settings: Settings,
        mcp_client_for: McpClientFor,
        readings: Readings | None = None,
    ) -> None:
        self._mcp_client_for = mcp_client_for
        self._platform, self._model, self._hand_for, self._settings = platform, model, hand_for, settings
        self._web_hand_for = web_hand_for
        self._files, self._readings, self._gives_up = files, readings or Readings(), False
        self._history: SessionLog | None = None

    async def run(self) -> None:
        """Work until the session is released, ended or another's."""
        failures = 0
        while True:
            try:
                async with self._platform.wake() as lease:
                    failures = 0
                    await self._hold(lease)
            except (_SessionOverError, FencedError, NotFoundError) as ending:
                _log.info("session_over", why=str(ending))
                return
            except ConnectionError as lost:
                failures += 1
                _log.info("lease_lost", failures=failures, error=str(lost))
            pause = min(0.05 * 2.0**failures, self._settings.reconnect_cap_seconds)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing

    async def _hold(self, lease: Lease) -> None:
        session = str(lease.config["id"])
        gives_up = self._readings.begin(session)
        if self._history is None or self._history.session != session:
            self._gives_up = gives_up
            state = State(conversation=Forgotten()) if gives_up else None
            self._history = SessionLog(self._platform, session, state)
        history = self._history
        known = history.state.head
        _log.info(
            "lease_taken", session=session, epoch=lease.epoch, head=lease.head, known=known, gives_up=self._gives_up
        )
        try:
            await history.resume(lease)
        except (ConnectionError, FencedError, NotFoundError, asyncio.CancelledError):
            self._readings.survived()  # whatever this worker dies of later is something else
            raise
        self._readings.end()
        loop = Loop(
            lease=lease,
            log=history,
            model=self._model,
            hand=self._hand_for(lease),
            web_hand_for=self._web_hand_for,
            files=Files(self._files, session),
            settings=self._settings,
            servers=McpServers(self._mcp_client_for, self._settings),
            new_id=new_event_id,
            random=random.random,
        )
        await _until_one_ends(_listen(lease, loop, history), self._work(loop, session, lease.epoch))

    async def _work(self, loop: Loop, session: str, epoch: int) -> None:
        if self._gives_up:
            await loop.give_up()
            raise _SessionOverError("gave up")
        await loop.run()
        with suppress(ConflictError, NotFoundError):
            await self._platform.release(session, epoch)
        raise _SessionOverError("ended")


async def _until_one_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, cancel the others, and raise what it raised.

    Not a task group: in Python 3.11 one that fails in the instant it is cancelled forgets that it was.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def _listen(lease: Lease, loop: Loop, history: SessionLog) -> None:
    async for news in lease:
        match news:
            case EventArrived(event=event):
                history.receive(event)
            case ConfigChanged(config=config):
                loop.configure(config)
            case LeaseEnded(why=why):
                raise _SessionOverError(why)
    raise ConnectionResetError("the connection to the session's server was lost")


async def run_worker(settings: Settings, readings: Readings | None = None) -> None:
    """Run a worker against the proxy of this Pod until its session is over."""
    async with AsyncExitStack() as stack:
        # A tool call may take minutes and answer nothing meanwhile, so only connecting is bounded here.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        model = await stack.enter_async_context(MessagesModel(settings))
        platform = HttpPlatform(http, settings)

        def hand_for(lease: Lease) -> Hand:
            return SandboxHand(http, settings, session=str(lease.config["id"]), epoch=lease.epoch)

        def web_hand_for(config_of: ConfigOf) -> Hand:
            return WebHand(http, settings, config_of)

        def mcp_client_for(server: str) -> McpClient:
            url = f"{settings.mcp_url}/v1/mcp"
            return McpClient(lambda: StreamableHttp(http, url, server), lambda: EventStream(http, url, server))

        worker = Worker(
            platform=platform,
            model=model,
            hand_for=hand_for,
            web_hand_for=web_hand_for,
            files=platform,
            settings=settings,
            mcp_client_for=mcp_client_for,
            readings=readings,
        )
        await worker.run()
