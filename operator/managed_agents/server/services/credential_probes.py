"""Probes of OAuth credentials, which proxies of living sessions make: the server itself holds no credential.

The question goes down the lease of a session that has the vault; the answer comes by a call of that session's proxy.
"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import NotFoundError
from managed_agents.server.services.leases import Lease, Leases

Finding = Mapping[str, Any]

ASK_SECONDS = 22.0
"""For one proxy, a little longer than it gives itself; one whose harness leaves is waited for no more."""

ALL_SECONDS = 28.0
"""For all of them: a client waits so long for its answer at most."""

PROXIES_MAX = 3
"""A session may be kept from the server by its Environment's networking, where another is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A probe that was asked for, and of whom."""

    session_id: str
    credential_id: str
    answer: "asyncio.Future[Finding]"


class CredentialProbes:
    """The probes under way; callers that ask for the same credential at once share one."""

    def __init__(self, leases: Leases, clock: Clock) -> None:
        self._leases = leases
        self._clock = clock
        self._pending: dict[str, _Pending] = {}
        self._running: dict[str, asyncio.Task[Finding | None]] = {}

    async def probe(self, namespace: str, vault_id: str, credential_id: str, version: str) -> Finding | None:
        """Let a living session of the vault try a credential; null where none lives, or none answers in time.

        `version` is the one to try: a proxy waits for it; empty where it is not known, as of a user's own Secret.
        """
        running = self._running.get(f"{credential_id}/{version}")
        if running is None:
            running = asyncio.create_task(self._probe(namespace, vault_id, credential_id, version))
            self._running[f"{credential_id}/{version}"] = running
            running.add_done_callback(lambda _: self._running.pop(f"{credential_id}/{version}", None))
        return await asyncio.shield(running)  # one caller that leaves does not end it for the others

    def answered(self, session_id: str, credential_id: str, probe: str, finding: Finding) -> None:
        """Take in what a session's proxy found. Raises: NotFoundError for one that nobody waits for, or of another."""
        pending = self._pending.get(probe)
        if pending is None or (pending.session_id, pending.credential_id) != (session_id, credential_id):
            raise NotFoundError("nobody waits for this probe")
        if not pending.answer.done():
            pending.answer.set_result(finding)

    async def _probe(self, namespace: str, vault_id: str, credential_id: str, version: str) -> Finding | None:
        until, last = self._clock.monotonic() + ALL_SECONDS, None
        for lease in self._leases.of_vault(namespace, vault_id)[:PROXIES_MAX]:
            seconds = min(ASK_SECONDS, until - self._clock.monotonic())
            found = await self._ask(lease, credential_id, version, seconds)
            last = found or last
            if found is not None and (found["mcp_probe"] is None or found["mcp_probe"]["http_response"] is not None):
                break
        return last

    async def _ask(self, lease: Lease, credential_id: str, version: str, seconds: float) -> Finding | None:
        probe = secrets.token_hex(16)
        answer: asyncio.Future[Finding] = asyncio.get_running_loop().create_future()
        self._pending[probe] = _Pending(session_id=lease.session_id, credential_id=credential_id, answer=answer)
        left = asyncio.create_task(lease.ended.wait())
        try:
            lease.probe(probe, credential_id, version)
            waiting: set[asyncio.Future[Any]] = {answer, left}
            await asyncio.wait(waiting, timeout=max(seconds, 0.0), return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            left.cancel()
            del self._pending[probe]
