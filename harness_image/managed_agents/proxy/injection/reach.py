"""Which credentials are for hosts that their session cannot reach: its Environment decides first (docs/egress.md)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_hosts import MalformedHostError, target_from
from managed_agents.proxy.egress_rules import Networking, decide, matches
from managed_agents.proxy.injection.credentials import EnvironmentCredential


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """A credential of no use for a host; the harness makes a `session.error` of it. No value is in it."""

    credential_id: str
    vault_id: str
    hosts: tuple[str, ...]


def useless(
    credentials: Iterable[EnvironmentCredential], networking: Networking, rules: EgressRules
) -> Iterator[Unreachable]:
    """Yield the credentials that name hosts of which the session can reach none. Pure."""
    for credential in credentials:
        hosts = sorted(credential.hosts or ())
        if hosts and not any(may_be_reached(host, networking, rules) for host in hosts):
            yield Unreachable(credential_id=credential.id, vault_id=credential.vault_id, hosts=tuple(hosts))


def may_be_reached(pattern: str, networking: Networking, rules: EgressRules) -> bool:
    """Tell whether any name that a credential's list entry stands for may be reached, on some open port. Pure."""
    if not pattern.startswith("*."):
        try:
            return decide(target_from(pattern, 443), networking, rules).is_allowed
        except MalformedHostError:
            return False
    if not networking.is_limited:
        return True
    opened = networking.hosts | (rules.registry_hosts() if networking.allows_package_managers else frozenset())
    below = pattern.removeprefix("*.")
    return any(matches(name.removeprefix("*."), frozenset({pattern})) or name == pattern for name in opened) or any(
        matches(below, frozenset({name})) for name in opened if name.startswith("*.")
    )


class Reach:
    """What is to be told of it: each credential once a lease, at once where nothing of it can be reached."""

    def __init__(self, rules: EgressRules) -> None:
        self._rules = rules
        self._networking = Networking(is_limited=False)
        self._told: set[str] = set()
        self._news: list[Unreachable] = []

    def leased(self) -> None:
        """Begin anew: another harness has woken."""
        self._told.clear()
        self._news.clear()

    def configure(self, networking: Networking) -> None:
        """Judge by this networking."""
        self._networking = networking

    def refused(self, credentials: Iterable[EnvironmentCredential], host: str) -> None:
        """Note that a tool was refused a host; it counts for credentials that name it."""
        for one in credentials:
            if one.names(host):
                self._note(Unreachable(credential_id=one.id, vault_id=one.vault_id, hosts=(host,)))

    def news(self, credentials: Iterable[EnvironmentCredential]) -> list[Unreachable]:
        """Return what was not told yet; it counts as told."""
        for found in useless(credentials, self._networking, self._rules):
            self._note(found)
        news, self._news = self._news, []
        return news

    def _note(self, found: Unreachable) -> None:
        if found.credential_id not in self._told:
            self._told.add(found.credential_id)
            self._news.append(found)
