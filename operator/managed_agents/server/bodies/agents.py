"""Bodies of the calls that write Agents (API reference §3.1, §4.1)."""

from typing import Annotated

from pydantic import Field

from managed_agents.server.bodies.fields import (
    Description,
    ExecutionIdentity,
    Metadata,
    MetadataPatch,
    ModelInput,
    Multiagent,
    Name,
    Skills,
)
from managed_agents.server.bodies.tools import McpServers, Tools
from managed_agents.server.validation import Body

System = Annotated[str, Field(max_length=100_000)]


class AgentFields(Body):
    """What may be left out of a new Agent and of a change alike."""

    description: Description | None = None
    system: System | None = None
    tools: Tools | None = None
    mcp_servers: McpServers | None = None
    skills: Skills | None = None
    multiagent: Multiagent = None
    execution_identity: ExecutionIdentity | None = None


class AgentCreate(AgentFields):
    """A new Agent."""

    name: Name
    model: ModelInput
    metadata: Metadata | None = None


class AgentUpdate(AgentFields):
    """A change of an Agent: a field that is left out stays."""

    name: Name = ""
    model: ModelInput = None  # type: ignore[assignment]  # absent, which null is not: it may not be cleared
    metadata: MetadataPatch | None = None
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
