"""All tools behind one call: name and input in, content blocks and an error flag out."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from managed_agents.sandbox.runner import repository
from managed_agents.sandbox.runner.bash import Bash
from managed_agents.sandbox.runner.children import Children
from managed_agents.sandbox.runner.environment import TRUST_FILE, SessionEnvironment
from managed_agents.sandbox.runner.isolate import run_isolated
from managed_agents.sandbox.runner.limits import FILE_TOOL_SECONDS_MAX
from managed_agents.sandbox.runner.oom import OomCounter
from managed_agents.sandbox.runner.spill import SpillFolder
from managed_agents.sandbox.runner.tools import files, search
from managed_agents.sandbox.runner.tools.arguments import parse_arguments
from managed_agents.sandbox.runner.tools.errors import ToolError
from managed_agents.sandbox.runner.tools.paths import Roots

FILE_TOOLS: dict[str, Callable[..., files.Output]] = {
    "read": files.read,
    "write": files.write,
    "edit": files.edit,
    "glob": search.glob,
    "grep": search.grep,
}
Result = dict[str, Any]


class Toolset:
    """The tools of one sandbox."""

    def __init__(
        self,
        roots: Roots,
        spill: SpillFolder,
        children: Children,
        oom: OomCounter,
        environment: SessionEnvironment | None = None,
    ) -> None:
        self._environment = environment or SessionEnvironment(TRUST_FILE)
        self._roots = roots
        self._spill = spill
        self._children = children
        self._oom = oom
        self.bash = Bash(children, roots.workdir, spill, oom, self._environment)

    async def call(self, call_id: str, name: str, arguments: Any) -> Result:
        """Run one call; every failure of a tool is a result."""
        try:
            if name == "bash":
                return result_of(await self.bash.call(call_id, arguments))
            if name in FILE_TOOLS:
                return result_of(await self._file_tool(call_id, name, arguments))
            if name == "repository":
                return result_of(await self._clone(arguments))
            if name == "keep":
                return result_of(await self._keep(call_id, arguments))
        except ToolError as error:
            return result_of(self._spill.shorten(str(error), call_id), is_error=True)
        return result_of(f"unknown tool {name!r}; this sandbox has bash, {', '.join(FILE_TOOLS)}", is_error=True)

    async def _clone(self, arguments: Any) -> Any:
        def work() -> Any:
            os.environ.update(self._environment.trust())  # of the forked process, which does nothing else
            return repository.clone(self._roots.workdir, arguments)

        return await run_isolated("repository", work, repository.CLONE_SECONDS_MAX, self._children, self._oom)

    async def _keep(self, call_id: str, arguments: Any) -> Any:
        """Keep an output that was made elsewhere, as if it were one of ours."""
        text = arguments.get("text") if isinstance(arguments, dict) else None
        if not isinstance(text, str):
            raise ToolError("keep: text is required")

        def work() -> Any:
            return self._spill.shorten(text, call_id)

        return await run_isolated("keep", work, FILE_TOOL_SECONDS_MAX, self._children, self._oom)

    async def _file_tool(self, call_id: str, name: str, arguments: Any) -> Any:
        parsed = parse_arguments(name, arguments)

        def work() -> Any:
            output = FILE_TOOLS[name](self._roots, **parsed)
            if not isinstance(output, str):
                return output
            where = parsed["file_path"] if name == "read" else None
            return self._spill.shorten(output, call_id, where)

        return await run_isolated(name, work, FILE_TOOL_SECONDS_MAX, self._children, self._oom)


def result_of(output: Any, *, is_error: bool = False, outcome: str = "completed") -> Result:
    """Return a result frame's fields from text or content blocks. Unpaired surrogates become U+FFFD."""
    if isinstance(output, str):
        text = output.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        output = [{"type": "text", "text": text or "(no output)"}]
    return {"content": output, "is_error": is_error, "outcome": outcome}
