"""Deleting a Session in the middle of a tool call leaves nothing within 30 seconds (issue acceptance 3)."""

import anthropic
import pytest

from support.cluster import KubectlError, Namespace, environment, eventually, kubectl, message, script
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SLEEP = {"tool": "bash", "input": {"command": "echo begun > /workspace/begun; sleep 600", "timeout_ms": 900_000}}


@requirement("F27", "I10")
def test_deletion_during_a_tool_call_removes_pods_claims_and_log(namespace: Namespace) -> None:
    namespace.apply(environment("stored", sandbox={"workspace": {"size": "64Mi"}}))
    namespace.create_session("doomed", message("first", script(SLEEP)), environment="stored")
    session = namespace.session_id("doomed")
    namespace.wait_event("doomed", "a tool call", lambda event: event["type"] == "agent.tool_use", seconds=60)
    sandbox = eventually("its sandbox runs", lambda: _ready(namespace, "doomed"), seconds=90)
    eventually("the tool has begun", lambda: _begun(namespace, sandbox), seconds=30)
    kubectl("delete", "-n", namespace.name, "session", "doomed", "--timeout=30s")
    with pytest.raises(KubectlError, match="NotFound"):
        namespace.get("session", "doomed")
    namespace.wait_nothing_left("doomed")
    with pytest.raises(anthropic.NotFoundError):
        namespace.client.beta.sessions.events.list(session)


@requirement("F27")
def test_deletion_before_anything_ran_is_quick(namespace: Namespace) -> None:
    namespace.create_session("early", message("first", script({"text": "never mind"})))
    kubectl("delete", "-n", namespace.name, "session", "early", "--timeout=30s")
    namespace.wait_nothing_left("early")


def _ready(namespace: Namespace, session: str) -> str | None:
    for pod in namespace.pods(session, "sandbox"):
        statuses = pod.get("status", {}).get("containerStatuses", [])
        if statuses and all(status["ready"] for status in statuses):
            return str(pod["metadata"]["name"])
    return None


def _begun(namespace: Namespace, pod: str) -> bool:
    try:
        kubectl("exec", "-n", namespace.name, pod, "-c", "tools", "--", "test", "-f", "/workspace/begun")
    except KubectlError:
        return False
    return True
