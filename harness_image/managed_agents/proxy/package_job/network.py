"""The network of a Job that installs packages: the rules of a session's sandbox, without a relay between."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress import Egress, Resolve
from managed_agents.proxy.egress_dns import Resolver
from managed_agents.proxy.egress_request import HEAD_BYTES_MAX
from managed_agents.proxy.egress_rules import Networking, networking_from


@asynccontextmanager
async def serve(
    networking: Mapping[str, Any], rules: EgressRules, *, port: int, resolver: Resolve | None = None
) -> AsyncIterator[int]:
    """Serve an HTTP proxy on loopback until the block ends; yields its port. `networking` is in API form."""
    egress, decided = Egress(rules, resolver or Resolver().resolve), networking_from({"networking": networking})

    async def networking_of() -> Networking:
        return decided

    async def connected(reader: StreamReader, writer: StreamWriter) -> None:
        await egress.serve((reader, writer), networking_of)

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=HEAD_BYTES_MAX, backlog=128)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
