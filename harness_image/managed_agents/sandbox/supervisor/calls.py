"""The life of a call: intent journaled, run once, result journaled, then told to everyone who asked."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from managed_agents.sandbox.runner.frames import Frame
from managed_agents.sandbox.supervisor import results
from managed_agents.sandbox.supervisor.errors import ContractError, invalid, not_found
from managed_agents.sandbox.supervisor.journal import JournalError
from managed_agents.sandbox.supervisor.link import RunnerLink
from managed_agents.sandbox.supervisor.logs import log
from managed_agents.sandbox.supervisor.results import Result, error_result
from managed_agents.sandbox.supervisor.store import Store

CALLS_MAX = 32  # at once; a model asks for a handful
REJOIN_SECONDS = 1.5  # a runner that lives reconnects in well under a second
ADOPT_SECONDS = 15.0  # after our own restart: how long an unfinished call may wait for the runner that has it
_CALL_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A checked body of `/execute`. The digest tells whether two requests with one id ask for the same."""

    tool_use_id: str
    name: str
    input: Any
    digest: str


@dataclass(slots=True, kw_only=True)
class _Live:
    """A call that has no journaled result yet. `sent`: the runner may have it; `ended`: its result is fixed.

    `sent_at` is when it went to the runner, by the loop's clock; not known of calls from before our own restart.
    """

    digest: str
    boot_id: str = ""
    sent: bool = False
    sent_at: float | None = None
    cancelled: bool = False
    ended: bool = False
    done: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


def check_call_id(text: str) -> str:
    """Return a tool-use id. Raises 400."""
    if not _CALL_ID.match(text):
        raise invalid("tool_use_id: must match [A-Za-z0-9_.:-]{1,128}")
    return text


def parse_call(body: Any) -> Call:
    """Return the request. Raises 400, naming the field. What the input holds is the tool's to judge."""
    if not isinstance(body, dict):
        raise invalid("the body must be a JSON object")
    call_id, name = body.get("tool_use_id"), body.get("name")
    if not isinstance(call_id, str):
        raise invalid("tool_use_id: must be a string")
    if not isinstance(name, str) or not 1 <= len(name) <= 128:
        raise invalid("name: must be a string of 1 to 128 characters")
    if "input" not in body:
        raise invalid("input: missing")
    canonical = json.dumps([name, body["input"]], sort_keys=True, separators=(",", ":")).encode("ascii")
    digest = hashlib.sha256(canonical).hexdigest()
    return Call(tool_use_id=check_call_id(call_id), name=name, input=body["input"], digest=digest)


