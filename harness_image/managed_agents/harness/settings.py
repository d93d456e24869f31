"""Settings of the harness: each states its unit and its reason. All have defaults; an image needs none set."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from managed_agents.contracts import limits, ports

_ENVIRONMENT_PREFIX = "MANAGED_AGENTS_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What may be tuned; `MANAGED_AGENTS_MAX_TOKENS=8000` in the environment sets `max_tokens`, and so on."""

    session_url: str = f"http://127.0.0.1:{ports.PROXY_SESSION_PORT}"
    hand_url: str = f"http://127.0.0.1:{ports.PROXY_HAND_PORT}"
    model_url: str = f"http://127.0.0.1:{ports.PROXY_MODEL_PORT}"
    mcp_url: str = f"http://127.0.0.1:{ports.PROXY_MCP_PORT}"

    max_tokens: int = 32_000
    """Output tokens of one response; the Managed Agents API does not expose it. Every current model takes this many."""

    tool_rounds_max: int = 2_000
    """Responses with tool calls on one input: a stop for a runaway loop, at twice the longest session we bench."""

    model_retries_max: int = 8
    """Repeats of one failed model request, about two minutes in all; then the turn ends `retries_exhausted`."""

    retry_base_seconds: float = 1.0
    """First back-off; it doubles with each repeat."""

    retry_cap_seconds: float = 32.0
    """Longest back-off that we choose ourselves."""

    retry_after_max_seconds: float = 600.0
    """A provider that asks for a longer wait is taken as having failed for good: nobody watches that long."""

    abandoned_max: int = 3
    """Deaths of a harness in a row within a model request; then the turn ends with an error, not in a crash loop."""

    compaction_policy: str = "summarize"
    """Which policy keeps a conversation within the model's window (`history/compaction.py`)."""

    compaction_fill: float = 0.8
    """Share of the window at which a conversation is compacted; the rest is for a response and for estimates."""

    compactions_max: int = 3
    """Compactions without a response of the model in between, and attempts that bring no summary; then it is no use."""

    running_hour_price: float = 0.0
    """List price of an hour of running, in the currency of the model's; the hosted service takes 0.08 USD."""

    thousand_web_searches_price: float = 0.0
    """List price of a thousand web searches; the hosted service takes 10 USD."""

    silence_seconds: float = 120.0
    """A model stream that sends nothing for so long, not even a ping, is given up and the request repeated."""

    sandbox_wait_seconds: float = limits.SANDBOX_WAIT_SECONDS
    sandbox_stuck_seconds: float = limits.SANDBOX_STUCK_SECONDS
    """How long a tool call waits for a sandbox before it becomes a tool error."""

    provision_poll_seconds: float = 20.0
    """One request for a sandbox waits so long at the server before it is asked again."""

    tool_seconds_max: float = 900.0
    """A tool call without an answer for so long is cancelled: a tool may ask for 600 s, and may queue."""

    web_seconds_max: float = 90.0
    """A web tool without an answer for so long is cancelled; loading a page and reading it take at most half of it."""

    cancel_seconds: float = 1.5
    """An interrupt waits so long for a running tool to die, so that it is answered within 2 s in any case."""

    mcp_connect_seconds: float = 10.0
    """An MCP server that is not connected and listed within this does without: nobody waits longer for a first word."""

    mcp_silence_seconds: float = 300.0
    """A call of an MCP tool that answers nothing for so long, not even progress, is cancelled."""

    call_seconds: float = 10.0
    """One call to the session's server; a call that failed is repeated with the same ids."""

    reconnect_cap_seconds: float = 2.0
    """Longest pause between attempts to reach the server."""

    readings_file: str = "/tmp/readings"  # noqa: S108 - the Pod's own
    """Where deaths in reading the log are counted, on a volume that outlives the container. Empty: nowhere."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read settings from the environment. Raises: ValueError naming a variable that is not of its type."""
        values: dict[str, Any] = {}
        for setting in fields(cls):
            variable = _ENVIRONMENT_PREFIX + setting.name.upper()
            if variable in environment:
                values[setting.name] = _parsed(variable, environment[variable], type(setting.default))
        return cls(**values)


def _parsed(variable: str, text: str, kind: Any) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"{variable}: found {text!r}, allowed is a value of type {kind.__name__}") from error
