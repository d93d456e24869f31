"""Versions of an Agent while another process makes them too."""

from typing import Any

from managed_agents.contracts.api.agents import revision_for
from support.kube import kind_of
from support.kube_http import Call, Fault
from support.operator_world import NAMESPACE, World

AGENT = kind_of("agents")
REVISION = kind_of("controllerrevisions")


async def test_a_stale_view_makes_no_version_after_a_rivals_newer_one(operated: World) -> None:
    spec: dict[str, Any] = {"model": {"id": "simulated"}, "system": "first"}
    operated.create("agents", "raced", spec)
    await operated.settle()
    rivals = iter(("third",))

    def rival(call: Call) -> bool:
        """Change the Agent and make its version, just before the operator lists the versions."""
        text = next(rivals, None) if (call.verb, call.resource) == ("list", "controllerrevisions") else None
        if text is not None:
            changed = operated.kube.merge(AGENT, NAMESPACE, "raced", {"spec": {"system": text}})
            operated.kube.create(REVISION, NAMESPACE, revision_for(changed, 2))
        return False

    operated.api.faults.append(Fault(rival, error=None))  # type: ignore[arg-type]  # matches nothing, so raises nothing
    operated.change("agents", "raced", {"system": "second"})
    await operated.settle()
    kept = {item["revision"]: item["data"]["system"] for item in operated.kube.list("controllerrevisions")}
    assert kept == {1: "first", 2: "third"}
    assert operated.get("agents", "raced")["status"]["version"] == 2


async def test_operator_and_server_make_one_version_of_one_change(operated: World) -> None:
    headers = {"anthropic-workspace-id": NAMESPACE}
    body = {"name": "From the API", "model": "simulated", "tools": [{"type": "agent_toolset_20260401"}]}
    status, made = await operated.server.user("POST", "/agents", body, headers=headers)
    assert status == 200, made
    await operated.settle()
    (agent,) = [item for item in operated.kube.list("agents") if item["spec"].get("name") == "From the API"]
    assert (agent["status"]["id"], agent["status"]["version"]) == (made["id"], 1)
    operated.change("agents", agent["metadata"]["name"], {"system": "by kubectl"})
    await operated.settle()
    status, changed = await operated.server.user("POST", f"/agents/{made['id']}", {"description": "x"}, headers=headers)
    assert (status, changed["version"], changed["system"]) == (200, 3, "by kubectl")
    await operated.settle()
    kept = operated.kube.list("controllerrevisions", labels=f"managedagents.dev/agent-uid={agent['metadata']['uid']}")
    assert sorted(item["revision"] for item in kept) == [1, 2, 3]
    assert operated.get("agents", agent["metadata"]["name"])["status"]["version"] == 3
