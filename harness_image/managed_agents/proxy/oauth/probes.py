"""Probes that the server asks this proxy for over its wake socket, and their reports (docs/internal-api.md, "Wake")."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from managed_agents.proxy.egress_rules import Networking, networking_from
from managed_agents.proxy.mcp_bearers import Bearers
from managed_agents.proxy.oauth.probing import Failed, Finding, McpProbe
from managed_agents.proxy.oauth.server_grants import (
    HttpServerGrants,
    NotKeptError,
    ServerUnavailableError,
    StaleGrantError,
)
from managed_agents.proxy.oauth.write_back import Background
from managed_agents.proxy.watched_file import comes

MOUNT_SECONDS = 10.0
"""How long a version of a credential is waited for that the mounted file does not have yet."""

PROBE_SECONDS = 20.0
"""One probe, all in all; the server waits a little longer."""

PROBES_MAX = 4
"""At once, of one session; what is beyond is answered `unknown`."""

_log = structlog.get_logger(listener="mcp")


class Probes:
    """The probes of one session's credentials. They run beside everything else and never raise."""

    def __init__(self, probe: McpProbe, bearers: Bearers, server: HttpServerGrants) -> None:
        self._probe = probe
        self._bearers = bearers
        self._server = server
        self._background = Background()
        self._running = 0
        self._session = ""
        self._networking = Networking(is_limited=True)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Probe for this session, within what its Environment reaches."""
        self._session = str(config.get("id"))
        self._networking = networking_from((config.get("environment") or {}).get("config") or {})

    def asked(self, probe: str, credential: str, version: str) -> None:
        """Begin a probe; its report goes to the server."""
        self._background.run(self._run(probe, credential, version))

    async def close(self) -> None:
        """End what runs."""
        await self._background.close()

    async def _run(self, probe: str, credential: str, version: str) -> None:
        session, finding = self._session, Finding(failed=Failed(method="initialize"))
        if self._running < PROBES_MAX:
            self._running += 1
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    finding = await self._found(credential, version)
            except TimeoutError:
                pass
            finally:
                self._running -= 1
        _log.info("credential_probed", credential=credential, verdict=finding.verdict)
        try:
            await self._server.report_probe(session, credential, {"probe": probe, **finding.body()})
        except (ServerUnavailableError, StaleGrantError, NotKeptError):
            _log.warning("probe_not_reported", credential=credential)

    async def _found(self, credential: str, version: str) -> Finding:
        """Try a credential once it is mounted in this version; an older one would be told of in its place."""

        def is_there() -> bool:
            found = self._bearers.oauth_of(credential)
            return found is not None and found.oauth is not None and version in ("", found.oauth.version)

        is_mounted = await comes(is_there, seconds=MOUNT_SECONDS)
        found = self._bearers.oauth_of(credential)
        if not is_mounted or found is None or found.oauth is None:
            return Finding(failed=Failed(method="initialize"))
        return await self._probe.probe(found.oauth, found.url, self._networking)
