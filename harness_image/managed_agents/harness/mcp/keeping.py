"""Results too long for a conversation: kept in a file of the sandbox, while the model gets a preview and the path.

So it is for the sandbox's own tools (docs/sandbox.md). Where there is no sandbox the middle is lost, which is said.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from managed_agents.harness.tools.hand import (
    Call,
    Hand,
    HandLostError,
    HandNotProvisionedError,
    HandUnavailableError,
    HandUnreachableError,
    ToolResult,
)
from managed_agents.harness.tools.wrapped import WrappedHand

CHARACTERS_MAX = 100_000
"""All text of one result (API reference §8)."""

HEAD_CHARACTERS = 10_000
TAIL_CHARACTERS = 20_000

KEEP = "keep"
"""The sandbox's own name of the call. No toolset offers it."""

_SEPARATOR = "\n"


class KeepingHand(WrappedHand):
    """A hand around a hand, which shortens its results. `sandbox` is where long ones are kept, if there is one."""

    def __init__(self, hand: Hand, sandbox: Hand | None) -> None:
        super().__init__(hand)
        self._sandbox = sandbox

    async def execute(self, call: Call) -> ToolResult:
        """Run a call; see `Hand`."""
        result = await super().execute(call)
        texts = [text for block in result.content if (text := _text_of(block)) is not None]
        if sum(map(len, texts)) <= CHARACTERS_MAX:
            return result
        whole = _SEPARATOR.join(texts)
        shown = await self._kept(call.id, whole) or _preview(whole)
        others = [block for block in result.content if _text_of(block) is None]
        return replace(result, content=[{"type": "text", "text": shown}, *others])

    async def _kept(self, call_id: str, text: str) -> str | None:
        """Keep a text and return its preview; None where that cannot be."""
        if self._sandbox is None:
            return None
        try:
            await self._sandbox.provision()
            result = await self._sandbox.execute(Call(id=f"{call_id}.output", name=KEEP, input={"text": text}))
        except (HandUnavailableError, HandLostError, HandUnreachableError, HandNotProvisionedError):
            return None
        shown = "".join(_text_of(block) or "" for block in result.content)
        return shown if shown and not result.is_error else None


def _text_of(block: Mapping[str, Any]) -> str | None:
    if block["type"] == "text":
        return str(block["text"])
    if block["type"] == "document" and block["source"]["type"] == "text":
        return str(block["source"]["data"])
    return None


def _preview(text: str) -> str:
    return (
        f"[output truncated]\n[{len(text)} characters in all; the whole output could not be kept. Its beginning "
        f"and its end follow.]\n{text[:HEAD_CHARACTERS]}\n[... left out ...]\n{text[-TAIL_CHARACTERS:]}"
    )
