"""Which pool a session may claim its sandbox from (docs/internal-api.md)."""

from managed_agents.eventlog.store import EventLog
from managed_agents.eventlog.warm_sandboxes import PoolClaim
from managed_agents.server.services.collection import Collection


class SandboxPools:
    """The pools as claims see them."""

    def __init__(self, log: EventLog, environments: Collection) -> None:
        self._log = log
        self._environments = environments

    async def claim_for(self, session_id: str) -> PoolClaim | None:
        """Return the pool for a session that has no sandbox, as its Environment is now.

        The operator says for which generation of an Environment its pool is right; the Environment itself is followed
        here. So a pool is out of use as soon as the Environment changes, whether the operator runs or not.
        Raises: NotFoundError for a session that is not there.
        """
        session = await self._log.session(session_id)
        if session.sandbox is not None:
            return None
        environment_id = str(((await self._log.config(session_id)).get("environment") or {}).get("id"))
        environment = self._environments.find(environment_id)
        if environment is None or environment["metadata"]["namespace"] != session.namespace:
            return None
        return PoolClaim(environment=environment_id, generation=int(environment["metadata"]["generation"]))
