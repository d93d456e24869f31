"""Bodies of the calls that write vaults and their credentials (API reference §3.5, §4.8). Secrets never show again."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr

from managed_agents.contracts.api.mcp_servers import normalised
from managed_agents.contracts.clock import parse_rfc3339
from managed_agents.server.bodies.environments import host_problem
from managed_agents.server.bodies.fields import Metadata, MetadataPatch
from managed_agents.server.validation import Body

SECRET_BYTES_MAX = 8192
"""One secret, so that those of a whole vault fit in a Secret of 1 MiB."""

HOSTS_MAX = 16

_REGISTRY = re.compile(r"\*\.(ac|co|com|edu|gob|gov|ltd|me|mil|ne|net|nom|or|org)\.[a-z]{2}")


def _fits(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) > SECRET_BYTES_MAX:
        raise ValueError(f"must have at most {SECRET_BYTES_MAX} bytes")
    return secret


def _is_header_text(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces, as a header can carry it")
    return secret


def _normal(url: str) -> str:
    try:
        return normalised(url)
    except ValueError as problem:
        raise ValueError(f"is no URL: {problem}") from None


def _moment(text: str) -> str:
    try:
        moment: datetime = parse_rfc3339(text)
    except ValueError:
        raise ValueError("must be an RFC 3339 time") from None
    if moment.tzinfo is None:
        raise ValueError("must be an RFC 3339 time with its zone, such as 2031-01-31T12:00:00Z")
    return text


def _are_hosts(hosts: Sequence[str]) -> Sequence[str]:
    for index, host in enumerate(hosts):
        problem = host_problem(host)
        if problem is None and _REGISTRY.fullmatch(host):
            problem = "is a registry's suffix and nobody's domain"
        if problem is None and host in hosts[:index]:
            problem = f"repeats entry {hosts.index(host)}"
        if problem is not None:
            raise ValueError(f"entry {index}: {problem}; found {host[:80]!r}")
    return hosts


Secret = Annotated[SecretStr, Field(min_length=1), AfterValidator(_fits)]
HeaderSecret = Annotated[Secret, AfterValidator(_is_header_text)]
McpServerUrl = Annotated[
    str, Field(max_length=2048, pattern=r"^https?://[^\s/?#@]+([/?][^\s#]*)?$"), AfterValidator(_normal)
]
Endpoint = Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s/?#@]+([/?][^\s#]*)?$")]
ExpiresAt = Annotated[str, Field(max_length=64), AfterValidator(_moment)]
DisplayName = Annotated[str, Field(min_length=1, max_length=255)]
ShortText = Annotated[str, Field(min_length=1, max_length=2048)]


class NoClientAuth(Body):
    """The token endpoint asks for no secret of the client."""

    type: Literal["none"]


class ClientAuth(Body):
    """The client proves itself to the token endpoint."""

    type: Literal["client_secret_basic", "client_secret_post"]
    client_secret: Secret


class Refresh(Body):
    """How new access tokens are asked for."""

    client_id: ShortText
    token_endpoint: Endpoint
    refresh_token: Secret
    token_endpoint_auth: Annotated[NoClientAuth | ClientAuth, Field(discriminator="type")]
    resource: ShortText | None = None
    scope: ShortText | None = None


class McpOauth(Body):
    """An access token for an MCP server, and how to renew it."""

    type: Literal["mcp_oauth"]
    mcp_server_url: McpServerUrl
    access_token: HeaderSecret
    expires_at: ExpiresAt | None = None
    refresh: Refresh | None = None


class StaticBearer(Body):
    """A token for an MCP server."""

    type: Literal["static_bearer"]
    mcp_server_url: McpServerUrl
    token: HeaderSecret


class UnrestrictedHosts(Body):
    """Every host that the environment allows."""

    type: Literal["unrestricted"]


class LimitedHosts(Body):
    """These hosts alone."""

    type: Literal["limited"]
    allowed_hosts: Annotated[
        list[Annotated[str, Field(max_length=253)]], Field(max_length=HOSTS_MAX), AfterValidator(_are_hosts)
    ]


CredentialNetworking = Annotated[UnrestrictedHosts | LimitedHosts, Field(discriminator="type")]


class InjectionLocation(Body):
    """Where in a request the value may stand. What is left out is off on creation, and stays on update."""

    header: bool = False
    body: bool = False


class EnvironmentVariable(Body):
    """A value that the sandbox knows by a placeholder only."""

    type: Literal["environment_variable"]
    secret_name: Annotated[str, Field(max_length=255, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    secret_value: Secret
    networking: CredentialNetworking
    injection_location: InjectionLocation = InjectionLocation(header=True, body=True)


class ClientAuthUpdate(Body):
    """A new secret of the client."""

    type: Literal["client_secret_basic", "client_secret_post"]
    client_secret: Secret | None = None


class RefreshUpdate(Body):
    """What of a refresh may change. An empty scope clears it."""

    refresh_token: Secret | None = None
    scope: Annotated[str, Field(max_length=2048)] | None = None
    token_endpoint_auth: ClientAuthUpdate | None = None


class McpOauthUpdate(Body):
    """What of such a credential may change."""

    type: Literal["mcp_oauth"]
    access_token: HeaderSecret | None = None
    expires_at: ExpiresAt | None = None
    refresh: RefreshUpdate | None = None


class StaticBearerUpdate(Body):
    """What of such a credential may change."""

    type: Literal["static_bearer"]
    token: HeaderSecret | None = None


class EnvironmentVariableUpdate(Body):
    """What of such a credential may change: networking as a whole, places one by one."""

    type: Literal["environment_variable"]
    secret_value: Secret | None = None
    networking: CredentialNetworking | None = None
    injection_location: InjectionLocation | None = None


AuthCreate = McpOauth | StaticBearer | EnvironmentVariable
AuthUpdate = McpOauthUpdate | StaticBearerUpdate | EnvironmentVariableUpdate


class VaultCreate(Body):
    """A new vault."""

    display_name: DisplayName
    metadata: Metadata | None = None


class VaultUpdate(Body):
    """A change of a vault: a field that is left out stays."""

    display_name: DisplayName | None = None
    metadata: MetadataPatch | None = None


class CredentialCreate(Body):
    """A new credential."""

    auth: Annotated[AuthCreate, Field(discriminator="type")]
    display_name: DisplayName | None = None
    metadata: Metadata | None = None


class CredentialUpdate(Body):
    """A change of a credential: a field that is left out stays."""

    auth: Annotated[AuthUpdate, Field(discriminator="type")] | None = None
    display_name: DisplayName | None = None
    metadata: MetadataPatch | None = None


def opened(value: Any) -> Any:
    """Return a dumped body's value with its secrets as texts."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {key: opened(item) for key, item in value.items()}
    return value
