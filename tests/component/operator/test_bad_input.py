"""What a user can get wrong becomes a condition with a stable reason and an Event, and passes with its cause (F21)."""

import base64
import json
from typing import Any

import pytest

from managed_agents.operator.permissions import CLUSTER, SYSTEM, allowed
from support.kube import ApiError, Manifest, kind_of
from support.operator_world import World
from support.requirements import requirement


def provider(name: str, **spec: Any) -> Manifest:
    key = {"secretKeyRef": {"name": "key", "key": "api-key"}}
    return {"metadata": {"name": name}, "spec": {"endpoint": "http://model", "apiKey": key, **spec}}


async def reason(operated: World, kind: str = "Ready") -> str:
    await operated.settle()
    return str(operated.condition("sessions", "repair", kind)["reason"])


async def test_missing_agent_is_named_and_found_later(operated: World) -> None:
    await operated.catalog()
    operated.session("repair", "Hello.", agentRef={"name": "other"})
    assert await reason(operated) == "AgentNotFound"
    assert await reason(operated, "Idle") == "AgentNotFound"
    message = operated.condition("sessions", "repair", "Stalled")["message"]
    assert message.startswith('spec.agentRef.name: Agent "other" not found in namespace "team-a"')
    assert ("Warning", "AgentNotFound") in operated.events()
    assert "finalizers" not in operated.get("sessions", "repair")["metadata"]

    operated.create("agents", "other", {"model": {"id": "simulated"}})
    assert await reason(operated) == "Accepted"
    assert await reason(operated, "Idle") == "StartingHarness"


async def test_missing_environment_is_named_and_found_later(operated: World) -> None:
    await operated.catalog()
    operated.session("repair", "Hello.", environmentRef={"name": "gpu"})
    assert await reason(operated) == "EnvironmentNotFound"
    operated.create("environments", "gpu", {})
    assert await reason(operated) == "Accepted"


async def test_version_that_never_was(operated: World) -> None:
    await operated.catalog()
    operated.session("repair", "Hello.", agentRef={"name": "bot", "version": 9})
    assert await reason(operated) == "AgentVersionNotFound"


async def test_session_pins_the_newest_version_and_keeps_it(operated: World) -> None:
    await operated.catalog()
    operated.session("repair", "Hello.")
    await operated.settle()
    operated.change("agents", "bot", {"system": "Changed."})
    operated.say("repair", "more", "Again.")
    await operated.settle()
    assert operated.get("agents", "bot")["status"]["version"] == 2
    assert operated.get("sessions", "repair")["status"]["agent"] == {"name": "bot", "version": 1, "model": "simulated"}
    operated.session("later", "Hello.")
    await operated.settle()
    assert operated.get("sessions", "later")["status"]["agent"]["version"] == 2


async def test_agent_changed_back_and_unchanged_makes_versions_as_the_api_does(operated: World) -> None:
    await operated.catalog()
    for system in ("Second.", "Second.", "You repair."):
        operated.change("agents", "bot", {"system": system})
        await operated.settle()
    revisions = operated.kube.list("controllerrevisions", "team-a")
    assert [(item["revision"], item["data"]["system"]) for item in revisions] == [
        (1, "You repair."),
        (2, "Second."),
        (3, "You repair."),
    ]
    owner = operated.get("agents", "bot")["metadata"]["uid"]
    assert {item["metadata"]["ownerReferences"][0]["uid"] for item in revisions} == {owner}


@pytest.mark.parametrize(
    ("plural", "name", "spec", "word"),
    [
        ("agents", "bot", {"skills": [{"type": "custom", "skillId": "x"}]}, "spec.skills"),
        ("agents", "bot", {"multiagent": {"type": "coordinator"}}, "spec.multiagent"),
        (
            "agents",
            "bot",
            {"tools": [{"type": "agent_toolset_20260401", "defaultConfig": {"permissionPolicy": {"type": "auto"}}}]},
            "auto",
        ),
        ("environments", "python", {"config": {"type": "self_hosted"}}, "spec.config.type"),
    ],
)
async def test_what_is_not_built_says_so(operated: World, plural: str, name: str, spec: Manifest, word: str) -> None:
    await operated.catalog()
    operated.change(plural, name, spec)
    await operated.settle()
    condition = operated.condition(plural, name, "Ready")
    assert (condition["status"], condition["reason"]) == ("False", "NotSupported")
    assert word in condition["message"]
    operated.session("repair", "Hello.")
    assert await reason(operated) == "NotSupported"


