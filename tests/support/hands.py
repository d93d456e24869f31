"""A sandbox in memory: journal, generations and a proxy's binding, with every fault a test asks for."""

from collections.abc import Callable, Mapping
from typing import Any

from managed_agents.harness.tools.hand import (
    Call,
    Finished,
    HandLostError,
    HandNotProvisionedError,
    HandUnavailableError,
    HandUnreachableError,
    Lookup,
    NeverSeen,
    Running,
    ToolResult,
    error_result,
)
from support.platform import Gate, open_gate


class FakeSandbox:
    """The world's side: the sandbox Pods of a session, and what the proxy of its harness Pod is bound to."""

    def __init__(self) -> None:
        self.generation = 0
        self.bound: int | None = None
        self.effects: list[str] = []
        self.lookups: list[str] = []
        self.cancelled: list[str] = []
        self.journal: dict[str, ToolResult | None] = {}
        self.results: dict[str, ToolResult] = {}
        self.unavailable: str | None = None
        self.unreachable = False
        self.lost: str | None = None
        self.configs: list[dict[str, Any]] = []

    def lose(self, reason: str) -> None:
        """Let the Pod die."""
        self.lost = reason
        self.journal = {}

    def replace_harness_pod(self) -> None:
        """Let the harness Pod, and with it the proxy's binding, be replaced."""
        self.bound = None

    def claim(self) -> int:
        if self.unavailable is not None:
            raise HandUnavailableError(message=self.unavailable)
        if self.generation == 0 or self.lost is not None:
            self.generation, self.lost, self.journal = self.generation + 1, None, {}
        self.bound = self.generation
        return self.generation

    def check(self) -> None:
        if self.bound is None:
            raise HandNotProvisionedError
        if self.unreachable:
            raise HandUnreachableError(message="no route to the sandbox")
        if self.lost is not None or self.bound != self.generation:
            raise HandLostError(reason=self.lost or "Deleted", message="the Pod is gone")

    def begin(self, call: Call) -> None:
        if call.id not in self.journal:
            self.journal[call.id] = None
            self.effects.append(call.id)

    def finish(self, call: Call) -> ToolResult:
        result = self.journal.get(call.id)
        if result is None:
            result = self.results.get(call.name) or text_result(f"ran {call.input.get('command', call.name)}")
            self.journal[call.id] = result
        return result


class FakeHand:
    """The hand under one epoch, in one worker."""

    def __init__(self, sandbox: FakeSandbox, gate: Gate = open_gate) -> None:
        self._sandbox = sandbox
        self._gate = gate
        self._generation: int | None = None

    @property
    def generation(self) -> int | None:
        return self._generation

    async def provision(self) -> int:
        if self._generation is None:
            await self._gate("before provision")
            self._generation = self._sandbox.claim()
            await self._gate("after provision")
        return self._generation

    async def execute(self, call: Call) -> ToolResult:
        await self._gate("before execute")
        try:
            self._sandbox.check()
        except (HandNotProvisionedError, HandLostError):
            self._generation = None
            raise
        self._sandbox.begin(call)
        await self._gate("during execute")
        result = self._sandbox.finish(call)
        await self._gate("after execute")
        return result

    async def lookup(self, call_id: str) -> Lookup:
        await self._gate("lookup")
        self._sandbox.check()
        self._sandbox.lookups.append(call_id)
        if call_id not in self._sandbox.journal:
            return NeverSeen()
        result = self._sandbox.journal[call_id]
        return Running() if result is None else Finished(result=result)

    async def cancel(self, call_id: str) -> None:
        self._sandbox.cancelled.append(call_id)
        if call_id in self._sandbox.journal:
            self._sandbox.journal[call_id] = error_result("interrupted")


class FakeWeb(FakeHand):
    """The web tools in memory: always ready, with the configuration that each call came with."""

    def __init__(
        self, sandbox: FakeSandbox, config_of: Callable[[str], Mapping[str, Any]], gate: Gate = open_gate
    ) -> None:
        super().__init__(sandbox, lambda point: gate(f"web {point}"))
        sandbox.bound = sandbox.generation = 1
        self._config_of = config_of

    @property
    def generation(self) -> int | None:
        return 1

    async def execute(self, call: Call) -> ToolResult:
        self._sandbox.configs.append(dict(self._config_of(call.name)))
        return await super().execute(call)


def text_result(text: str, *, is_error: bool = False) -> ToolResult:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}]
    return ToolResult(content=blocks, is_error=is_error)
