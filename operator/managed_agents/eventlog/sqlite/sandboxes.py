"""Sandbox records within the open transaction: at most one of a session is not gone."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from managed_agents.contracts.errors import NotFoundError
from managed_agents.contracts.names import sandbox_pod_name_for
from managed_agents.eventlog.records import Change, Sandbox, Session
from managed_agents.eventlog.sqlite.appending import check_fence
from managed_agents.eventlog.sqlite.state import SELECT_SANDBOXES, Entry, State, sandbox_from
from managed_agents.eventlog.sqlite.warm_sandboxes import WarmRows
from managed_agents.eventlog.warm_sandboxes import PoolClaim, WarmSandbox


@dataclass(frozen=True, slots=True)
class Sandboxes:
    """Claims, reports and retirements. `new_secret` makes tokens that nobody can guess."""

    state: State
    warm: WarmRows
    new_secret: Callable[[], str]

    def claim(self, session_id: str, epoch: int, pool: PoolClaim | None) -> Sandbox:
        """Return the living sandbox of the session, from the pool or made when there is none. Raises: FencedError."""
        entry = self.state.writable(session_id)
        session = entry.session
        check_fence(session, epoch)
        if session.sandbox is not None:
            return session.sandbox
        last = self.state.connection.execute("SELECT max(generation) FROM sandboxes WHERE sid = ?", (entry.sid,)).get
        taken = None if pool is None else self.warm.take(session.namespace, entry.sid, pool, is_first=last is None)
        if taken is not None and taken.has_claim:
            entry = Entry(entry.sid, session._replace(workspace=taken.pod_name))
        sandbox = self._new(session, (last or 0) + 1, taken)
        self._store(entry, sandbox)
        return sandbox

    def _new(self, session: Session, generation: int, taken: WarmSandbox | None) -> Sandbox:
        if taken is None:
            return Sandbox(
                namespace=session.namespace,
                pod_name=sandbox_pod_name_for(session.name, session.uid, generation),
                generation=generation,
                state="wanted",
                bind_token=self.new_secret(),
                binding_secret=self.new_secret(),
            )
        return Sandbox(
            namespace=session.namespace,
            pod_name=taken.pod_name,
            generation=generation,
            state="ready",
            bind_token=taken.bind_token,
            binding_secret=self.new_secret(),
            pod_uid=taken.pod_uid,
            address=taken.address,
        )

    def report(self, session_id: str, report: Sandbox) -> Sandbox:
        """Store a new state of a sandbox; a report on one that is gone changes nothing. Raises: NotFoundError."""
        entry = self.state.entry(session_id)
        current = entry.session.sandbox
        if current is None or current.pod_name != report.pod_name:
            return self.get(session_id, report.pod_name)
        replaced = current.state == "ready" and report.pod_uid is not None and report.pod_uid != current.pod_uid
        if replaced and report.state != "gone":
            # another Pod under the old name knows nothing of this binding
            self.retire(entry, reason="Deleted", message="the Pod was replaced by another of its name")
        else:
            self._store(
                entry,
                replace(
                    current,
                    state=report.state,
                    pod_uid=report.pod_uid or current.pod_uid,
                    address=report.address if report.state == "ready" else None,
                    reason=report.reason,
                    message=report.message,
                ),
            )
        return self.get(session_id, report.pod_name)

    def retire(self, entry: Entry, *, reason: str, message: str) -> None:
        """Mark the session's sandbox as gone."""
        current = entry.session.sandbox
        if current is not None:
            self._store(entry, replace(current, state="gone", address=None, reason=reason, message=message))

    def get(self, session_id: str, pod_name: str) -> Sandbox:
        """Return a sandbox of the session, gone ones too. Raises: NotFoundError."""
        entry = self.state.entry(session_id)
        row = self.state.connection.execute(
            f"{SELECT_SANDBOXES} WHERE sid = ? AND pod_name = ?",
            (entry.sid, pod_name),
        ).fetchone()
        if row is None:
            raise NotFoundError(f"session {session_id} has no sandbox {pod_name}")
        return sandbox_from(row)

    def _store(self, entry: Entry, sandbox: Sandbox) -> None:
        if sandbox == entry.session.sandbox:
            return
        self.state.connection.execute(
            "INSERT OR REPLACE INTO sandboxes (sid, namespace, pod_name, generation, state, bind_token, "
            "binding_secret, pod_uid, address, reason, message) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                entry.sid, sandbox.namespace, sandbox.pod_name, sandbox.generation, sandbox.state, sandbox.bind_token,
                sandbox.binding_secret, sandbox.pod_uid, sandbox.address, sandbox.reason, sandbox.message,
            ),
        )  # fmt: skip
        session = entry.session._replace(sandbox=None if sandbox.state == "gone" else sandbox)
        self.state.change(Entry(entry.sid, session), Change(session_id=session.id, session=session))
