"""Answers a connector with those addresses of a name that may be dialled, and with nothing else (A17).

The connector dials what it got here, so a name that changes its mind in between changes nothing. Addresses in URLs
never come here: whoever uses this judges the URL before.
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_rules import address_is_open

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class JudgingResolver(AbstractResolver):
    """Resolves names by the egress rules. `closed` makes the error for a name all of whose addresses are closed."""

    def __init__(self, rules: EgressRules, resolve: Resolve, closed: Callable[[str], Exception]) -> None:
        self._rules = rules
        self._resolve = resolve
        self._closed = closed

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - any will do
    ) -> list[ResolveResult]:
        """Return addresses to dial, in order. Raises: OSError for an unknown name, else what `closed` makes."""
        try:
            found = [ip_address(text) for text in await self._resolve(host, port)]
        except UnicodeError:
            raise OSError(f"{host} is not known to the DNS") from None
        opened = [address for address in found if address_is_open(address, host, self._rules)]
        if not opened:
            raise self._closed(host)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in opened
        ]

    async def close(self) -> None:
        """Hold nothing."""
