"""Warm harnesses on the cluster: the first message of a session waits for no Pod, and nothing is leaked by it."""

from collections.abc import Iterator

import pytest

from support.cluster import Namespace, Object, environment, eventually, kubectl, managed, message, script
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

POOL = "managedagents.dev/pool"
HARNESS = "managedagents.dev/harness"


def free(namespace: Namespace) -> list[Object]:
    """Return the pool's Pods that are ready: their wake connection stands in line."""
    return [
        pod
        for pod in namespace.select("pods", f"{POOL},{HARNESS}")
        if any(item["type"] == "Ready" and item["status"] == "True" for item in pod["status"].get("conditions") or [])
    ]


@pytest.fixture(scope="module", autouse=True)
def warm(namespace: Namespace) -> Iterator[None]:
    """Let the Environment keep two warm harnesses for the tests of this file."""
    box = environment()
    box["spec"]["harness"] |= {"warmReplicas": 2, "maxWarmReplicas": 3}
    namespace.apply(box)
    eventually("two warm harnesses are ready", lambda: len(free(namespace)) >= 2, seconds=90)
    yield
    namespace.apply(environment())
    eventually("the pool is empty", lambda: not namespace.select("deployments", POOL), seconds=60)


@requirement("warm-harness", "two-doors")
def test_first_message_is_answered_by_a_harness_that_was_there_before(namespace: Namespace) -> None:
    before = {pod["metadata"]["uid"]: pod["metadata"]["labels"][HARNESS] for pod in free(namespace)}
    namespace.create_session("swift", message("first", script({"text": "here already"})))
    session = namespace.wait_idle("swift")
    assert session["status"]["lastMessage"]["text"] == "here already"
    deployment = session["status"]["harness"]["deploymentName"]
    assert deployment in before.values()

    def adopted() -> Object | None:
        pods = namespace.pods("swift", "harness")
        return pods[0] if pods else None

    pod = eventually("its Pod has the session's labels", adopted, seconds=20)
    assert pod["metadata"]["uid"] in before
    assert [owner["kind"] for owner in pod["metadata"]["ownerReferences"]] == ["ReplicaSet"]
    owners = namespace.get("deployment", deployment)["metadata"]["ownerReferences"]
    assert [owner["name"] for owner in owners] == ["swift"]
    eventually("the pool is full again", lambda: len(free(namespace)) >= 2, seconds=90)
    namespace.append_event("swift", message("second", script({"text": "and again"})))
    assert namespace.wait_idle("swift")["status"]["lastMessage"]["text"] == "and again"
    kubectl("delete", "-n", namespace.name, "session", "swift", "--timeout=30s")
    namespace.wait_nothing_left("swift")


@requirement("warm-harness", "burst")
def test_burst_beyond_the_pool_is_answered_by_cold_harnesses(namespace: Namespace) -> None:
    names = [f"crowd-{number}" for number in range(6)]
    spec = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "box"}}
    eventually("two warm harnesses are ready", lambda: len(free(namespace)) >= 2, seconds=90)
    namespace.apply(
        *(managed("Session", name, {**spec, "events": [message("first", script({"text": name}))]}) for name in names)
    )
    for name in names:
        assert namespace.wait_idle(name, seconds=200)["status"]["lastMessage"]["text"] == name
    kubectl("delete", "-n", namespace.name, "sessions", *names, "--timeout=60s")
    for name in names:
        namespace.wait_nothing_left(name)


SYSTEM = "managed-agents-system"
OPERATOR = "deployment/managed-agents-operator"


@requirement("warm-harness", "F28")
def test_session_is_answered_while_no_operator_runs_and_its_harness_adopted_afterwards(namespace: Namespace) -> None:
    eventually("two warm harnesses are ready", lambda: len(free(namespace)) >= 2, seconds=90)
    client, bot, box = namespace.client.beta, namespace.get("agent", "bot"), namespace.get("environment", "box")
    kubectl("scale", "-n", SYSTEM, OPERATOR, "--replicas=0")
    try:
        kubectl("wait", "-n", SYSTEM, "--for=delete", "pods", "-l", "app.kubernetes.io/component=operator")
        made = client.sessions.create(agent=bot["status"]["id"], environment_id=box["status"]["id"], title="orphan")
        with client.sessions.events.stream(made.id) as stream:
            text = script({"text": "no operator was needed"})
            client.sessions.events.send(
                made.id, events=[{"type": "user.message", "content": [{"type": "text", "text": text}]}]
            )
            types = []
            for event in stream:
                types.append(event.type)
                if event.type == "session.status_idle":
                    break
        assert "agent.message" in types
        [session] = [item for item in namespace.select("sessions") if item["spec"].get("title") == "orphan"]
        name = session["metadata"]["name"]
        assert namespace.pods(name) == []
    finally:
        kubectl("scale", "-n", SYSTEM, OPERATOR, "--replicas=1")
    eventually("its harness is adopted", lambda: namespace.pods(name, "harness"), seconds=90)
    kubectl("delete", "-n", namespace.name, "session", name, "--timeout=60s")
    namespace.wait_nothing_left(name)
