"""Repositories of a session on the cluster, from a Git server behind TLS that an administrator lets sandboxes reach."""

import pytest

from support.cluster import Namespace, Object, egress_rules, environment, eventually, kubectl, managed, message, script
from support.git_pod import GitPod, git_pod
from support.policyprobe import create
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]

TELL = {"text": "{{last_tool_result}}"}


@pytest.fixture(scope="module")
def forge(namespace: Namespace) -> GitPod:
    return git_pod(namespace)


def bash(command: str) -> Object:
    return {"tool": "bash", "input": {"command": command}}


def errors(namespace: Namespace, session: str) -> dict[str, str]:
    """The repositories that could not be cloned, with the type of the error."""
    told = [event["error"] for event in namespace.events(session) if event["type"] == "session.error"]
    assert all(error["retry_status"] == {"type": "retrying"} for error in told)
    return {error["repository_url"]: error["type"] for error in told}


@requirement("repositories", "repositories-fail", "repositories-retry")
def test_repositories_are_cloned_over_https_and_what_cannot_be_is_named(namespace: Namespace, forge: GitPod) -> None:
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


WORK = (
    "cd tool && git config user.name a && git config user.email a@example.com && git checkout -q -B agent/fix"
    " && date > README && git commit -q -a -m 'by the agent' && git push -q origin agent/fix && echo pushed"
    "; git push origin HEAD:main 2>&1 | grep -o 'not allowed by this session' | head -1"
)


@requirement("repositories-token", "repositories-push-refs", "repositories-api", "A21", "F23")
def test_a_private_repository_is_cloned_and_pushed_and_its_token_replaced(namespace: Namespace, forge: GitPod) -> None:
    for name in ("private/tool", "private/other"):
        forge.make(name)
    forge.accept("canary-old-3f1c")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "forge"}}
    create(namespace.name, {**secret, "stringData": {"token": "canary-old-3f1c"}})
    open_forge = environment("forge")
    open_forge["spec"]["config"]["networking"]["allowedHosts"] = [forge.host]
    token = {"secretKeyRef": {"name": "forge", "key": "token"}}
    repository = {"type": "github_repository", "url": forge.url("private/tool"), "authorizationToken": token}
    repository["pushRefs"] = ["refs/heads/agent/*"]
    elsewhere = f"git clone -q http://git.session.internal/{forge.host}/private/other 2>&1 | grep -o forbidden_error"
    api = f"curl -s -X POST http://api.session.internal/{forge.host}/api/v1/repos/private/tool/pulls -d new"
    with egress_rules({"allowed_hosts": [forge.host], "authorities": [forge.certificate]}):
        namespace.apply(open_forge)
        references = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "forge"}}
        script_ = script(bash(f"{WORK}; cd ..; {elsewhere}; {api}; env | grep -c canary; grep -rl canary ."), TELL)
        events = [message("first", script_)]
        namespace.apply(managed("Session", "private", {**references, "resources": [repository], "events": events}))
        said = namespace.wait_idle("private", seconds=180)["status"]["lastMessage"]["text"]
        assert said.split()[:2] == ["pushed", "not"], (said, errors(namespace, "private"))
        assert "forbidden_error" in said
        assert '"path": "/api/v1/repos/private/tool/pulls", "body": "new"' in said
        assert said.rstrip().endswith("0"), said  # no variable and no file has it
        assert forge.subject("private/tool", "refs/heads/agent/fix") == "by the agent"
        assert forge.subject("private/tool", "refs/heads/main") == "second"

        forge.accept("canary-new-3f1c")
        namespace.append_event("private", message("second", script(bash("git -C tool fetch 2>&1"), TELL)))
        eventually("the old token is refused", lambda: _told(namespace, "repository_authentication_error"), seconds=60)
        kubectl("patch", "secret", "forge", "-n", namespace.name, "-p", '{"stringData":{"token":"canary-new-3f1c"}}')
        mended = "for i in $(seq 60); do git -C tool fetch -q && echo mended && break; sleep 1; done"
        namespace.append_event("private", message("third", script(bash(mended), TELL)))
        eventually("the new token is used", lambda: _told(namespace, "mended"), seconds=90)
        assert "-3f1c" not in str(namespace.events("private"))


def _told(namespace: Namespace, text: str) -> bool:
    return text in namespace.get("session", "private")["status"]["lastMessage"]["text"]
