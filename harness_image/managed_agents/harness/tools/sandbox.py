"""The sandbox as a hand, through the proxy's hand listener (docs/internal-api.md), which holds address and secret."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from managed_agents.contracts.api.conditions import STUCK_REASONS
from managed_agents.harness.settings import Settings
from managed_agents.harness.tools.hand import (
    Call,
    Finished,
    HandLostError,
    HandNotProvisionedError,
    HandUnavailableError,
    HandUnreachableError,
    Lookup,
    MissingToken,
    NeverSeen,
    Running,
    ToolResult,
    UnreachableCredential,
)
from managed_agents.harness.tools.hand_calls import HandCalls, run_seconds_of

_PATH = "/v1/hands/sandbox"

_PAUSE_SECONDS = 0.1
"""Between two requests for a sandbox, so that one that is refused at once is not asked for in a busy loop."""


class SandboxHand:
    """The session's sandbox under one epoch: claimed by the first call that needs it, and again when it is lost."""

    def __init__(self, http: aiohttp.ClientSession, settings: Settings, *, session: str, epoch: int) -> None:
        self._calls = HandCalls(http, settings.hand_url + _PATH, cancel_seconds=settings.cancel_seconds)
        self._settings = settings
        self._session = session
        self._epoch = epoch
        self._generation: int | None = None

    @property
    def generation(self) -> int | None:
        """Return the generation of the sandbox that is claimed and bound."""
        return self._generation

    async def provision(self) -> int:
        """Claim a sandbox, waiting for it up to `sandbox_wait_seconds`. Raises: HandUnavailableError.

        Once its reason is one that seldom mends by itself, only `sandbox_stuck_seconds` are left.
        """
        if self._generation is not None:
            return self._generation
        seen = {"reason": "Pending", "message": "no sandbox was ready in time."}
        try:
            async with asyncio.timeout(self._settings.sandbox_wait_seconds) as limit:
                while (answer := await self._provision_once())["state"] != "ready":
                    if answer.get("reason") in STUCK_REASONS and seen["reason"] not in STUCK_REASONS:
                        self._hurry(limit)
                    seen |= {key: answer[key] for key in seen if answer.get(key)}
                    await asyncio.sleep(_PAUSE_SECONDS)
        except TimeoutError:
            raise HandUnavailableError(message=f"{seen['reason']}: {seen['message']}") from None
        self._generation = int(answer["generation"])
        return self._generation

    def _hurry(self, limit: asyncio.Timeout) -> None:
        soon = asyncio.get_running_loop().time() + self._settings.sandbox_stuck_seconds
        limit.reschedule(min(soon, limit.when() or soon))

    async def execute(self, call: Call) -> ToolResult:
        """Run a call or join it. Raises: as the protocol says."""
        body = {"tool_use_id": call.id, "name": call.name, "input": call.input}
        status, answer = await self._calls.execute(body, seconds_max=self._settings.tool_seconds_max)
        if status != 200:
            raise self._failure(status, answer)
        return _result(answer)

    async def lookup(self, call_id: str) -> Lookup:
        """Ask the sandbox's journal. Raises: as the protocol says."""
        status, answer = await self._calls.send("GET", f"/calls/{call_id}")
        if status == 404:
            return NeverSeen()
        if status != 200:
            raise self._failure(status, answer)
        return Running() if answer["state"] == "running" else Finished(result=_result(answer["result"]))

    async def cancel(self, call_id: str) -> None:
        """Kill a call, waiting for its end up to `cancel_seconds`; what can not be reached is left to die."""
        await self._calls.cancel(call_id)

    async def _provision_once(self) -> Mapping[str, Any]:
        body = {
            "session_id": self._session,
            "epoch": self._epoch,
            "name": "default",
            "wait_seconds": self._settings.provision_poll_seconds,
        }
        try:
            status, answer = await self._calls.send("POST", "/provision", body)
        except HandUnreachableError as error:
            return {"state": "pending", "reason": "Unreachable", "message": error.message}
        if status >= 500 or status == 410:  # a claimed sandbox may be lost before it is bound: ask for the next
            return {"state": "pending", "reason": "Unavailable", "message": _message(answer, status)}
        if status != 200:
            raise HandUnavailableError(message=_message(answer, status))
        return answer

    def _failure(self, status: int, answer: Mapping[str, Any]) -> Exception:
        """Classify a refusal: of all but these, the supervisor promises that nothing ran (docs/sandbox.md)."""
        error = answer.get("error") or {}
        match status, error.get("type"):
            case 409, "not_provisioned":
                self._generation = None
                return HandNotProvisionedError()
            case 410, _:
                self._generation = None
                return HandLostError(reason=error.get("reason") or "Gone", message=error.get("message") or "")
            case 429 | 503 | 507, _:
                return HandUnavailableError(message=_message(answer, status))
            case _ if status < 500:
                return HandUnavailableError(message=_message(answer, status))
            case _:
                return HandUnreachableError(message=_message(answer, status))


def _result(answer: Mapping[str, Any]) -> ToolResult:
    return ToolResult(
        content=answer["content"],
        is_error=bool(answer.get("is_error")),
        run_seconds=run_seconds_of(answer),
        unreachable=[
            UnreachableCredential(
                credential_id=str(one["credential_id"]), vault_id=str(one["vault_id"]), hosts=tuple(one["hosts"])
            )
            for one in answer.get("unreachable") or ()
        ],
        missing_tokens=[
            MissingToken(url=str(one["url"]), message=str(one["message"])) for one in answer.get("missing_tokens") or ()
        ],
    )


def _message(answer: Mapping[str, Any], status: int) -> str:
    error = answer.get("error") or {}
    return f"{error.get('type', f'HTTP status {status}')}: {error.get('message', '')}"
