"""The operator's permissions are what it uses, no more and no less; `permissions.py` says so as data."""

from managed_agents.operator.leader import Leadership
from managed_agents.operator.permissions import CLUSTER, SYSTEM, TENANT, allowed
from managed_agents.operator.watched import CATALOG, WATCHED
from support.kube import kind_of
from support.operator_world import World
from support.requirements import requirement

BY_KOPF = frozenset((resource.group, resource.plural, "watch") for resource in WATCHED) | frozenset(
    (resource.group, resource.plural, "patch") for resource in CATALOG
)
"""kopf watches, and keeps its progress in an annotation of the low-count kinds (tried in test_process.py)."""

CREATED_BY_APPLY = frozenset(
    {("", "serviceaccounts", "create"), ("networking.k8s.io", "networkpolicies", "create"), ("", "secrets", "create")}
)
"""Server-side apply of an object that does not exist needs `create` beside `patch`."""


ONLY_IN_A_RACE = frozenset(
    {("apps", "deployments", "get"), ("", "persistentvolumeclaims", "get"), ("managedagents.dev", "sessions", "get")}
)
"""Read after a write that found the name taken or the object changed (tried in test_faults.py)."""

IMPLIED_BY_LIST = frozenset(("managedagents.dev", kind, "get") for kind in ("modelproviders", "vaults"))
"""Who may list may read; one rule for our kinds stays readable."""


async def install_packages(operated: World) -> None:
    """Let a Job be made, and be removed because the server has nothing of what it says it brought."""
    operated.create("environments", "equipped", {"config": {"type": "cloud", "packages": {"pip": ["x"]}}})
    await operated.settle()
    [job] = operated.names("jobs")
    operated.kube.set_status("jobs", "team-a", job, conditions=[{"type": "Complete", "status": "True"}])
    await operated.advance(3)


async def adopt_sandbox(operated: World) -> None:
    """Let a session claim a warm sandbox with a workspace."""
    operated.create("environments", "stored", {"sandbox": {"warmReplicas": 1, "workspace": {"size": "1Gi"}}})
    await operated.settle()
    operated.session("quick", "Hello.", environmentRef={"name": "stored"})
    await operated.settle()
    await (await operated.turn("quick", ends=False)).ask_sandbox()
    operated.kube.delete(kind_of("environments"), "team-a", "stored")
    operated.kube.delete(kind_of("sessions"), "team-a", "quick")
    for _ in range(3):
        await operated.advance(1)


async def live_fully(operated: World) -> None:
    mounts = [{"mountPath": "/data", "configMapRef": {"name": "reference"}}]
    operated.kube.create(kind_of("configmaps"), "team-a", {"metadata": {"name": "reference"}, "data": {}})
    await operated.catalog(sandbox={"workspace": {"size": "1Gi"}, "mounts": mounts})
    operated.create("vaults", "team", {})
    operated.session("repair", "Hello.", vaultRefs=[{"name": "team"}])
    await operated.settle()
    turn = await operated.turn(ends=False)
    await turn.ask_sandbox()
    await adopt_sandbox(operated)
    key = {"data": {"api-key": "bmV3"}}
    operated.kube.merge(kind_of("secrets"), "team-a", "key", key)
    await operated.advance(20)
    await turn.end()
    [deployment] = operated.names("deployments")
    outdated = {"metadata": {"annotations": {"managedagents.dev/template-hash": "old"}}}
    operated.kube.merge(kind_of("deployments"), "team-a", deployment, outdated)
    operated.nodes.auto_run = False
    for pod in operated.names("pods"):
        operated.kube.set_status("pods", "team-a", pod, containerStatuses=[])
    operated.say("repair", "more", "Again.")
    await operated.settle()
    operated.kube.create(kind_of("sessions"), "team-a", _session("lonely", environment="none"))
    await operated.settle()
    operated.kube.remove("sessions", "team-a", "lonely")
    operated.kube.delete(kind_of("sessions"), "team-a", "repair")
    for _ in range(5):
        await operated.advance(1)
    await operated.outlive("brief")
    for name in operated.names("modelproviders"):
        operated.kube.delete(kind_of("modelproviders"), "team-a", name)
    await operated.settle()
    await operated.operator.sweeper.sweep()
    await install_packages(operated)
    await operated.count_nodes(0)
    leadership = operated.operator.leadership
    await leadership.acquire()
    await leadership.acquire()


def _session(name: str, *, environment: str) -> dict[str, object]:
    spec = {"agentRef": {"name": "bot"}, "environmentRef": {"name": environment}}
    return {"metadata": {"name": name}, "spec": spec}


@requirement("permissions")
async def test_every_permission_is_used_and_no_other(operated: World) -> None:
    assert isinstance(operated.operator.leadership, Leadership)
    await live_fully(operated)
    used = frozenset((call.group, call.resource, call.verb) for call in operated.api.calls)
    listed = allowed(CLUSTER) | allowed(TENANT) | allowed(SYSTEM)
    assert used <= listed
    assert listed - used - BY_KOPF - CREATED_BY_APPLY - ONLY_IN_A_RACE - IMPLIED_BY_LIST == frozenset()