TRACKER = {"type": "mcp_toolset", "mcpServerName": "tracker"}


@requirement("mcp-accepted")
@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"tools": [TRACKER]}, "spec.tools[0].mcpServerName: mcp_servers has no server 'tracker'"),
        (
            {"tools": [TRACKER], "mcpServers": [{"type": "url", "name": "tracker", "url": "http://169.254.169.254/"}]},
            "spec.mcpServers[0].url: names a link-local address",
        ),
    ],
)
async def test_mcp_servers_that_cannot_work_are_a_condition(operated: World, spec: Manifest, word: str) -> None:
    await operated.catalog()
    operated.change("agents", "bot", spec)
    await operated.settle()
    condition = operated.condition("agents", "bot", "Ready")
    assert (condition["status"], condition["reason"]) == ("False", "McpServersInvalid")
    assert word in condition["message"]
    operated.session("repair", "Hello.")
    assert await reason(operated) == "McpServersInvalid"


@requirement("mcp-accepted")
async def test_an_agent_with_an_mcp_server_is_accepted(operated: World) -> None:
    await operated.catalog()
    servers = [{"type": "url", "name": "tracker", "url": "https://mcp.example.com/mcp"}]
    operated.change("agents", "bot", {"tools": [TRACKER], "mcpServers": servers})
    await operated.settle()
    assert operated.condition("agents", "bot", "Ready")["reason"] == "ModelServed"
    operated.session("repair", "Hello.")
    assert await reason(operated) == "Accepted"


async def test_model_served_by_nobody_then_by_one_then_by_two(operated: World) -> None:
    await operated.catalog()
    operated.change("modelproviders", "simulated", {"default": False})
    operated.session("repair", "Hello.")
    assert await reason(operated) == "ModelNotServed"
    assert operated.condition("agents", "bot", "Ready")["reason"] == "ModelNotServed"

    operated.kube.create(kind_of("modelproviders"), "team-a", provider("one", models=[{"id": "simulated"}]))
    assert await reason(operated) == "Accepted"
    assert operated.condition("agents", "bot", "Ready")["reason"] == "ModelServed"

    operated.kube.create(kind_of("modelproviders"), "team-a", provider("two", models=[{"id": "simulated"}]))
    assert await reason(operated) == "ModelProviderAmbiguous"
    operated.kube.delete(kind_of("modelproviders"), "team-a", "two")
    assert await reason(operated) == "Accepted"


async def test_event_sent_while_the_provider_is_gone_is_delivered_when_it_is_back(operated: World) -> None:
    await operated.catalog()
    operated.session("repair", "Hello.")
    await operated.settle()
    await operated.turn()
    operated.change("modelproviders", "simulated", {"default": False})
    operated.say("repair", "more", "Again.")
    assert await reason(operated, "Idle") == "ModelNotServed"
    assert operated.get("sessions", "repair")["status"]["events"]["delivered"] == ["e0"]
    operated.change("modelproviders", "simulated", {"default": True})
    await operated.settle()
    assert operated.get("sessions", "repair")["status"]["events"]["delivered"] == ["e0", "more"]


async def test_secret_missing_empty_and_forbidden(operated: World) -> None:
    await operated.catalog()

    async def provider_reason() -> str:
        await operated.advance(25)
        return str(operated.condition("modelproviders", "simulated", "Ready")["reason"])

    assert await provider_reason() == "Valid"
    operated.kube.delete(kind_of("secrets"), "team-a", "key")
    assert await provider_reason() == "SecretNotFound"
    operated.api.allowed = allowed(CLUSTER) | allowed(SYSTEM)
    assert await provider_reason() == "SecretAccessDenied"
    assert "manifests/tenant" in operated.condition("modelproviders", "simulated", "Ready")["message"]


