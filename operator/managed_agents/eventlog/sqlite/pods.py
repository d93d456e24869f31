"""The Pods that the operator vouches for. Each request of a harness asks for its own, so they are kept in memory."""

from dataclasses import dataclass, field

from managed_agents.contracts.errors import ConflictError
from managed_agents.eventlog.records import HarnessPod
from managed_agents.eventlog.sqlite.state import State

KEPT_MAX = 10_000
"""Pods in memory, below a KB each; beyond, all are forgotten and read again as they are asked for."""


@dataclass(frozen=True, slots=True)
class HarnessPods:
    """The registered Pods, changed within the open transaction. Used on the database thread only, but for `known`.

    What is kept was committed: it is put here by reads, which run outside of transactions, and a transaction takes out
    what it changes before it commits.
    """

    state: State
    _kept: dict[str, HarnessPod] = field(default_factory=dict)

    def known(self, pod_uid: str) -> HarnessPod | None:
        """Return a registered Pod when it is in memory; on any thread: one look into one dictionary."""
        return self._kept.get(pod_uid)

    def get(self, pod_uid: str) -> HarnessPod | None:
        """Return a registered Pod."""
        row = self.state.connection.execute(
            "SELECT p.pod_uid, p.namespace, p.pod_name, p.deployment_uid, s.id "
            "FROM harness_pods p JOIN sessions s USING (sid) WHERE p.pod_uid = ?",
            (pod_uid,),
        ).fetchone()
        if row is None:
            return None
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        pod = HarnessPod(pod_uid=row[0], namespace=row[1], pod_name=row[2], deployment_uid=row[3], session_id=row[4])
        self._kept[pod_uid] = pod
        return pod

    def register(self, pod: HarnessPod) -> None:
        """Vouch for a Pod. Raises: ConflictError when its Deployment, or it, belongs to another session."""
        entry, connection = self.state.entry(pod.session_id), self.state.connection
        bound = connection.execute("SELECT sid FROM deployments WHERE uid = ?", (pod.deployment_uid,)).fetchone()
        known = connection.execute("SELECT sid FROM harness_pods WHERE pod_uid = ?", (pod.pod_uid,)).fetchone()
        for row in (bound, known):
            if row is not None and row[0] != entry.sid:
                raise ConflictError(f"Deployment {pod.deployment_uid} serves another session, and never this one")
        self._kept.pop(pod.pod_uid, None)
        connection.execute("INSERT OR IGNORE INTO deployments VALUES (?, ?)", (pod.deployment_uid, entry.sid))
        connection.execute(
            "INSERT OR REPLACE INTO harness_pods VALUES (?, ?, ?, ?, ?)",
            (pod.pod_uid, entry.sid, pod.namespace, pod.pod_name, pod.deployment_uid),
        )

    def unregister(self, pod_uid: str) -> None:
        """Forget a Pod."""
        self._kept.pop(pod_uid, None)
        self.state.connection.execute("DELETE FROM harness_pods WHERE pod_uid = ?", (pod_uid,))

    def unregister_all(self, sid: int) -> None:
        """Forget the Pods of a session."""
        for (pod_uid,) in self.state.connection.execute("SELECT pod_uid FROM harness_pods WHERE sid = ?", (sid,)):
            self._kept.pop(pod_uid, None)
        self.state.connection.execute("DELETE FROM harness_pods WHERE sid = ?", (sid,))
