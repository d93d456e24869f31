"""Bodies of the calls that write Environments (API reference §3.2, §4.4)."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from managed_agents.server.bodies.fields import Description, Metadata, MetadataPatch, Name
from managed_agents.server.validation import Body

_HOST = re.compile(r"^(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
_PACKAGE = r"^[A-Za-z0-9@][!-~]*$"

Package = Annotated[str, Field(min_length=1, max_length=256, pattern=_PACKAGE)]
Packages = Annotated[list[Package], Field(max_length=100)]


class Unrestricted(Body):
    """Every public host."""

    type: Literal["unrestricted"]


class Limited(Body):
    """Named hosts alone. Fields that are left out keep their value on update, and are off on creation."""

    type: Literal["limited"]
    allowed_hosts: Annotated[list[Annotated[str, Field(max_length=253)]], Field(max_length=256)] | None = None
    allow_mcp_servers: bool | None = None
    allow_package_managers: bool | None = None

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, hosts: list[str] | None) -> list[str] | None:
        for index, host in enumerate(hosts or ()):
            if problem := host_problem(host):
                raise ValueError(f"entry {index}: {problem}; found {host[:80]!r}")
            if hosts is not None and host in hosts[:index]:
                raise ValueError(f"entry {index}: repeats entry {hosts.index(host)}")
        return hosts


def host_problem(host: str) -> str | None:
    """Return what is wrong with a host name or wildcard, null when nothing is."""
    return None if _HOST.match(host) else "must be a host name in lower case, or *. and a domain, without scheme"


Networking = Annotated[Unrestricted | Limited, Field(discriminator="type")]


class PackagesConfig(Body):
    """What is installed, by package manager."""

    type: Literal["packages"] | None = None
    apt: Packages | None = None
    cargo: Packages | None = None
    gem: Packages | None = None
    go: Packages | None = None
    npm: Packages | None = None
    pip: Packages | None = None


class Cloud(Body):
    """Sandboxes in the cluster."""

    type: Literal["cloud"]
    networking: Networking | None = None
    packages: PackagesConfig | None = None


class SelfHosted(Body):
    """Sandboxes of the user's own workers."""

    type: Literal["self_hosted"]


Config = Annotated[Cloud | SelfHosted, Field(discriminator="type")]
Scope = Literal["organization"]


class EnvironmentCreate(Body):
    """A new Environment."""

    name: Name
    config: Config | None = None
    description: Description | None = None
    metadata: Metadata | None = None
    scope: Scope | None = None


class EnvironmentUpdate(Body):
    """A change of an Environment: a field that is left out stays."""

    name: Name | None = None
    config: Config | None = None
    description: Description | None = None
    metadata: MetadataPatch | None = None
    scope: Scope | None = None
