"""Repositories of a session on the cluster, from a Git server behind TLS that an administrator lets sandboxes reach."""

import pytest

from support.cluster import Namespace, Object, egress_rules, environment, eventually, kubectl, managed, message, script
from support.git_pod import git_pod
from support.policyprobe import create
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]

TELL = {"text": "{{last_tool_result}}"}


def bash(command: str) -> Object:
    return {"tool": "bash", "input": {"command": command}}


def errors(namespace: Namespace, session: str) -> dict[str, str]:
    """The repositories that could not be cloned, with the type of the error."""
    told = [event["error"] for event in namespace.events(session) if event["type"] == "session.error"]
    assert all(error["retry_status"] == {"type": "retrying"} for error in told)
    return {error["repository_url"]: error["type"] for error in told}


@requirement("repositories", "repositories-fail", "repositories-retry")
def test_repositories_are_cloned_over_https_and_what_cannot_be_is_named(namespace: Namespace) -> None:
    forge = git_pod(namespace)
    first = forge.make("team/tool")
    authorities = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authorities"}}
    create(namespace.name, {**authorities, "data": {"ca-bundle.crt": forge.certificate}})
    mounts = [{"mountPath": "/certificates", "configMapRef": {"name": "authorities"}}]
    trusting = environment("forge", sandbox={"mounts": mounts})
    trusting["spec"]["config"]["networking"]["allowedHosts"] = [forge.host]
    closed = "https://closed.example.com/team/tool"
    repository = {"type": "github_repository", "url": forge.url("team/tool")}
    resources = [
        repository,
        {**repository, "mountPath": "/workspace/branch", "checkout": {"type": "branch", "name": "other"}},
        {**repository, "mountPath": "/workspace/commit", "checkout": {"type": "commit", "sha": first}},
        {**repository, "mountPath": "/workspace/closed", "url": closed},
        {**repository, "mountPath": "/workspace/late", "url": forge.url("team/late")},
    ]
    look = "cat tool/README branch/README commit/README; git -C branch branch --show-current"
    look += "; git -C commit rev-parse HEAD"
    with egress_rules({"allowed_hosts": [forge.host]}):
        namespace.apply(trusting)
        references = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "forge"}}
        events = [message("first", script(bash(look), TELL))]
        namespace.apply(managed("Session", "clones", {**references, "resources": resources, "events": events}))
        said = namespace.wait_idle("clones", seconds=180)["status"]["lastMessage"]["text"]
        assert said.split() == ["second", "first", "first", "other", first], errors(namespace, "clones")
        assert errors(namespace, "clones") == {
            closed: "repository_forbidden_error",
            forge.url("team/late"): "repository_not_found_error",
        }

        forge.make("team/late")
        namespace.append_event("clones", message("second", script(bash("cat late/README"), TELL)))

        def is_told() -> bool:
            return bool(namespace.get("session", "clones")["status"]["lastMessage"]["text"].strip() == "second")

        eventually("the repository that is there now is cloned", is_told, seconds=120)
        kubectl("wait", "-n", namespace.name, "session/clones", "--for=condition=Idle", "--timeout=60s")
