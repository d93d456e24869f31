"""A session outlives the provider that its model was pinned on."""

import pytest

from support.cluster import Namespace, agent, eventually, kubectl, managed, message, provider, script
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

MODEL = "simulated-moving"
ELSEWHERE = "http://simulator.managed-agents-system.svc.cluster.local:8500"


@requirement("provider-moves")
def test_session_goes_on_after_its_model_moved_to_another_provider(namespace: Namespace) -> None:
    def lists_the_model(name: str, endpoint: str) -> None:
        made = provider(name, endpoint)
        spec = {**made["spec"], "default": False, "models": [{**made["spec"]["models"][0], "id": MODEL}]}
        namespace.apply(managed("ModelProvider", name, spec))

    lists_the_model("first", provider()["spec"]["endpoint"])
    namespace.apply(agent("mover", model={"id": MODEL}))
    namespace.create_session("moving", message("first", script({"text": "turn one"})), agent="mover")
    assert namespace.wait_idle("moving")["status"]["lastMessage"]["text"] == "turn one"

    kubectl("delete", "modelprovider", "-n", namespace.name, "first")
    lists_the_model("second", ELSEWHERE)
    eventually(
        "the Agent is served again",
        lambda: namespace.condition("agent", "mover", "Ready").get("message", "").startswith('ModelProvider "second"'),
    )
    namespace.append_event("moving", message("second", script({"text": "message {{turns}}, after {{last_user_text}}"})))
    eventually(
        "the second turn ended",
        lambda: (
            namespace.get("session", "moving")["status"].get("lastMessage", {}).get("text", "").startswith("message 2")
        ),
        seconds=120,
    )
    assert namespace.get("session", "moving")["status"]["conditions"]
