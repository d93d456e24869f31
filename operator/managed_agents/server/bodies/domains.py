"""What a domain of `allowed_domains` and `blocked_domains` may be (API reference §4.2). Pure."""

import ipaddress
import re
from collections.abc import Callable, Sequence

DOMAINS_MAX = 64
DOMAIN_LENGTH_MAX = 255

_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_TOP = re.compile(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
_PATH = re.compile(r"^[!-~]*$")

_PRIVATE = ("localhost", "local", "internal", "localdomain", "invalid")
_REGISTRY_SECOND = frozenset(
    {"ac", "co", "com", "edu", "gob", "gov", "ltd", "me", "mil", "ne", "net", "nom", "or", "org"}
)
"""Second labels under which country registries sell names: `co.uk` is nobody's domain."""


def check_domains(domains: Sequence[str], *, allow_path: bool) -> None:
    """Refuse a list with a wrong entry. Raises: ValueError naming the entry's index and what is wrong with it."""
    seen: dict[str, int] = {}
    for index, domain in enumerate(domains):
        problem = domain_problem(domain, allow_path=allow_path)
        if problem is None and domain.lower() in seen:
            problem = f"repeats entry {seen[domain.lower()]}"
        if problem is not None:
            raise ValueError(f"entry {index}: {problem}; found {domain[:80]!r}")
        seen[domain.lower()] = index


def domain_problem(domain: str, *, allow_path: bool) -> str | None:
    """Return what is wrong with a domain, null when nothing is."""
    for check in _CHECKS:
        if (problem := check(domain)) is not None:
            return problem
    host, slash, path = domain.partition("/")
    if slash and not allow_path:
        return "a path is not supported here; name the host alone"
    if not _PATH.match(path):
        return "the path must be printable ASCII without spaces"
    return _host_problem(host.lower())


def _host_problem(host: str) -> str | None:
    labels = host.split(".")
    if labels[-1] in _PRIVATE:
        return f"names under {labels[-1]} are not public"
    if len(labels) == 1:
        return "a single label is no registrable domain; write for example example.com"
    if not all(_LABEL.match(label) for label in labels) or not _TOP.match(labels[-1]):
        return "is no host name; write for example docs.example.com"
    if len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _REGISTRY_SECOND:
        return "is a registry's suffix and no registrable domain"
    return None


def _length(domain: str) -> str | None:
    fits = 1 <= len(domain) <= DOMAIN_LENGTH_MAX
    return None if fits else f"must have 1 to {DOMAIN_LENGTH_MAX} characters"


def _ascii(domain: str) -> str | None:
    return None if domain.isascii() else "must be ASCII; write an international name in punycode (xn--…)"


def _scheme(domain: str) -> str | None:
    return "a scheme is not supported; name the host alone" if "://" in domain else None


def _address(domain: str) -> str | None:
    try:
        ipaddress.ip_address(domain.partition("/")[0].strip("[]"))
    except ValueError:
        return None
    return "IP addresses are not supported; name a host"


def _credentials(domain: str) -> str | None:
    return "credentials are not supported" if "@" in domain.partition("/")[0] else None


def _port(domain: str) -> str | None:
    return "a port is not supported" if ":" in domain.partition("/")[0] else None


def _wildcard(domain: str) -> str | None:
    return "wildcards are not supported; a domain matches its subdomains too" if "*" in domain else None


_CHECKS: tuple[Callable[[str], str | None], ...] = (
    *(_length, _ascii, _scheme, _address, _credentials, _port, _wildcard),
)
