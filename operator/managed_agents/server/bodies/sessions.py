"""Bodies of the calls that write sessions and their resources (API reference §3.3, §4.5)."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from managed_agents.contracts.api.vaults import VAULTS_MAX
from managed_agents.server.bodies.agents import System
from managed_agents.server.bodies.fields import Metadata, MetadataPatch, ModelInput, Skills
from managed_agents.server.bodies.tools import McpServers, Tools
from managed_agents.server.validation import Body

INITIAL_EVENTS_MAX = 50
FILES_MAX = 500
RESOURCES_MAX = 512
"""What a Session object holds."""

CENTS_LENGTH_MAX = 12

Title = Annotated[str, Field(max_length=512)]
ObjectId = Annotated[str, Field(min_length=1, max_length=128)]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]


def _clean_path(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError("must not contain ..")
    if path.strip("/") == "":
        raise ValueError("must name a file or folder")
    return path


MountPath = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[!-~]+$"), AfterValidator(_clean_path)]


class MonetaryAmount(Body):
    """Whole cents, in a string."""

    amount: Annotated[str, Field(max_length=CENTS_LENGTH_MAX, pattern=r"^[1-9][0-9]*$")]
    currency: Literal["USD"]


class Budget(Body):
    """What a session may cost at list price."""

    type: Literal["limit"]
    max_list_cost: MonetaryAmount


class AgentReference(Body):
    """An agent, its newest version unless one is named."""

    type: Literal["agent"]
    id: ObjectId
    version: Version | None = None


class AgentWithOverrides(Body):
    """An agent, with parts of it replaced for this session. A field that is left out is inherited, null clears."""

    type: Literal["agent_with_overrides"]
    id: ObjectId
    version: Version | None = None
    model: ModelInput | None = None
    system: System | None = None
    tools: Tools | None = None
    mcp_servers: McpServers | None = None
    skills: Skills | None = None


def _referenced(value: Any) -> Any:
    """Take an agent's id for its newest version."""
    return {"type": "agent", "id": value} if isinstance(value, str) else value


AgentChoice = Annotated[AgentReference | AgentWithOverrides, Field(discriminator="type")]
AgentInput = Annotated[AgentChoice, BeforeValidator(_referenced, json_schema_input_type=ObjectId | AgentChoice)]


class FileResource(Body):
    """A file that the session gets a copy of."""

    type: Literal["file"]
    file_id: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_-]+$")]
    mount_path: MountPath | None = None


class Branch(Body):
    """The head of a branch."""

    type: Literal["branch"]
    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_./-]*[A-Za-z0-9_])?$")]


class Commit(Body):
    """One commit."""

    type: Literal["commit"]
    sha: Annotated[str, Field(min_length=7, max_length=64, pattern=r"^[0-9a-f]+$")]


_URL = r"^https://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9_.~-]+)+$"


def _repository_url(url: str) -> str:
    if url.startswith("https://github.com/"):
        if url.endswith(".git"):
            raise ValueError("must not end in .git")
        if url.count("/") != 4:
            raise ValueError("must be https://github.com/OWNER/REPOSITORY")
    return url


Token = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[!-~]+$")]


class RepositoryResource(Body):
    """A repository that is cloned into the workspace. The type's name is the API's; any Git host will do."""

    type: Literal["github_repository"]
    url: Annotated[str, Field(max_length=512, pattern=_URL), AfterValidator(_repository_url)]
    authorization_token: Token | None = None
    mount_path: MountPath | None = None
    checkout: Annotated[Branch | Commit, Field(discriminator="type")] | None = None


class MemoryStoreResource(Body):
    """A memory store; known, and refused until it is built."""

    type: Literal["memory_store"]
    memory_store_id: ObjectId
    access: Literal["read_write", "read_only"] | None = None
    instructions: Annotated[str, Field(max_length=4096)] | None = None


Resource = Annotated[FileResource | RepositoryResource | MemoryStoreResource, Field(discriminator="type")]


class SessionCreate(Body):
    """A new session. `initial_events` are checked by the rules of events."""

    agent: AgentInput
    environment_id: ObjectId
    title: Title | None = None
    metadata: Metadata | None = None
    resources: Annotated[list[Resource], Field(max_length=RESOURCES_MAX)] | None = None
    vault_ids: Annotated[list[ObjectId], Field(max_length=VAULTS_MAX)] | None = None
    initial_events: Annotated[list[Any], Field(max_length=INITIAL_EVENTS_MAX)] | None = None
    budget: Budget | None = None


class SessionAgentUpdate(Body):
    """What of a session's agent may change: whole lists, for this session alone."""

    tools: Tools | None = None
    mcp_servers: McpServers | None = None


class SessionUpdate(Body):
    """A change of a session: a field that is left out stays."""

    title: Title | None = None
    metadata: MetadataPatch | None = None
    agent: SessionAgentUpdate | None = None
    budget: Budget | None = None
    vault_ids: list[str] | None = None


class ResourceAdd(Body):
    """A file for a session that exists."""

    type: Literal["file"]
    file_id: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_-]+$")]
    mount_path: MountPath | None = None


class ResourceUpdate(Body):
    """A new token for a repository."""

    authorization_token: Token
