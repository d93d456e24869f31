"""Connections that wait in the sandbox for its tools: the proxy dials in, for a sandbox can dial nobody (design §7).

Each is an HTTP request of the supervisor's port that became a plain pipe (docs/egress.md). It serves one connection of
a tool; another takes its place as soon as it does.
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from managed_agents.contracts.clock import Clock
from managed_agents.proxy.bindings import Binding
from managed_agents.proxy.egress import Egress, NetworkingOf
from managed_agents.proxy.egress_request import HEAD_BYTES_MAX
from managed_agents.proxy.injection.sandboxes import SandboxCredentials
from managed_agents.proxy.settings import CONNECT_SECONDS

START = b"\x01"
"""What the supervisor sends when a tool has come, and what it gets back when we are still there."""

_Streams = tuple[StreamReader, StreamWriter]
_Serve = Callable[[_Streams], Coroutine[Any, Any, None]]

_log = structlog.get_logger(listener="egress")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPacing:
    """How many connections are held, and how a broken one is made again."""

    waiting: int = 8
    """Enough that a burst such as a package manager's is served while their successors connect."""
    tunnels_max: int = 256
    """Connections of tools at once; more wait in the sandbox."""
    pause_seconds: float = 0.1
    pause_seconds_max: float = 2.0
    give_up_seconds: float = 30.0
    """A sandbox that is unreachable for so long may be gone and its address another's: the next call begins anew."""


class _RefusedError(Exception):
    """The sandbox does not know this binding, or knows a newer harness."""


class EgressPool:
    """Keeps connections waiting at the sandbox of the newest binding."""

    def __init__(
        self,
        egress: Egress,
        networking_for: Callable[[str], NetworkingOf],
        clock: Clock,
        pacing: PoolPacing,
        *,
        credentials_of: Callable[[Binding], SandboxCredentials | None] = lambda _: None,
    ) -> None:
        self._egress = egress
        self._credentials_of = credentials_of
        self._networking_for = networking_for
        self._clock = clock
        self._pacing = pacing
        self._binding: Binding | None = None
        self._waiting: set[asyncio.Task[None]] = set()
        self._tunnels: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(pacing.tunnels_max)

    def ensure(self, binding: Binding) -> None:
        """Hold connections for this binding. What tools have open goes on while the sandbox stays the same."""
        if binding == self._binding and self._waiting:
            return
        known = self._binding
        for task in self._waiting:
            task.cancel()
        if known is not None and known.pod_name != binding.pod_name:
            for task in self._tunnels:
                task.cancel()
        serve = self._serving(binding)
        self._binding = binding
        self._waiting = set()
        for _ in range(self._pacing.waiting):
            _keep(self._waiting, self._hold(binding, serve))

    def _serving(self, binding: Binding) -> _Serve:
        networking_of, credentials = self._networking_for(binding.session), self._credentials_of(binding)
        return lambda streams: self._egress.serve(streams, networking_of, credentials)

    async def close(self) -> None:
        """Drop every connection."""
        tasks = [*self._waiting, *self._tunnels]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hold(self, binding: Binding, serve: _Serve) -> None:
        broken_since: float | None = None
        pause = self._pacing.pause_seconds
        while True:
            await self._room.acquire()
            handed_over = False
            try:
                streams = await _offered(binding)
                broken_since, pause = None, self._pacing.pause_seconds
                await self._assigned(streams, serve)
                handed_over = True
                continue
            except _RefusedError as refusal:
                _log.info("not_relaying", reason=str(refusal))
                return
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            finally:
                if not handed_over:
                    self._room.release()
            now = self._clock.monotonic()
            broken_since = now if broken_since is None else broken_since
            if now - broken_since >= self._pacing.give_up_seconds:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._pacing.pause_seconds_max)

    async def _assigned(self, streams: _Streams, serve: _Serve) -> None:
        """Wait for a tool and hand connection and room over. Raises: OSError when the sandbox drops it before."""
        reader, writer = streams
        with _closing_unless_kept(writer) as kept:
            if await reader.readexactly(1) != START:
                raise ConnectionResetError("the sandbox broke the protocol")
            writer.write(START)
            await writer.drain()
            kept.set()
        # Not by the task itself: one that is cancelled before it begins runs no line, so no `finally` either.
        _keep(self._tunnels, serve(streams)).add_done_callback(lambda _: self._let_go(writer))

    def _let_go(self, writer: StreamWriter) -> None:
        writer.close()
        self._room.release()


@contextmanager
def _closing_unless_kept(writer: StreamWriter) -> Iterator[asyncio.Event]:
    kept = asyncio.Event()
    try:
        yield kept
    finally:
        if not kept.is_set():
            writer.close()


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.ensure_future(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


async def _offered(binding: Binding) -> tuple[StreamReader, StreamWriter]:
    """Return a connection that the supervisor has taken. Raises: _RefusedError, OSError, what readers raise."""
    host, port = binding.base.host, binding.base.port
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(host, port, limit=HEAD_BYTES_MAX)
        with _closing_unless_kept(writer) as kept:
            writer.write(_upgrade(binding))
            head = await reader.readuntil(b"\r\n\r\n")
            status = head.split(b" ", 2)[1:2]
            if status == [b"101"]:
                kept.set()
                return reader, writer
    if status and status[0] in {b"401", b"403", b"404", b"409"}:
        raise _RefusedError(f"the sandbox answers with status {status[0].decode()}")
    raise ConnectionRefusedError("the sandbox has no room")


def _upgrade(binding: Binding) -> bytes:
    lines = (
        "POST /egress HTTP/1.1",
        f"Host: {binding.base.host}",
        f"Authorization: Bearer {binding.secret}",
        f"X-Epoch: {binding.epoch}",
        "Connection: Upgrade",
        "Upgrade: managed-agents-egress",
        "Content-Length: 0",
    )
    return "\r\n".join((*lines, "", "")).encode("latin-1")
