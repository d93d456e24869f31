"""What a user can get wrong becomes a condition, and the session goes on when the cause is gone."""

from typing import Any

import pytest

from support.cluster import SIMULATOR, Namespace, agent, environment, eventually, message, provider, script
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TOUCH = {"tool": "bash", "input": {"command": "echo touched"}}


def _reason(namespace: Namespace, session: str, condition: str = "Ready") -> str:
    found = namespace.condition("session", session, condition)
    return f"{found.get('status')}/{found.get('reason')}"


def _flaky(endpoint: str) -> dict[str, Any]:
    flaky = provider("flaky", endpoint)
    flaky["spec"] |= {"default": False, "models": [{"id": "simulated-flaky"}]}
    return flaky


@pytest.fixture(scope="module", autouse=True)
def patient_sessions(namespace: Namespace) -> None:
    """Create the two sessions first that wait a minute for the cluster; the other tests run meanwhile."""
    small = {"resources": {"limits": {"memory": "256Mi", "ephemeral-storage": "32Mi"}}}
    fill = "dd if=/dev/zero of=/workspace/full bs=1M count=200 2>&1 | tail -n 1; sleep 110"
    namespace.apply(
        environment("small", sandbox=small), environment("bad-image", sandbox={"image": "registry.invalid/none:1"})
    )
    steps = script(TOUCH, {"text": "the tool said: {{last_tool_result}}"})
    namespace.create_session("no-image", message("first", steps), environment="bad-image")
    steps = script({"tool": "bash", "input": {"command": fill}}, TOUCH, {"text": "after: {{last_tool_result}}"})
    namespace.create_session("full", message("first", steps), environment="small")


@requirement("F21")
def test_image_that_cannot_be_pulled_is_a_condition(namespace: Namespace) -> None:
    eventually(
        "a condition names it",
        lambda: "ImagePullFailed" in str(namespace.get("session", "no-image").get("status", {}).get("conditions")),
        seconds=90,
    )


@requirement("reference-late")
def test_missing_agent_is_named_and_the_session_runs_once_it_exists(namespace: Namespace) -> None:
    namespace.create_session("no-agent", message("first", script({"text": "at last"})), agent="late-bot")
    eventually("it says so", lambda: _reason(namespace, "no-agent") == "False/AgentNotFound", seconds=30)
    assert "late-bot" in namespace.condition("session", "no-agent", "Ready")["message"]
    namespace.apply(agent("late-bot"))
    assert namespace.wait_idle("no-agent")["status"]["lastMessage"]["text"] == "at last"


@requirement("reference-late")
def test_missing_environment_is_named_and_the_session_runs_once_it_exists(namespace: Namespace) -> None:
    namespace.create_session("no-env", message("first", script({"text": "at last"})), environment="late-box")
    eventually("it says so", lambda: _reason(namespace, "no-env") == "False/EnvironmentNotFound", seconds=30)
    namespace.apply(environment("late-box"))
    assert namespace.wait_idle("no-env")["status"]["lastMessage"]["text"] == "at last"


@requirement("provider-refuses", "I15")
def test_unreachable_provider_is_retried_and_the_session_goes_on_when_it_answers(namespace: Namespace) -> None:
    namespace.apply(_flaky("http://127.0.0.1:9"), agent("flaky-bot", model={"id": "simulated-flaky"}))
    namespace.create_session("patient", message("first", script({"text": "it works again"})), agent="flaky-bot")
    failed = namespace.wait_event("patient", "an error", lambda event: event["type"] == "session.error", seconds=60)
    assert failed["error"]["type"] == "model_request_failed_error"
    assert failed["error"]["retry_status"]["type"] == "retrying"
    namespace.apply(_flaky(SIMULATOR))
    assert namespace.wait_idle("patient", seconds=180)["status"]["lastMessage"]["text"] == "it works again"


@requirement("provider-refuses")
def test_refusing_provider_ends_the_turn_with_a_typed_error(namespace: Namespace) -> None:
    error = {"error": {"status": 401, "type": "authentication_error", "message": "invalid x-api-key"}, "times": 1}
    once = f"Follow the script in {namespace.name}."  # `times` is shared by all requests that are equal to the letter
    namespace.create_session("refused", message("first", script(error, {"text": "unreachable"}, text=once)))
    status = namespace.wait_idle("refused")["status"]
    assert status["stopReason"] == {"type": "retries_exhausted"}
    assert namespace.condition("session", "refused", "Idle")["reason"] == "RetriesExhausted"
    namespace.append_event("refused", message("again", script({"text": "now it works"})))
    assert namespace.wait_idle("refused")["status"]["lastMessage"]["text"] == "now it works"


@requirement("F21", "I17")
def test_image_that_cannot_be_pulled_is_a_tool_error_and_the_session_stays_usable(namespace: Namespace) -> None:
    answer = namespace.wait_idle("no-image", seconds=240)["status"]["lastMessage"]["text"]
    assert "ImagePullFailed" in answer


@requirement("F17")
def test_full_workspace_is_a_tool_error_and_the_session_goes_on(namespace: Namespace) -> None:
    status = namespace.wait_idle("full", seconds=240)["status"]
    assert status["lastMessage"]["text"].startswith("after: touched")
    results = [event for event in namespace.events("full") if event["type"] == "agent.tool_result"]
    assert results[0]["is_error"] is True
    assert "Evicted" in results[0]["content"][0]["text"]
