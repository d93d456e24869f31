"""What one sandbox is given in a credential's place, and what that stands for at a host. Pure.

A placeholder is derived from the secret of the sandbox's binding, which the server makes at random for each sandbox and
hands to every harness of the session: so it outlives a harness, as the processes do that have it in their environment.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

from managed_agents.proxy.injection.credentials import EnvironmentCredential

PLACEHOLDER_PREFIX = "placeholder_"
"""Says what it is to whoever prints it. Letters, digits and `_` read the same in JSON, in a form and in a URL."""

RESERVED_NAMES = frozenset(
    {
        "BASH_ENV",
        "ENV",
        "HOME",
        "IFS",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "PATH",
        "PYTHONHOME",
        "PYTHONPATH",
        "SHELL",
        "SSL_CERT_FILE",
        *(name for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (proxy, proxy.lower())),
    }
)
"""Variables that the sandbox's tools themselves stand on: a credential of such a name is not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A credential as it counts for one host: what stands for it, what it is, and where it may stand."""

    id: str
    placeholder: str
    value: str = field(repr=False)
    in_header: bool
    in_body: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGrants:
    """All that counts for one host. `is_named`: at least one credential is meant for this host in particular."""

    grants: tuple[Grant, ...] = ()
    is_named: bool = False

    def __bool__(self) -> bool:
        """Tell whether anything has to be replaced on the way to this host."""
        return bool(self.grants)


def placeholder_for(secret: str, name: str) -> str:
    """Derive what stands for a variable's value in the sandbox of a binding; 128 bits."""
    digest = hmac.new(secret.encode(), f"placeholder/{name}".encode(), hashlib.sha256).hexdigest()
    return f"{PLACEHOLDER_PREFIX}{digest[:32]}"


def variables_for(secret: str, credentials: Iterable[EnvironmentCredential]) -> dict[str, str]:
    """Return the environment variables of a sandbox: a placeholder under each name that may be given."""
    names = sorted(credential.name for credential in credentials)
    return {name: placeholder_for(secret, name) for name in names if name not in RESERVED_NAMES}


def grants_for(secret: str, host: str, credentials: Iterable[EnvironmentCredential]) -> HostGrants:
    """Return what counts for a host, its name in the one spelling of `egress_hosts`."""
    here = [credential for credential in credentials if credential.goes_to(host)]
    return HostGrants(
        grants=tuple(
            Grant(
                id=credential.id,
                placeholder=placeholder_for(secret, credential.name),
                value=credential.value,
                in_header=credential.in_header,
                in_body=credential.in_body,
            )
            for credential in here
        ),
        is_named=any(credential.names(host) for credential in here),
    )
