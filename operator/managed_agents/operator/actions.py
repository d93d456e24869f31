"""The closed union of effects on Sessions and their objects. Each is idempotent; `apply.py` alone runs them."""

from dataclasses import dataclass
from typing import Any

from managed_agents.kube.resources import Manifest, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFinalizer:
    """Put our finalizer on a Session, or take it off after proof of cleanup."""

    session: Manifest
    present: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PutSession:
    """Tell the server what the Session is and which events it holds. `config` None: keep the one it has.

    `intent` names what the public API wrote down before it created the object; the server binds the two.
    """

    session_id: str
    config: dict[str, Any] | None
    events: tuple[dict[str, Any], ...]
    archived: bool
    digest: str
    intent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSession:
    """Let the server forget a session, its log and its streams; one of another namespace stays."""

    session_id: str
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHarness:
    """Take the session from its harness, unless input waits."""

    session_id: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNamespace:
    """See that ServiceAccount and policies stand in a namespace before its first Pod."""

    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateChild:
    """Create an object of a Session; one that exists is success if its owner is ours."""

    resource: Resource
    manifest: Manifest
    owner_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateChild:
    """Bring an existing object of a Session to what we would create today."""

    resource: Resource
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptChild:
    """Put labels, and where one is given an owner, on an object that came from a pool; a label of null goes."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    labels: dict[str, str | None]
    owner: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteChild:
    """Delete exactly one object of a Session; `grace_seconds` None keeps the object's own."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    grace_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterPod:
    """Vouch at the server for a harness Pod's identity."""

    session_id: str
    namespace: str
    pod_name: str
    pod_uid: str
    deployment_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnregisterPod:
    """Withdraw a harness Pod's identity; a lease held through it is lost at once."""

    pod_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferHarness:
    """Vouch at the server for a warm harness Pod that any session of its namespace and image may take."""

    namespace: str
    image: str
    pod_name: str
    pod_uid: str
    deployment_name: str
    deployment_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawHarness:
    """Take a warm Deployment's Pods out of the server's hands, or one of them; refused once a session has one."""

    deployment_uid: str
    pod_uid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSandbox:
    """Tell the server what became of the sandbox Pod that it asked for."""

    session_id: str
    namespace: str
    pod_name: str
    pod_uid: str | None
    state: str
    address: str | None = None
    reason: str | None = None
    message: str | None = None

    @property
    def fingerprint(self) -> str:
        """Return what makes a report news."""
        return "|".join(str(part) for part in (self.pod_name, self.pod_uid, self.state, self.address, self.reason))


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteStatus:
    """Write the status of one of our objects, whole, by server-side apply."""

    resource: Resource
    owner: Manifest
    status: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Post a Kubernetes Event on an object, once for each fingerprint."""

    resource: Resource
    owner: Manifest
    reason: str
    message: str
    fingerprint: str = ""


ServerAction = PutSession | DeleteSession | ReleaseHarness | RegisterPod | UnregisterPod | ReportSandbox
"""Effects on the event log's server."""

PoolAction = OfferHarness | WithdrawHarness
"""Effects on the server's pools."""

ClusterAction = (
    SetFinalizer | EnsureNamespace | CreateChild | UpdateChild | AdoptChild | DeleteChild | WriteStatus | Announce
)
"""Effects on the kube-apiserver."""

Action = ServerAction | ClusterAction
