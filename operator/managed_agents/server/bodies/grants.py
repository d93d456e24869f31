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


class GrantProblem(Body):
    """Why a grant of this version cannot be renewed; null: it can, again."""

    version: Version
    message: Annotated[str, Field(min_length=1, max_length=MESSAGE_LENGTH_MAX)] | None = None
    kind: Literal["failed", "connect_error"] = "failed"