async def test_rotated_key_reaches_the_proxies_within_a_minute(operated: World) -> None:
    await operated.catalog()
    operated.session("repair", "Hello.")
    await operated.settle()
    operated.kube.merge(kind_of("secrets"), "team-a", "key", {"data": {"api-key": base64.b64encode(b"new").decode()}})
    await operated.advance(20)
    document = base64.b64decode(operated.get("secrets", "ma-providers")["data"]["providers.json"])
    assert json.loads(document)["providers"] == [
        {"name": "simulated", "endpoint": "http://model", "api_key": "new", "default": True, "models": []}
    ]
    [pod] = operated.kube.list("pods", "team-a")
    assert pod["metadata"]["annotations"]["managedagents.dev/providers-hash"]

    operated.kube.delete(kind_of("modelproviders"), "team-a", "simulated")
    await operated.settle()
    assert "ma-providers" not in operated.names("secrets")


async def test_config_map_of_a_mount_is_missed(operated: World) -> None:
    mounts = [{"mountPath": "/data", "configMapRef": {"name": "reference"}}]
    await operated.catalog(sandbox={"mounts": mounts})
    operated.session("repair", "Hello.")
    assert await reason(operated) == "ConfigMapNotFound"
    operated.kube.create(kind_of("configmaps"), "team-a", {"metadata": {"name": "reference"}, "data": {}})
    await operated.advance(30)
    assert await reason(operated) == "Accepted"


async def test_image_that_cannot_be_pulled_ends_when_it_can(operated: World) -> None:
    await operated.catalog()
    operated.nodes.auto_run = False
    operated.session("repair", "Hello.")
    await operated.settle()
    [pod] = operated.names("pods")
    operated.nodes.wait_for_image("team-a", pod, "manifest unknown")
    assert await reason(operated, "Idle") == "ImagePullFailed"
    assert await reason(operated, "Stalled") == "ImagePullFailed"
    assert ("Warning", "ImagePullFailed") in operated.events()
    operated.nodes.run("team-a", pod)
    assert await reason(operated, "Idle") == "StartingHarness"
    assert operated.condition("sessions", "repair", "Stalled")["status"] == "False"


@requirement("F21")
async def test_quota_for_the_sandbox_is_told_to_the_server_and_passes(operated: World) -> None:
    await operated.catalog()
    operated.session("repair", "Hello.")
    await operated.settle()
    turn = await operated.turn(ends=False)
    refusal = ApiError(403, "Forbidden", 'pods "x" is forbidden: exceeded quota: small')
    operated.api.fail("create", "pods", refusal, times=1000)
    pod = await turn.ask_sandbox()
    assert await reason(operated, "Idle") == "QuotaExceeded"
    await operated.advance(11)
    path = f"/sessions/{turn.session_id}/sandbox/{pod}?wait_seconds=0"
    _, answer = await operated.server.harness(turn.pod_uid, "GET", path)
    assert (answer["state"], answer["reason"]) == ("wanted", "QuotaExceeded")
    operated.api.faults.clear()
    await operated.advance(11)
    await operated.pull()
    assert pod in operated.names("pods")
    assert await reason(operated, "Idle") == "Running"


async def test_lost_sandbox_is_told_with_its_reason_and_replaced(operated: World) -> None:
    await operated.catalog()
    operated.session("repair", "Hello.")
    await operated.settle()
    turn = await operated.turn(ends=False)
    first = await turn.ask_sandbox()
    assert await turn.ask_sandbox() == first
    operated.kube.set_status("pods", "team-a", first, phase="Failed", reason="Evicted", message="too much storage")
    await operated.settle()
    await operated.pull()
    assert ("Warning", "SandboxLost") in operated.events()
    second = await turn.ask_sandbox()
    await operated.pull()
    assert second != first
    pods = operated.names("pods")
    assert second in pods
    assert first not in pods


async def test_paused_session_is_left_alone_and_says_so(operated: World) -> None:
    await operated.catalog()
    operated.create(
        "sessions",
        "repair",
        {"agentRef": {"name": "bot"}, "environmentRef": {"name": "python"}},
        annotations={"managedagents.dev/paused": "true"},
    )
    assert await reason(operated, "Reconciling") == "Paused"
    assert "finalizers" not in operated.get("sessions", "repair")["metadata"]
    annotations = {"managedagents.dev/paused": None}
    operated.kube.merge(kind_of("sessions"), "team-a", "repair", {"metadata": {"annotations": annotations}})
    assert await reason(operated) == "Accepted"


