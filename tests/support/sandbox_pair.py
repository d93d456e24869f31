"""The same call on the SDK's toolset and on ours, each in a folder of its own with the same content."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anthropic.lib.tools._beta_functions import aclose_runnable_tool
from anthropic.lib.tools._beta_session_runner import _to_session_content
from anthropic.lib.tools._tool_dispatch import tool_error_content, tool_result_content
from anthropic.lib.tools.agent_toolset import AgentToolContext, beta_agent_toolset_20260401

from managed_agents.sandbox.runner.children import Children, exit_status
from managed_agents.sandbox.runner.oom import OomCounter
from managed_agents.sandbox.runner.spill import SpillFolder
from managed_agents.sandbox.runner.tools.paths import Roots
from managed_agents.sandbox.runner.toolset import Toolset

Result = tuple[list[dict[str, Any]], bool]


def normalised(blocks: Any, base: Path) -> list[dict[str, Any]]:
    """Replace the folder in texts, which alone may differ."""
    return [
        {**block, "text": block["text"].replace(str(base), "BASE")} if "text" in block else dict(block)
        for block in blocks
    ]


class OwnChildren(Children):
    """Reaps our processes only: the SDK's, of the same test process, are asyncio's to reap."""

    def reap(self) -> None:
        for pid in list(self.waiting):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self.tell(pid, exit_status(status))


class SdkToolset:
    """The official tools, their results as the SDK's session runner posts them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        context = AgentToolContext(
            workdir=base / "work",
            allowed_roots=[base / "outputs", base / "uploads"],
            read_only_roots=[base / "uploads"],
        )
        self._tools = {tool.name: tool for tool in beta_agent_toolset_20260401(context)}

    async def call(self, name: str, arguments: dict[str, Any]) -> Result:
        try:
            content = tool_result_content(await self._tools[name].call(arguments))
            is_error = False
        except Exception as error:  # noqa: BLE001 - as the SDK's session runner does
            content = tool_error_content(error)
            is_error = True
        blocks, _ = _to_session_content(content)
        return normalised(blocks, self.base), is_error

    async def close(self) -> None:
        for tool in self._tools.values():
            await aclose_runnable_tool(tool)


class OurToolset:
    """The runner's tools, forked processes included."""

    def __init__(self, base: Path, children: Children) -> None:
        self.base = base
        roots = Roots(base / "work", (base / "outputs", base / "uploads"), (base / "uploads",))
        self._toolset = Toolset(roots, SpillFolder(base / "spill"), children, OomCounter(base / "no-cgroup"))

    async def call(self, name: str, arguments: dict[str, Any]) -> Result:
        result = await self._toolset.call("call_1", name, arguments)
        return normalised(result["content"], self.base), result["is_error"]

    async def close(self) -> None:
        await self._toolset.bash.close()


@dataclass
class Pair:
    """Both toolsets. `call` runs a call on both and returns both results."""

    sdk: SdkToolset
    ours: OurToolset

    def on_both(self, prepare: Callable[[Path], object]) -> None:
        """Do the same to both folders."""
        for base in (self.sdk.base, self.ours.base):
            prepare(base)

    async def call(self, name: str, **arguments: Any) -> tuple[Result, Result]:
        return await self.sdk.call(name, self._placed(arguments, self.sdk.base)), await self.ours.call(
            name, self._placed(arguments, self.ours.base)
        )

    async def same(self, name: str, **arguments: Any) -> Result:
        """Run a call on both, assert that results and files are equal, and return the result."""
        sdk, ours = await self.call(name, **arguments)
        assert ours == sdk, (name, arguments)
        assert tree(self.ours.base) == tree(self.sdk.base), (name, arguments)
        return ours

    @staticmethod
    def _placed(arguments: dict[str, Any], base: Path) -> dict[str, Any]:
        return {k: v.replace("BASE", str(base)) if isinstance(v, str) else v for k, v in arguments.items()}


def tree(base: Path) -> dict[str, bytes | str]:
    """Return all files under a folder: contents, and targets of links."""
    found: dict[str, bytes | str] = {}
    for path in sorted(base.rglob("*")):
        name = str(path.relative_to(base))
        if path.is_symlink():
            found[name] = str(path.readlink()).replace(str(base), "BASE")
        elif path.is_file():
            found[name] = path.read_bytes()
    return found
