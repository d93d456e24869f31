"""The session as its config (docs/internal-api.md) describes it: agent, tools, budget and price."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from managed_agents.contracts.events import types
from managed_agents.contracts.ids import SessionId, ThreadId, primary_thread_id_for
from managed_agents.contracts.usage import ListPrice, UsageTotals
from managed_agents.harness.mcp.servers import McpServer
from managed_agents.harness.settings import Settings
from managed_agents.harness.tools.repositories import Repository, repositories_of
from managed_agents.harness.tools.toolset import Toolset
from managed_agents.harness.tools.web import WEB_TOOLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session's config, parsed. `model` is the API's model object; `budget_cents` is null without a budget.

    `window_tokens` is the size of the model's context window, null where nobody told; in a `self_hosted` environment
    the tools of the sandbox are run by a worker of the client.
    """

    id: SessionId
    thread_id: ThreadId
    agent_name: str
    system: str | None
    model: Mapping[str, Any]
    toolset: Toolset
    budget: Mapping[str, Any] | None = None
    budget_cents: Decimal | None = None
    list_price: ListPrice | None = None
    window_tokens: int | None = None
    self_hosted: bool = False
    repositories: tuple[Repository, ...] = ()
    mcp_servers: tuple[McpServer, ...] = ()

    @property
    def has_sandbox(self) -> bool:
        """Tell whether the session may have a sandbox of ours: it has a tool that runs there."""
        return bool(self.toolset.policies.keys() - set(WEB_TOOLS)) and not self.self_hosted

    def runs_in_sandbox(self, tool: str) -> bool:
        """Tell whether a call of this tool runs in the sandbox as soon as the model has made it."""
        verdict = self.toolset.verdict(tool)
        runs_at_once = verdict.event_type == types.AGENT_TOOL_USE and verdict.permission == "allow"
        return runs_at_once and not self.self_hosted and tool not in WEB_TOOLS

    def runs_at_client(self, tool: str) -> bool:
        """Tell whether a worker of the client runs this built-in tool; web tools run here, whatever the environment."""
        return self.self_hosted and tool not in WEB_TOOLS

    def is_over_budget(self, usage: UsageTotals, *, active_seconds: float) -> bool:
        """Tell whether the list cost has reached the budget, or cannot be told because the model has no list price."""
        if self.budget_cents is None:
            return False
        if self.list_price is None:
            return usage.tokens > 0
        return usage.list_cost(self.list_price, active_seconds=active_seconds) >= self.budget_cents


def session_for(config: Mapping[str, Any], settings: Settings | None = None) -> Session:
    """Parse a session config. Raises: KeyError or ValueError when it is not one of ours."""
    agent, budget, provider = config["agent"], config.get("budget"), config.get("model_provider") or {}
    environment = (config.get("environment") or {}).get("config") or {}
    price = provider.get("list_price")
    session_id = SessionId(config["id"])
    return Session(
        id=session_id,
        thread_id=primary_thread_id_for(session_id),
        agent_name=agent["name"],
        system=agent.get("system"),
        model=agent["model"],
        toolset=Toolset.parse(agent.get("tools") or ()),
        budget=budget,
        budget_cents=Decimal(budget["max_list_cost"]["amount"]) if budget else None,
        list_price=_priced(ListPrice.parse(price), settings or Settings()) if price else None,
        window_tokens=provider.get("context_window_tokens"),
        self_hosted=environment.get("type") == "self_hosted",
        repositories=repositories_of(config),
        mcp_servers=tuple(
            McpServer(name=str(server["name"]), url=str(server["url"])) for server in agent.get("mcp_servers") or ()
        ),
    )


def _priced(tokens: ListPrice, settings: Settings) -> ListPrice:
    return replace(
        tokens,
        running_hour=Decimal(str(settings.running_hour_price)),
        thousand_web_searches=Decimal(str(settings.thousand_web_searches_price)),
    )
