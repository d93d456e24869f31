"""Warm sandboxes on the cluster: a free Pod serves a session's first call, becomes its own, and is replaced."""

import pytest

from support.cluster import Namespace, Object, environment, eventually, kubectl, message, script
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

POOL = "managedagents.dev/pool"
SANDBOX = "app.kubernetes.io/component=sandbox"
WRITE = {"tool": "bash", "input": {"command": "hostname; echo kept > /workspace/note; cat /workspace/note"}}


@requirement("warm-sandbox-once", "warm-sandbox-workspace", "F27")
@pytest.mark.parametrize("workspace", [None, {"size": "64Mi"}], ids=["without a claim", "with a claim"])
def test_a_free_pod_serves_the_first_call_and_belongs_to_the_session(
    namespace: Namespace, workspace: Object | None
) -> None:
    name = "blank" if workspace is None else "stored"
    sandbox: Object = {"warmReplicas": 1} | ({"workspace": workspace} if workspace else {})
    namespace.apply(environment(name, idle_seconds=300, sandbox=sandbox))
    free = eventually("a sandbox is free", lambda: _free(namespace, name), seconds=120)
    session = f"quick-{name}"
    namespace.create_session(
        session, message("first", script(WRITE, {"text": "{{last_tool_result}}"})), environment=name
    )
    said = namespace.wait_idle(session)["status"]["lastMessage"]["text"]
    pod_name = free["metadata"]["name"]
    assert said.split() == [pod_name, "kept"]

    mine = eventually("the Pod is adopted", lambda: _adopted(namespace, "pod", pod_name, session), seconds=30)
    assert mine["metadata"]["uid"] == free["metadata"]["uid"]
    if workspace is not None:
        eventually("its claim, too", lambda: _adopted(namespace, "pvc", pod_name, session), seconds=30)
    other = eventually("the pool is full again", lambda: _free(namespace, name), seconds=120)
    assert other["metadata"]["name"] != pod_name

    kubectl("delete", "-n", namespace.name, "session", session, "--timeout=60s")
    namespace.wait_nothing_left(session)
    assert pod_name not in {pod["metadata"]["name"] for pod in namespace.select("pods", SANDBOX)}
    assert pod_name not in {claim["metadata"]["name"] for claim in namespace.select("pvc", SANDBOX)}

    kubectl("delete", "-n", namespace.name, "environment", name, "--timeout=60s")
    eventually("the pool is empty", lambda: not _left(namespace, name), seconds=60)


@requirement("warm-sandbox-rolls")
def test_another_image_rolls_the_pool_and_leaves_the_sandbox_of_a_session(namespace: Namespace) -> None:
    namespace.apply(environment("rolled", idle_seconds=300, sandbox={"warmReplicas": 1}))
    eventually("a sandbox is free", lambda: _free(namespace, "rolled"), seconds=120)
    namespace.create_session(
        "steady", message("first", script(WRITE, {"text": "{{last_tool_result}}"})), environment="rolled"
    )
    pod_name = namespace.wait_idle("steady")["status"]["lastMessage"]["text"].split()[0]
    before = eventually("the pool is full again", lambda: _free(namespace, "rolled"), seconds=120)
    changed = {"warmReplicas": 1, "resources": {"limits": {"cpu": "1", "memory": "192Mi"}}}
    namespace.apply(environment("rolled", idle_seconds=300, sandbox=changed))

    def rolled() -> Object | None:
        found = _free(namespace, "rolled")
        is_new = found is not None and found["metadata"]["labels"][POOL] != before["metadata"]["labels"][POOL]
        return found if is_new else None

    eventually("the pool has the new kind", rolled, seconds=120)
    eventually("the old one is gone", lambda: len(_left(namespace, "rolled")) == 1, seconds=60)
    namespace.append_event("steady", message("second", script(WRITE, {"text": "{{last_tool_result}}"})))
    eventually("both calls ran on one Pod", lambda: _hosts(namespace, "steady") == [pod_name, pod_name], seconds=60)


def _hosts(namespace: Namespace, session: str) -> list[str]:
    """Return what `hostname` said in each call."""
    results = [event for event in namespace.events(session) if event["type"] == "agent.tool_result"]
    return [str(result["content"][0]["text"]).split()[0] for result in results]


def _free(namespace: Namespace, environment_name: str) -> Object | None:
    """Return the Pod of a pool whose status says that it is ready."""
    status = namespace.get("environment", environment_name).get("status", {}).get("warm", {})
    pods = _pods(namespace, environment_name)
    running = [pod for pod in pods if _is_running(pod)]
    return running[0] if status.get("sandboxes", {}).get("ready") == 1 and len(pods) == len(running) == 1 else None


def _pods(namespace: Namespace, environment_name: str) -> list[Object]:
    return namespace.select("pods", f"{POOL},{SANDBOX},managedagents.dev/environment={environment_name}")


def _is_running(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return bool(statuses) and all("running" in status["state"] for status in statuses)


def _adopted(namespace: Namespace, kind: str, name: str, session: str) -> Object | None:
    found = namespace.get(kind, name)
    labels, owners = found["metadata"]["labels"], found["metadata"].get("ownerReferences", [])
    is_mine = labels.get("managedagents.dev/session") == session and POOL not in labels
    return found if is_mine and [owner["name"] for owner in owners] == [session] else None


def _left(namespace: Namespace, environment_name: str) -> list[Object]:
    selector = f"{POOL},{SANDBOX},managedagents.dev/environment={environment_name}"
    return [*namespace.select("pods", selector), *namespace.select("pvc", selector)]
