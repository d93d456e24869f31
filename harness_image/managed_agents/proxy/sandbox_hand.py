"""The sandbox as a hand: provision, execute, lookup, cancel, and the truth about a connection that broke.

A broken connection says nothing about the sandbox. The server knows whether its Pod is gone; while it is not, the same
call is sent again, which is safe because the supervisor's journal joins or repeats it by its id (design §6).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import quote

from managed_agents.contracts.clock import Clock
from managed_agents.proxy.bindings import (
    Binding,
    MalformedError,
    Pending,
    Wanted,
    call_from,
    result_from,
)
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import UnreachableError
from managed_agents.proxy.sandbox_ends import Claims, Gone, Supervisor
from managed_agents.proxy.settings import Pacing

Answer = TypeVar("Answer")

_FOREIGN = frozenset({"authentication_error", "permission_error", "not_bound", "already_bound", "malformed_reply"})
"""Answers of one that does not know this binding: perhaps another Pod, which got a dead one's address."""

EnvironmentOf = Callable[[Binding], Awaitable[Mapping[str, object] | None]]
"""What a sandbox's tools get in their environment, as `/bind` takes it; null where that is not known now."""


FoundOf = Callable[[Binding], Mapping[str, object]]
"""What was found of a sandbox's credentials that the harness shall write down, as fields of a call's answer."""


async def _no_environment(_: Binding) -> Mapping[str, object] | None:
    return None


class SandboxHand:
    """The session's sandbox. Keeps the binding of the last provision, and how it ended."""

    def __init__(
        self,
        claims: Claims,
        supervisor: Supervisor,
        pacing: Pacing,
        clock: Clock,
        *,
        in_use: Callable[[Binding], None] = lambda _: None,
        environment_of: EnvironmentOf = _no_environment,
        found_of: FoundOf = lambda _: {},
    ) -> None:
        """`in_use` is told each binding that is provisioned or executed under, before the call is made.

        `environment_of` gives what its tools get; a sandbox is bound again where that has changed.
        """
        self._in_use = in_use
        self._environment_of = environment_of
        self._found_of = found_of
        self._environment: Mapping[str, object] | None = None
        self._claims = claims
        self._supervisor = supervisor
        self._pacing = pacing
        self._clock = clock
        self._binding: Binding | None = None
        self._ended: Gone | None = None

    async def provision(self, wanted: Wanted) -> Binding | Pending:
        """Claim the sandbox at the server and bind it to the epoch. Raises: RefusedError."""
        try:
            claimed = await self._claims.claim(wanted)
        except UnreachableError as problem:
            raise RefusedError(503, "unavailable", f"the server is unreachable: {problem}") from None
        except MalformedError as problem:
            raise RefusedError(502, "bad_gateway", f"the server's claim is malformed: {problem}") from None
        if isinstance(claimed, Pending):
            return claimed
        environment = await self._environment_of(claimed)
        if claimed == self._binding and self._ended is None:
            self._in_use(claimed)
            await self._tell(claimed, environment)
            return claimed
        await self._persist(claimed, lambda: self._supervisor.bind(claimed, environment))
        # Two provisions may overlap: the one of the later epoch stays.
        if self._binding is None or not claimed.is_older_than(self._binding):
            self._binding, self._ended, self._environment = claimed, None, environment
            self._in_use(claimed)
        return claimed

    async def _tell(self, binding: Binding, environment: Mapping[str, object] | None) -> None:
        """Bind a sandbox again whose tools' environment has changed: a vault has got or lost a credential."""
        if environment is not None and environment != self._environment:
            await self._persist(binding, lambda: self._supervisor.bind(binding, environment))
            self._environment = environment

    async def execute(self, body: bytes) -> dict[str, object]:
        """Run a tool, or join or repeat the call of that id, and return its result. Raises: RefusedError."""
        if (binding := self._binding) is not None and self._ended is None:
            await self._tell(binding, await self._environment_of(binding))
        result = await self._call(result_from, "POST", "/execute", body)
        return result if binding is None else {**result, **self._found_of(binding)}

    async def lookup(self, tool_use_id: str) -> dict[str, object]:
        """Return what the journal says of a call. Raises: RefusedError, 404 for one that never was accepted."""
        return await self._call(call_from, "GET", f"/calls/{quote(tool_use_id, safe='')}")

    async def cancel(self, tool_use_id: str) -> dict[str, object]:
        """End a running call and return what the journal says of it afterwards. Raises: RefusedError."""
        return await self._call(call_from, "POST", f"/calls/{quote(tool_use_id, safe='')}/cancel")

    async def _call(
        self, read: Callable[[object], dict[str, object]], method: str, path: str, body: bytes | None = None
    ) -> dict[str, object]:
        binding = self._binding
        if binding is None:
            raise RefusedError(409, "not_provisioned", "no sandbox is bound; call provision first")
        if self._ended is not None:
            raise _lost(self._ended)
        self._in_use(binding)

        async def attempt() -> dict[str, object]:
            return read(await self._supervisor.call(binding, method, path, body))

        return await self._persist(binding, attempt)

    async def _persist(self, binding: Binding, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        """Make an attempt, again after a broken connection, until the sandbox is known to be gone or the bound is met.

        Raises: RefusedError, 410 `sandbox_lost`, 502 `unreachable` or `malformed_reply`, or the supervisor's own.
        """
        deadline: float | None = None
        wait_seconds = 0.0  # the first question is answered at once: most breaks are a supervisor that restarted
        while True:
            try:
                return await attempt()
            except UnreachableError as problem:
                reason = str(problem)
            except MalformedError as problem:
                malformed = RefusedError(502, "malformed_reply", f"the sandbox's answer is malformed: {problem}")
                raise await self._doubted(binding, malformed) from None
            except RefusedError as refusal:
                raise await self._doubted(binding, refusal) from None
            now = self._clock.monotonic()
            deadline = now + self._pacing.bound_seconds if deadline is None else deadline
            if gone := await self._end_of(binding, wait_seconds):
                raise self._note_lost(binding, gone)
            if now >= deadline:
                message = f"the sandbox {binding.pod_name} does not answer ({reason}) and is not known to be gone"
                raise RefusedError(502, "unreachable", message)
            wait_seconds = self._pacing.state_wait_seconds

    async def _doubted(self, binding: Binding, refusal: RefusedError) -> RefusedError:
        """Return a supervisor's refusal, or `sandbox_lost` where it came from a stranger at a dead Pod's address."""
        gone = await self._end_of(binding, 0.0) if refusal.kind in _FOREIGN else None
        return self._note_lost(binding, gone) if gone else refusal

    def _note_lost(self, binding: Binding, gone: Gone) -> RefusedError:
        if binding == self._binding:
            self._ended = gone
        return _lost(gone)

    async def _end_of(self, binding: Binding, wait_seconds: float) -> Gone | None:
        """Ask the server, and spend at least the pause on it after the first time."""
        started = self._clock.monotonic()
        try:
            gone = await self._claims.end_of(binding, wait_seconds=wait_seconds)
        except RefusedError as refusal:
            # The server forgot this sandbox: its record was replaced or the session is deleted.
            gone = Gone(reason="Deleted", message=refusal.message) if refusal.status == 404 else None
        if gone is None and wait_seconds and self._clock.monotonic() - started < self._pacing.pause_seconds:
            await asyncio.sleep(self._pacing.pause_seconds)
        return gone


def _lost(gone: Gone) -> RefusedError:
    return RefusedError(410, "sandbox_lost", gone.message, detail={"reason": gone.reason})