class Calls:
    """All calls of the sandbox. Implements `RunnerEvents`."""

    def __init__(self, store: Store, link: RunnerLink, runner_wait_seconds: float) -> None:
        self._store = store
        self._link = link
        self._runner_wait_seconds = runner_wait_seconds
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rejoin: asyncio.TimerHandle | None = None
        # After our own restart the calls in flight wait for the runner to say which of them it still has.
        self._live = {
            call_id: _Live(digest=entry.digest, boot_id=entry.boot_id, sent=True)
            for call_id, entry in store.unfinished().items()
        }
        if self._live:
            loop = asyncio.get_running_loop()
            self._rejoin = loop.call_later(ADOPT_SECONDS, self._settle_all, results.UNKNOWN, "unknown")

    async def execute(self, call: Call) -> Result:
        """Run a call, join it, or return its journaled result. Raises 409, 429, 503, 507."""
        live = self._live.get(call.tool_use_id)
        entry = self._store.entry(call.tool_use_id)
        digest = live.digest if live is not None else entry.digest if entry is not None else call.digest
        if digest != call.digest:
            raise ContractError(409, "input_conflict", f"{call.tool_use_id} was used before with another name or input")
        if live is None and entry is not None:
            return await self._journaled(call.tool_use_id)
        if live is None:
            live = self._begin(call)
        del call  # its input may be large, and the tool long
        return await asyncio.shield(live.done)

    async def lookup(self, call_id: str) -> dict[str, Any]:
        """Return the state of a call. Raises 404."""
        if call_id in self._live:
            return {"state": "running"}
        if self._store.entry(call_id) is None:
            raise not_found(f"{call_id} was never accepted here: it has not run")
        return _state_of(await self._journaled(call_id))

    async def cancel(self, call_id: str) -> dict[str, Any]:
        """End a call and return its state. Raises 404."""
        live = self._live.get(call_id)
        if live is None:
            return await self.lookup(call_id)
        live.cancelled = True
        if live.sent:
            await self._link.send({"op": "cancel", "tool_use_id": call_id})
        elif not live.boot_id:  # it still waits for a runner
            self._end(call_id, error_result(results.NEVER_STARTED, "interrupted"))
        return _state_of(await asyncio.shield(live.done))

    async def close(self) -> None:
        """Let go of calls in flight; their intents are journaled and the runner has them."""
        if self._rejoin is not None:
            self._rejoin.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # A call's way to the runner

    def _begin(self, call: Call) -> _Live:
        if len(self._live) >= CALLS_MAX:
            raise ContractError(429, "too_many_calls", f"{CALLS_MAX} calls are running or waiting already")
        live = self._live[call.tool_use_id] = _Live(digest=call.digest)
        self._spawn(self._start(call, live))
        return live

    async def _start(self, call: Call, live: _Live) -> None:
        try:
            await self._send(call, live)
        except ContractError as error:
            del self._live[call.tool_use_id]
            live.done.set_exception(error)
            live.done.exception()  # whoever asked may have gone

    async def _send(self, call: Call, live: _Live) -> None:
        connected = await self._link.wait_connected(self._runner_wait_seconds)
        if live.ended:  # cancelled meanwhile
            return
        if not connected:
            raise ContractError(503, "runner_unavailable", "the tools container is not running; nothing ran")
        live.boot_id = self._link.boot_id or ""
        await self._store.append(_intent(call.tool_use_id, live))
        if live.cancelled:
            self._end(call.tool_use_id, error_result(results.NEVER_STARTED, "interrupted"))
            return
        if live.boot_id != self._link.boot_id or not self._link.connected:
            self._end(call.tool_use_id, error_result(results.NOT_STARTED, "lost"))
            return
        live.sent, live.sent_at = True, asyncio.get_running_loop().time()
        frame = {"op": "execute", "tool_use_id": call.tool_use_id, "name": call.name, "input": call.input}
        await self._link.send(frame)
        if live.cancelled:  # asked for while the frame was on its way
            await self._link.send({"op": "cancel", "tool_use_id": call.tool_use_id})

    # What the runner says

    def runner_connected(self, boot_id: str, running: frozenset[str]) -> None:
        """Settle the calls that a restarted container has lost. Those of the same one go on."""
        if self._rejoin is not None:
            self._rejoin.cancel()
            self._rejoin = None
        for call_id, live in list(self._live.items()):
            if not live.sent or live.ended:
                continue
            if live.boot_id != boot_id:
                self._end(call_id, error_result(results.LOST, "lost"))
            elif call_id not in running:
                # Its result may be the next frame; else the runner never got the call.
                asyncio.get_running_loop().call_later(REJOIN_SECONDS, self._settle, call_id, results.NOT_STARTED)
            elif live.cancelled:
                self._spawn(self._link.send({"op": "cancel", "tool_use_id": call_id}))

    def runner_lost(self) -> None:
        """Give the runner a moment to come back before its calls count as lost."""
        loop = asyncio.get_running_loop()
        self._rejoin = loop.call_later(REJOIN_SECONDS, self._settle_all, results.LOST, "lost")

    def runner_result(self, frame: Frame) -> None:
        """Journal a result and acknowledge it; one that nobody waits for is only acknowledged."""
        call_id = frame.get("tool_use_id")
        if not isinstance(call_id, str):
            log("warning", "runner sent a result without an id")
            return
        live = self._live.get(call_id)
        if live is not None and live.sent:
            self._end(call_id, results.result_of_frame(frame))
        else:
            log("info", "result for no running call", tool_use_id=call_id[:128])
            self._spawn(self._link.send({"op": "ack", "tool_use_id": call_id}))

    # The end of a call

    def _settle_all(self, text: str, outcome: str) -> None:
        for call_id, live in list(self._live.items()):
            if live.sent:
                self._end(call_id, error_result(text, outcome))

    def _settle(self, call_id: str, text: str) -> None:
        if call_id in self._live:
            self._end(call_id, error_result(text, "lost"))

    def _end(self, call_id: str, result: Result) -> None:
        """Fix a call's result: the first one counts, whatever the runner says later."""
        live = self._live[call_id]
        if not live.ended:
            live.ended = True
            if live.sent_at is not None:
                run_seconds = asyncio.get_running_loop().time() - live.sent_at
                result = {**result, "run_ms": round(run_seconds * 1000, 3)}
            self._spawn(self._finish(call_id, live, result))

    async def _finish(self, call_id: str, live: _Live, result: Result) -> None:
        try:
            if self._store.entry(call_id) is None:
                await self._store.append(_intent(call_id, live))
            await self._store.append({"op": "result", "tool_use_id": call_id, **result})
        except ContractError as error:
            # The tool ran: withholding what it said would not undo that. After a restart it will read as unknown.
            log("error", "result not journaled", tool_use_id=call_id, reason=error.message)
        else:
            await self._link.send({"op": "ack", "tool_use_id": call_id})
        log("info", "call ended", tool_use_id=call_id, outcome=result["outcome"], is_error=result["is_error"])
        self._live.pop(call_id, None)
        live.done.set_result(result)

    async def _journaled(self, call_id: str) -> Result:
        try:
            record = await self._store.result(call_id)
        except (JournalError, OSError) as error:
            log("error", "result not readable", tool_use_id=call_id, reason=str(error))
            record = None
        return error_result(results.NOT_KEPT, "unknown") if record is None else results.public(record)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _intent(call_id: str, live: _Live) -> dict[str, Any]:
    return {"op": "intent", "tool_use_id": call_id, "digest": live.digest, "boot_id": live.boot_id}


def _state_of(result: Result) -> dict[str, Any]:
    return {"state": "unknown" if result["outcome"] == "unknown" else "finished", "result": result}
