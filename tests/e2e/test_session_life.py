"""A Session's life by kubectl: applied, at work, idle, without Pods, woken, followed through the API, deleted."""

import pytest

from support.cluster import Namespace, eventually, kubectl, message, script
from support.left_sessions import require_order
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

WRITE = {"tool": "bash", "input": {"command": "echo kept > /workspace/note && echo written"}}
READ = {"tool": "bash", "input": {"command": "cat /workspace/note 2>&1; echo done"}}


@pytest.fixture(scope="module", autouse=True)
def sessions(namespace: Namespace) -> None:
    """Create the sessions of all tests at once: they start beside each other, as a user's do."""
    namespace.create_session("life", message("first", script(WRITE, {"text": "I wrote: {{last_tool_result}}"})))
    namespace.create_session("sleeper", message("first", script({"text": "first answer"})))
    namespace.create_session("told", message("first", script({"text": "hello"})))
    namespace.create_session("gone", message("first", script(WRITE)))
    namespace.create_session("both-doors")


@requirement("apply-runs", "I2")
def test_applied_session_works_in_a_sandbox_and_ends_idle_with_its_results_in_status(namespace: Namespace) -> None:
    session = namespace.wait_idle("life")
    status = session["status"]
    assert status["phase"] == "Idle"
    assert status["stopReason"] == {"type": "end_turn"}
    assert status["events"]["delivered"] == ["first"]
    assert status["lastMessage"]["text"].startswith("I wrote: written")
    assert status["lastMessage"]["truncated"] is False
    assert status["usage"]["inputTokens"] + status["usage"]["cacheCreation"]["ephemeral5mInputTokens"] > 0
    assert status["usage"]["outputTokens"] > 0
    assert int(status["usage"]["listCost"]["amount"]) >= 0
    assert status["activeSeconds"] >= 0
    events = namespace.events("life")
    assert status["log"]["head"] == len(events)
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    idle = next(item for item in status["conditions"] if item["type"] == "Idle")
    assert (idle["status"], idle["reason"]) == ("True", "EndTurn")
    assert idle["observedGeneration"] == session["metadata"]["generation"]


@requirement("idle-sleeps")
def test_idle_session_has_no_pods_and_the_next_entry_wakes_it_with_its_history(namespace: Namespace) -> None:
    namespace.wait_idle("sleeper")
    eventually("the idle session has no Pods", lambda: not namespace.pods("sleeper"), seconds=60)
    selector = "managedagents.dev/session=sleeper"
    eventually("it has no Deployment", lambda: not namespace.select("deployments", selector), seconds=30)
    namespace.append_event("sleeper", message("second", script({"text": "message {{turns}}"})))
    status = namespace.wait_idle("sleeper")["status"]
    assert status["lastMessage"]["text"] == "message 2"
    assert status["events"]["delivered"] == ["first", "second"]
    sent = [event for event in namespace.events("sleeper") if event["type"] == "user.message"]
    assert len(sent) == 2


@requirement("told")
def test_kubernetes_events_tell_each_state_change(namespace: Namespace) -> None:
    namespace.wait_idle("told")

    def reasons() -> set[str]:
        events = namespace.select("events")
        return {event["reason"] for event in events if event["involvedObject"]["name"] == "told"}

    eventually("events name running and idle", lambda: {"Running", "EndTurn"} <= reasons(), seconds=20)


@requirement("two-doors", "I12")
def test_official_sdk_sends_lists_and_streams_on_the_same_session(namespace: Namespace) -> None:
    session = namespace.session_id("both-doors")
    events = namespace.client.beta.sessions.events
    with events.stream(session, event_deltas=["agent.message"]) as stream:
        text = script({"text": "streamed answer"})
        events.send(session, events=[{"type": "user.message", "content": [{"type": "text", "text": text}]}])
        seen = []
        for event in stream:
            seen.append(event.to_dict())
            if event.type == "session.status_idle":
                break
    types = [event["type"] for event in seen]
    assert "event_delta" in types
    persisted = {event["id"]: event for event in seen if event.get("id")}
    assert list(persisted) == [event["id"] for event in namespace.events("both-doors")]
    assert namespace.wait_idle("both-doors")["status"]["lastMessage"]["text"] == "streamed answer"


@requirement("F27", "I10")
def test_deleting_an_idle_session_leaves_nothing(namespace: Namespace) -> None:
    namespace.wait_idle("gone")
    require_order(namespace.client)
    kubectl("delete", "-n", namespace.name, "session", "gone", "--timeout=30s")
    namespace.wait_nothing_left("gone")


@requirement("policies-stand")
def test_a_policy_that_somebody_deletes_is_back_at_once(namespace: Namespace) -> None:
    namespace.wait_idle("life")
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in namespace.select("networkpolicies")}
    assert sorted(policies) == ["ma-harness", "ma-sandbox"]
    kubectl("delete", "-n", namespace.name, "networkpolicy", "ma-sandbox")

    def standing() -> bool:
        return {
            policy["metadata"]["name"]: policy["spec"] for policy in namespace.select("networkpolicies")
        } == policies

    eventually("the policy is back", standing, seconds=20)
