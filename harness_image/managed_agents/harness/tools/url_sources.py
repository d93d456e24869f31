"""Where an address must have come from before web_fetch may read it (`url_sources`, API reference §4.2).

A model that was talked into something can put what it knows into an address of its own making; with `url_sources` only
addresses count that stood, letter for letter, in what the agent's author trusts. What a sandbox's tool or an MCP server
said is no such source.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from managed_agents.contracts.events import types
from managed_agents.harness.history.state import Event
from managed_agents.harness.tools.hand import Call, Hand, ToolResult, error_result
from managed_agents.harness.tools.web import WEB_TOOLS, ConfigOf
from managed_agents.harness.tools.wrapped import WrappedHand

USER_INPUT, CLIENT_RESULTS, SERVER_RESULTS = "user_input", "client_tool_results", "server_tool_results"

_ADDRESS = re.compile(r"https?://[^\s<>\"'`|\\^{}\[\]]+", re.IGNORECASE)
_PARTS = re.compile(r"(https?)://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_TRAILING = ".,;:!?*_"

_REFUSED = (
    "url_not_allowed: this agent's web_fetch reads only addresses that stood, letter for letter, in {sources}; "
    "{url} did not"
)
_NAMES = {
    USER_INPUT: "what the user said",
    CLIENT_RESULTS: "results of custom tools",
    SERVER_RESULTS: "results of web tools",
}

Walk = Callable[[int], AsyncIterator[Event]]
"""Yields the session's events after a position, in order."""


@dataclass(slots=True)
class Addresses:
    """The addresses of a log, each with the places it stood in: a source, and the tool whose result it was."""

    position: int = 0
    _places: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    _tools: dict[str, str] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take in the next event."""
        self.position = event["position"]
        match event["type"]:
            case types.AGENT_TOOL_USE | types.AGENT_CUSTOM_TOOL_USE:
                self._tools[event["id"]] = str(event["name"])
            case types.USER_MESSAGE:
                self._note(event.get("content") or (), (USER_INPUT, ""))
            case types.USER_CUSTOM_TOOL_RESULT:
                tool = self._tools.get(event["custom_tool_use_id"], "")
                self._note(event.get("content") or (), (CLIENT_RESULTS, tool))
            case types.AGENT_TOOL_RESULT if self._tools.get(event["tool_use_id"]) in WEB_TOOLS:
                if not event.get("is_error"):  # which may repeat the address that the call asked for
                    self._note(event.get("content") or (), (SERVER_RESULTS, self._tools[event["tool_use_id"]]))

    def permits(self, url: str, sources: Mapping[str, Any]) -> bool:
        """Tell whether an address stood in a source that counts."""
        places = self._places.get(_plain(url), set())
        return any(_counts(sources.get(source), tool) for source, tool in places)

    def _note(self, content: Iterable[Mapping[str, Any]], place: tuple[str, str]) -> None:
        for text in _texts(content):
            for found in _ADDRESS.findall(text):
                for address in _readings(found):
                    self._places.setdefault(address, set()).add(place)


class SourcedHand(WrappedHand):
    """Web tools whose web_fetch reads what `url_sources` lets it, where the agent has one."""

    def __init__(self, hand: Hand, config_of: ConfigOf, walk: Walk) -> None:
        super().__init__(hand)
        self._config_of = config_of
        self._walk = walk
        self._addresses = Addresses()

    async def execute(self, call: Call) -> ToolResult:
        """Run a call unless its address came from elsewhere; see `Hand`."""
        sources = self._config_of(call.name).get("url_sources")
        if sources is not None:
            async for event in self._walk(self._addresses.position):
                self._addresses.add(event)
            url = str(call.input.get("url", ""))
            if not self._addresses.permits(url, sources):
                counted = [_NAMES[name] for name in _NAMES if (sources.get(name) or {}).get("type", "all") != "none"]
                return error_result(_REFUSED.format(sources=" or ".join(counted), url=url[:200]))
        return await self._hand.execute(call)


def _counts(filtered: Mapping[str, Any] | None, tool: str) -> bool:
    kind = (filtered or {}).get("type", "all")
    named = {reference["name"] for reference in (filtered or {}).get("tools") or ()}
    return bool(kind == "all" or (kind == "only" and tool in named) or (kind == "except" and tool not in named))


def _texts(content: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for block in content:
        match block.get("type"):
            case "text":
                yield str(block.get("text") or "")
            case "document":
                source = block.get("source") or {}
                yield str(source.get("data") or "") if source.get("type") == "text" else str(source.get("url") or "")
                yield str(block.get("context") or "")
            case "search_result":
                yield str(block.get("source") or "")
                yield from _texts(block.get("content") or ())


def _readings(found: str) -> Iterator[str]:
    """Yield what a reader may take for the address: with and without the punctuation that follows it."""
    yield _plain(found)
    bare = found.rstrip(_TRAILING)
    yield _plain(bare)
    if ")" in bare:  # of a link in Markdown, or of a remark
        yield _plain(bare[: bare.index(")")])


def _plain(url: str) -> str:
    """Return an address without its fragment, and without what makes no difference before its path."""
    address = url.strip().partition("#")[0]
    parts = _PARTS.match(address)
    if parts is None:
        return address
    scheme, host, rest = parts.groups()
    return f"{scheme.lower()}://{host.lower()}{rest if rest.startswith('/') else f'/{rest}'}"
