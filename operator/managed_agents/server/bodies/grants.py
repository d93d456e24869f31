"""Bodies of a proxy's calls on the grants of its session (docs/internal-api.md). No refusal repeats a token."""

from typing import Annotated, Literal

from pydantic import Field

from managed_agents.contracts.api.vault_grants import MESSAGE_LENGTH_MAX
from managed_agents.server.bodies.vaults import ExpiresAt, HeaderSecret, Secret
from managed_agents.server.validation import Body

Version = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z]+$")]


class GrantTurn(Body):
    """Who renews a grant of this version asks first."""

    version: Version


class GrantRenewed(Body):
    """What the token endpoint answered. Without a refresh token the old one stays; without an expiry there is none."""

    version: Version
    access_token: HeaderSecret
    refresh_token: Secret | None = None
    expires_at: ExpiresAt | None = None


class HttpResponse(Body):
    """What is shown of an answer of an MCP server or a token endpoint; the proxy has taken every secret out of it."""

    status_code: Annotated[int, Field(ge=100, le=599)]
    content_type: Annotated[str, Field(max_length=100)]
    body: Annotated[str, Field(max_length=4096)]
    body_truncated: bool


class ProbeStep(Body):
    """The step of a probe that failed."""

    method: Literal["initialize", "tools/list"]
    http_response: HttpResponse | None = None


class ProbeRefresh(Body):
    """What the refresh came to that a probe tried."""

    status: Literal["succeeded", "failed", "connect_error", "no_refresh_token"]
    http_response: HttpResponse | None = None


class GrantProbe(Body):
    """What a proxy has found of a credential; `probe` is the word of the question."""

    probe: Annotated[str, Field(min_length=1, max_length=64)]
    status: Literal["valid", "invalid", "unknown"]
    mcp_probe: ProbeStep | None = None
    refresh: ProbeRefresh | None = None


class GrantProblem(Body):
    """Why a grant of this version cannot be renewed; null: it can, again."""

    version: Version
    message: Annotated[str, Field(min_length=1, max_length=MESSAGE_LENGTH_MAX)] | None = None
    kind: Literal["failed", "connect_error"] = "failed"
