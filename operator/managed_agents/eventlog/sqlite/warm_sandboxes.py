"""Pools of blank sandboxes, as rows: within the open transaction, and as jobs for the database thread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import apsw

from managed_agents.contracts.errors import ConflictError
from managed_agents.eventlog.sqlite.worker import Worker
from managed_agents.eventlog.warm_sandboxes import PoolClaim, SandboxPool, WantedSandbox, WarmReport, WarmSandbox

TABLES = """
CREATE TABLE IF NOT EXISTS sandbox_pools (
  namespace TEXT NOT NULL, environment TEXT NOT NULL, generation INTEGER NOT NULL, pool TEXT NOT NULL,
  PRIMARY KEY (namespace, environment)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS warm_sandboxes (
  number INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, pod_name TEXT NOT NULL, environment TEXT NOT NULL,
  pool TEXT NOT NULL, state TEXT NOT NULL, bind_token TEXT NOT NULL, has_claim INTEGER NOT NULL, packages TEXT,
  pod_uid TEXT, address TEXT, UNIQUE (namespace, pod_name));
CREATE INDEX IF NOT EXISTS warm_sandboxes_by_environment ON warm_sandboxes (namespace, environment, number);
CREATE TABLE IF NOT EXISTS workspaces (sid INTEGER PRIMARY KEY, claim TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS workspaces_by_claim ON workspaces (claim);
CREATE INDEX IF NOT EXISTS sandboxes_by_pod ON sandboxes (pod_name);
"""
"""`workspaces`: in which claim a session works that came with a warm sandbox."""

_SELECT = (
    "SELECT namespace, pod_name, environment, pool, state, bind_token, has_claim, packages, pod_uid, address "
    "FROM warm_sandboxes"
)
_Row = tuple[str, str, str, str, str, str, int, str | None, str | None, str | None]


@dataclass(frozen=True, slots=True)
class WarmRows:
    """The tables within the open transaction. Used on the database thread only."""

    connection: apsw.Connection
    new_secret: Callable[[], str]

    def put_pool(self, pool: SandboxPool) -> None:
        """Keep what is said; what was said before is no write."""
        self.connection.execute(
            "INSERT INTO sandbox_pools VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET generation = excluded.generation, pool = excluded.pool "
            "WHERE (generation, pool) != (excluded.generation, excluded.pool)",
            (pool.namespace, pool.environment, pool.generation, pool.pool),
        )

    def drop_pool(self, namespace: str, environment: str) -> None:
        """Forget a pool; its records are retired one by one."""
        self.connection.execute(
            "DELETE FROM sandbox_pools WHERE namespace = ? AND environment = ?", (namespace, environment)
        )

    def namespaces(self) -> list[str]:
        """Return the namespaces that anything is kept of."""
        rows = self.connection.execute("SELECT namespace FROM sandbox_pools UNION SELECT namespace FROM warm_sandboxes")
        return [str(row[0]) for row in rows]

    def add(self, wanted: WantedSandbox) -> WarmSandbox:
        """Insert a record."""
        self.connection.execute(
            "INSERT INTO warm_sandboxes "
            "(namespace, pod_name, environment, pool, state, bind_token, has_claim, packages) "
            "VALUES (?, ?, ?, ?, 'wanted', ?, ?, ?)",
            (
                wanted.namespace, wanted.pod_name, wanted.environment, wanted.pool, self.new_secret(),
                wanted.has_claim, wanted.packages,
            ),
        )  # fmt: skip
        return self._get(wanted.namespace, wanted.pod_name)

    def find(self, namespace: str) -> tuple[list[SandboxPool], list[WarmSandbox]]:
        """Return what a namespace has, oldest first."""
        rows = self.connection.execute(
            "SELECT environment, generation, pool FROM sandbox_pools WHERE namespace = ? ORDER BY environment",
            (namespace,),
        )
        pools = [
            SandboxPool(namespace=namespace, environment=environment, generation=generation, pool=pool)
            for environment, generation, pool in rows
        ]
        return pools, self._all("WHERE namespace = ? ORDER BY number", (namespace,))

    def without_packages(self) -> list[WarmSandbox]:
        """Return the records that wait for packages, oldest first."""
        return self._all("WHERE state = 'ready' ORDER BY number", ())

    def report(self, report: WarmReport) -> WarmSandbox | None:
        """Store what was seen of a Pod that is still the pool's."""
        where = (report.namespace, report.pod_name)
        known = self._all("WHERE namespace = ? AND pod_name = ?", where)
        if not known:
            return None
        before = known[0].pod_uid
        if report.state == "gone" or (before is not None and report.pod_uid not in (None, before)):
            # another Pod under the old name has neither its packages nor anybody who vouches for it
            self.connection.execute("DELETE FROM warm_sandboxes WHERE namespace = ? AND pod_name = ?", where)
            return None
        state = _state_after(known[0], report)
        self.connection.execute(
            "UPDATE warm_sandboxes SET state = ?, pod_uid = ?, address = ? WHERE namespace = ? AND pod_name = ?",
            (state, report.pod_uid or before, report.address if report.state == "ready" else None, *where),
        )
        return self._get(*where)

    def supplied(self, namespace: str, pod_name: str, pod_uid: str) -> None:
        """Free a Pod that has its packages."""
        self.connection.execute(
            "UPDATE warm_sandboxes SET state = 'free' "
            "WHERE namespace = ? AND pod_name = ? AND pod_uid = ? AND state = 'ready'",
            (namespace, pod_name, pod_uid),
        )

    def retire(self, namespace: str, pod_name: str) -> bool:
        """Forget a record. Raises: ConflictError while a session has the Pod."""
        living = self.connection.execute(
            "SELECT 1 FROM sandboxes WHERE pod_name = ? AND namespace = ? AND state != 'gone'", (pod_name, namespace)
        ).fetchone()
        if living is not None:
            raise ConflictError(f"Pod {pod_name} is a session's sandbox and no longer the pool's")
        self.connection.execute(
            "DELETE FROM warm_sandboxes WHERE namespace = ? AND pod_name = ?", (namespace, pod_name)
        )
        return self._is_workspace(namespace, pod_name)

    def take(self, namespace: str, sid: int, claim: PoolClaim, *, is_first: bool) -> WarmSandbox | None:
        """Hand the oldest free Pod of the current pool to a session, and note the claim it works in from now on.

        Only a session's first sandbox may bring a workspace along: later ones must have the one that is there.
        """
        found = self._all(
            "WHERE namespace = ? AND environment = ? AND state = 'free' AND has_claim <= ? AND pool = "
            "(SELECT pool FROM sandbox_pools p WHERE p.namespace = warm_sandboxes.namespace "
            "AND p.environment = warm_sandboxes.environment AND p.generation = ?) ORDER BY number LIMIT 1",
            (namespace, claim.environment, is_first, claim.generation),
        )
        if not found:
            return None
        taken = found[0]
        self.connection.execute(
            "DELETE FROM warm_sandboxes WHERE namespace = ? AND pod_name = ?", (namespace, taken.pod_name)
        )
        if taken.has_claim:
            self.connection.execute("INSERT OR REPLACE INTO workspaces VALUES (?, ?)", (sid, taken.pod_name))
        return taken

    def _get(self, namespace: str, pod_name: str) -> WarmSandbox:
        return self._all("WHERE namespace = ? AND pod_name = ?", (namespace, pod_name))[0]

    def _all(self, where: str, values: tuple[object, ...]) -> list[WarmSandbox]:
        return [_warm(row) for row in self.connection.execute(f"{_SELECT} {where}", values)]

    def _is_workspace(self, namespace: str, claim: str) -> bool:
        row = self.connection.execute(
            "SELECT 1 FROM workspaces JOIN sessions USING (sid) WHERE claim = ? AND namespace = ?", (claim, namespace)
        ).fetchone()
        return row is not None


def workspace_of(connection: apsw.Connection, sid: int) -> str | None:
    """Return the claim that came with a session's warm sandbox."""
    row = connection.execute("SELECT claim FROM workspaces WHERE sid = ?", (sid,)).fetchone()
    return None if row is None else str(row[0])


def _state_after(known: WarmSandbox, report: WarmReport) -> str:
    if report.state == "pending":
        return "wanted"
    if known.packages is None or known.state == "free":
        return "free"
    return "ready"


def _warm(row: _Row) -> WarmSandbox:
    namespace, pod_name, environment, pool, state, bind_token, has_claim, packages, pod_uid, address = row
    return WarmSandbox(
        namespace=namespace,
        pod_name=pod_name,
        environment=environment,
        pool=pool,
        state="free" if state == "free" else "ready" if state == "ready" else "wanted",
        bind_token=bind_token,
        has_claim=bool(has_claim),
        packages=packages,
        pod_uid=pod_uid,
        address=address,
    )


class SqliteWarmSandboxes:
    """`WarmSandboxes` on the tables, each call a job for the database thread."""

    def __init__(self, rows: WarmRows, worker: Worker) -> None:
        self._rows = rows
        self._worker = worker

    async def put_pool(self, pool: SandboxPool) -> None:
        """Say what an Environment's sandboxes are like."""
        await self._worker.write(lambda: self._rows.put_pool(pool))

    async def drop_pool(self, namespace: str, environment: str) -> None:
        """End the claims on a pool."""
        await self._worker.write(lambda: self._rows.drop_pool(namespace, environment))

    async def add(self, wanted: WantedSandbox) -> WarmSandbox:
        """Make a record."""
        return await self._worker.write(lambda: self._rows.add(wanted))

    async def find(self, namespace: str) -> tuple[Sequence[SandboxPool], Sequence[WarmSandbox]]:
        """Return what a namespace has."""
        return await self._worker.read(lambda: self._rows.find(namespace))

    async def namespaces(self) -> Sequence[str]:
        """Return the namespaces with pools or records."""
        return await self._worker.read(self._rows.namespaces)

    async def without_packages(self) -> Sequence[WarmSandbox]:
        """Return what waits for packages."""
        return await self._worker.read(self._rows.without_packages)

    async def report(self, report: WarmReport) -> WarmSandbox | None:
        """Store what the operator saw."""
        return await self._worker.write(lambda: self._rows.report(report))

    async def supplied(self, namespace: str, pod_name: str, pod_uid: str) -> None:
        """Free a Pod that has its packages."""
        await self._worker.write(lambda: self._rows.supplied(namespace, pod_name, pod_uid))

    async def retire(self, namespace: str, pod_name: str) -> bool:
        """Forget a record."""
        return await self._worker.write(lambda: self._rows.retire(namespace, pod_name))
