"""Warm harnesses within the open transaction: offered, withdrawn, and leased to one session for good.

A Deployment that a session got is bound to it for ever, like one that was made for it: none of its Pods is offered
again, and none ever serves another session (design §3).
"""

from dataclasses import dataclass

from managed_agents.contracts.errors import ConflictError
from managed_agents.eventlog.records import Change, HarnessPod, LeasedHarness, Session, WarmHarness
from managed_agents.eventlog.sqlite.pods import HarnessPods
from managed_agents.eventlog.sqlite.state import Entry, State

_FIELDS = ("pod_uid", "namespace", "image", "pod_name", "deployment_name", "deployment_uid")


@dataclass(frozen=True, slots=True)
class WarmHarnesses:
    """The pool's side of harness Pods."""

    state: State
    pods: HarnessPods

    def offer(self, warm: WarmHarness) -> None:
        """Vouch for a Pod that no session has. Raises: ConflictError when a session has, or had, its Deployment."""
        connection = self.state.connection
        if connection.execute("SELECT 1 FROM deployments WHERE uid = ?", (warm.deployment_uid,)).fetchone():
            raise ConflictError(f"Deployment {warm.deployment_uid} serves a session, and never another one")
        connection.execute(
            "INSERT OR REPLACE INTO warm_harnesses VALUES (?, ?, ?, ?, ?, ?)",
            tuple(getattr(warm, field) for field in _FIELDS),
        )

    def withdraw(self, deployment_uid: str, pod_uid: str | None) -> tuple[str, ...]:
        """Take back a Deployment's Pods, or one, and return their UIDs. Raises: ConflictError when a session has it."""
        connection = self.state.connection
        taken = connection.execute(
            "SELECT 1 FROM harness_pods WHERE deployment_uid = ?1 AND (?2 IS NULL OR pod_uid = ?2)",
            (deployment_uid, pod_uid),
        ).fetchone()
        if taken:
            raise ConflictError(f"Deployment {deployment_uid} serves a session")
        gone: list[tuple[str]] = connection.execute(
            "DELETE FROM warm_harnesses WHERE deployment_uid = ?1 AND (?2 IS NULL OR pod_uid = ?2) RETURNING pod_uid",
            (deployment_uid, pod_uid),
        ).fetchall()  # type: ignore[assignment] # apsw types a row by every type a column may have
        return tuple(pod for (pod,) in gone)

    def get(self, pod_uid: str) -> WarmHarness | None:
        """Return a Pod that is offered."""
        query = f"SELECT {', '.join(_FIELDS)} FROM warm_harnesses WHERE pod_uid = ?"  # noqa: S608 - constant names
        row = self.state.connection.execute(query, (pod_uid,)).fetchone()
        return None if row is None else WarmHarness(**dict(zip(_FIELDS, row, strict=True)))

    def lease(self, session_id: str, pod_uid: str) -> Session | None:
        """Give a Pod to a session under the next epoch; null when it is no longer offered.

        Raises: ConflictError for a session that wants none, or of another namespace.
        """
        entry = self.state.writable(session_id)
        warm = self.get(pod_uid)
        if warm is None:
            return None
        session = entry.session
        if not session.wanted or warm.namespace != session.namespace:
            raise ConflictError(f"session {session_id} wants no harness of namespace {warm.namespace}")
        harness = LeasedHarness(
            deployment_uid=warm.deployment_uid,
            deployment_name=warm.deployment_name,
            pod_uid=warm.pod_uid,
            pod_name=warm.pod_name,
            epoch=session.epoch + 1,
        )
        self._bind(entry, warm, harness)
        leased = session._replace(epoch=harness.epoch, released=False, harness=harness)
        changed = Entry(entry.sid, leased)
        self.state.write_header(changed)
        self.state.change(changed, Change(session_id=session_id, session=leased))
        return leased

    def _bind(self, entry: Entry, warm: WarmHarness, harness: LeasedHarness) -> None:
        connection, sid = self.state.connection, entry.sid
        pod = HarnessPod(
            pod_uid=warm.pod_uid,
            namespace=warm.namespace,
            pod_name=warm.pod_name,
            deployment_uid=warm.deployment_uid,
            session_id=entry.session.id,
        )
        self.pods.register(pod)
        connection.execute("DELETE FROM warm_harnesses WHERE deployment_uid = ?", (warm.deployment_uid,))
        connection.execute(
            "INSERT OR REPLACE INTO leased_harnesses VALUES (?, ?, ?, ?, ?, ?)",
            (sid, warm.deployment_uid, warm.deployment_name, warm.pod_uid, warm.pod_name, harness.epoch),
        )
