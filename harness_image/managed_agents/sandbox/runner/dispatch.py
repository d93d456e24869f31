"""The calls of the supervisor: which run, which wait, which ended and are not acknowledged yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from managed_agents.sandbox.runner.bash import with_output
from managed_agents.sandbox.runner.frames import Frame
from managed_agents.sandbox.runner.limits import UNACKED_RESULTS_MAX
from managed_agents.sandbox.runner.toolset import Toolset, result_of

_READERS_MAX = 8  # read, glob and grep at once; each is a process


class Dispatcher:
    """Runs each call once. bash calls share a shell and so take turns, as do the tools that change files."""

    def __init__(
        self,
        toolset: Toolset,
        boot_id: str,
        publish: Callable[[Frame], None],
        ended: Callable[[], None],
        given: Callable[[Frame], None],
    ) -> None:
        """`ended` is called after each call, before its result is published; `given` takes `environment` frames."""
        self._given = given
        self._toolset = toolset
        self._ended = ended
        self._boot_id = boot_id
        self._publish = publish
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._entered: set[str] = set()
        self._cancelled: set[str] = set()
        self._unacked: dict[str, Frame] = {}
        self._turns = {name: asyncio.Semaphore(1) for name in ("bash", "write", "repository")}
        self._turns["edit"] = self._turns["write"]
        self._readers = asyncio.Semaphore(_READERS_MAX)

    def hello(self) -> list[Frame]:
        """Return the frames a new connection begins with."""
        hello: Frame = {"op": "hello", "boot_id": self._boot_id, "running": sorted(self._tasks)}
        return [hello, *self._unacked.values()]

    def handle(self, frame: Frame) -> None:
        """Act on a frame of the supervisor, which is trusted; one it repeats changes nothing."""
        call_id = str(frame.get("tool_use_id"))
        if frame["op"] == "execute":
            self._execute(call_id, str(frame.get("name")), frame.get("input"))
        elif frame["op"] == "cancel":
            self._cancel(call_id)
        elif frame["op"] == "ack":
            self._unacked.pop(call_id, None)
        elif frame["op"] == "environment":
            self._given(frame)

    async def close(self) -> None:
        """End all calls and the shell."""
        for call_id in list(self._tasks):
            self._cancel(call_id)
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()))
        await self._toolset.bash.close()

    def _execute(self, call_id: str, name: str, arguments: Any) -> None:
        if call_id in self._tasks or call_id in self._unacked:
            return
        self._tasks[call_id] = asyncio.get_running_loop().create_task(self._run(call_id, name, arguments))

    def _cancel(self, call_id: str) -> None:
        task = self._tasks.get(call_id)
        if task is None or call_id in self._cancelled:  # a second one would disturb the killing
            return
        self._cancelled.add(call_id)
        if call_id in self._entered:  # a task cancelled before its first step ends without a result
            task.cancel()

    async def _run(self, call_id: str, name: str, arguments: Any) -> None:
        started = False
        self._entered.add(call_id)
        try:
            if call_id in self._cancelled:
                raise asyncio.CancelledError
            async with self._turns.get(name, self._readers):
                started = True
                result = await self._toolset.call(call_id, name, arguments)
        except asyncio.CancelledError:
            result = self._interrupted(name, started)
        except Exception as error:  # noqa: BLE001 - the edge: whatever a tool does, its call gets a result
            result = result_of(f"{name}: internal error: {error!r}", is_error=True)
        del self._tasks[call_id]
        self._cancelled.discard(call_id)
        self._entered.discard(call_id)
        self._ended()
        self._finish({"op": "result", "tool_use_id": call_id, **result})

    def _interrupted(self, name: str, started: bool) -> dict[str, Any]:
        text = f"{name}: interrupted before completion"
        if not started:
            text = f"{name}: interrupted before it started"
        elif name == "bash":
            text = with_output(text, self._toolset.bash.interrupted_output())
        return result_of(text, is_error=True, outcome="interrupted")

    def _finish(self, frame: Frame) -> None:
        while len(self._unacked) >= UNACKED_RESULTS_MAX:
            self._unacked.pop(next(iter(self._unacked)))
        self._unacked[frame["tool_use_id"]] = frame
        self._publish(frame)
