"""Which hosts a tool's own lists admit (API reference §4.2). Pure; the lists were checked when they were saved."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRules:
    """Domains with their subdomains, in lower case; `allowed` is None where nothing is restricted."""

    allowed: tuple[str, ...] | None = None
    blocked: tuple[str, ...] = ()

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Read a tool's configuration. An empty list of allowed domains would allow none."""
        allowed, blocked = config.get("allowed_domains"), config.get("blocked_domains")
        return cls(
            allowed=None if allowed is None else tuple(str(entry) for entry in allowed),
            blocked=tuple(str(entry) for entry in blocked or ()),
        )

    def permit(self, host: str, path: str = "/") -> bool:
        """Tell whether a host, in its one spelling, and a path are admitted."""
        if any(matches(entry, host, path) for entry in self.blocked):
            return False
        return self.allowed is None or any(matches(entry, host, path) for entry in self.allowed)


def matches(entry: str, host: str, path: str) -> bool:
    """Tell whether an entry `domain[/path]` covers this place: the domain, its subdomains, and all below the path."""
    domain, _, prefix = entry.partition("/")
    domain, prefix = domain.lower().removesuffix("."), prefix.strip("/")
    if host != domain and not host.endswith(f".{domain}"):
        return False
    below = path.strip("/")
    return not prefix or below == prefix or below.startswith(f"{prefix}/")