@pytest.mark.parametrize(
    ("plural", "name"), [("agents", "bot"), ("environments", "python"), ("modelproviders", "simulated")]
)
async def test_paused_reference_keeps_its_conditions_and_says_so(operated: World, plural: str, name: str) -> None:
    await operated.catalog()
    before = operated.condition(plural, name, "Ready")
    annotations = {"managedagents.dev/paused": "true"}
    operated.kube.merge(kind_of(plural), "team-a", name, {"metadata": {"annotations": annotations}})
    await operated.advance(25)
    assert operated.condition(plural, name, "Reconciling")["reason"] == "Paused"
    assert operated.condition(plural, name, "Ready") == before
    operated.kube.merge(
        kind_of(plural), "team-a", name, {"metadata": {"annotations": {"managedagents.dev/paused": None}}}
    )
    await operated.advance(25)
    assert [item["type"] for item in operated.get(plural, name)["status"]["conditions"]] == ["Ready"]


async def test_session_in_the_operators_namespace_is_refused(operated: World) -> None:
    body = {"metadata": {"name": "repair"}, "spec": {"agentRef": {"name": "bot"}, "environmentRef": {"name": "python"}}}
    operated.kube.create(kind_of("sessions"), "managed-agents-system", body)
    await operated.settle()
    session = operated.kube.get("sessions", "managed-agents-system", "repair")
    assert {item["reason"] for item in session["status"]["conditions"] if item["type"] == "Ready"} == {
        "SystemNamespace"
    }


async def test_archived_and_outlived_sessions_end(operated: World) -> None:
    await operated.catalog(harness={"idleTimeoutSeconds": 5})
    operated.session("repair", "Hello.", ttlSecondsAfterIdle=60)
    await operated.settle()
    await operated.turn()
    await operated.advance(30)
    assert operated.get("sessions", "repair")["status"]["phase"] == "Idle"
    await operated.advance(31)
    assert operated.get("sessions", "repair")["status"]["phase"] == "Terminated"
    assert operated.condition("sessions", "repair", "Idle") | {"lastTransitionTime": ""} == {
        "type": "Idle",
        "status": "True",
        "reason": "Terminated",
        "message": "the session has ended and takes no more events",
        "observedGeneration": 1,
        "lastTransitionTime": "",
    }
    assert operated.names("deployments") == []

    operated.session("second", "Hello.")
    await operated.settle()
    operated.change("sessions", "second", {"archived": True})
    await operated.settle()
    assert operated.get("sessions", "second")["status"]["phase"] == "Terminated"
    assert operated.names("pods") == []


async def test_an_outlived_session_that_the_api_made_is_deleted(operated: World) -> None:
    await operated.catalog(harness={"idleTimeoutSeconds": 5})
    await operated.outlive("repair")
    assert operated.names("sessions") == []
    assert operated.names("deployments") == []


async def test_rejected_event_is_named_and_later_ones_proceed(operated: World) -> None:
    await operated.catalog()
    bad = {"name": "bad", "type": "user.tool_confirmation", "toolUseId": "sevt_none", "result": "allow"}
    good = {"name": "good", "type": "user.message", "content": [{"type": "text", "text": "Hi."}]}
    reference = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "python"}}
    operated.create("sessions", "repair", {**reference, "events": [bad, good]})
    await operated.settle()
    events = operated.get("sessions", "repair")["status"]["events"]
    assert events["delivered"] == ["good"]
    assert [item["name"] for item in events["rejected"]] == ["bad"]


async def test_session_outlives_its_agent(operated: World) -> None:
    await operated.catalog()
    operated.session("repair", "Hello.")
    await operated.settle()
    operated.kube.delete(kind_of("agents"), "team-a", "bot")
    await operated.settle()
    await operated.turn()
    assert await reason(operated) == "Accepted"
    assert await reason(operated, "Idle") == "EndTurn"

    operated.say("repair", "more", "Are you still there?")
    await operated.settle()
    assert operated.get("sessions", "repair")["status"]["events"]["delivered"] == ["e0", "more"]
    assert await reason(operated, "Idle") == "StartingHarness"
