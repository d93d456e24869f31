"""Who is who: tokens, roles and doors. Nobody becomes a session's proxy, and nobody reads what it holds."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.arena import ALICE, BYSTANDER, MALLORY, POD_RESTRICTED, RESTRICTED, Arena
from support.cluster import KubectlError, Object, container_pid, eventually, kubectl, managed, on_node
from support.policyprobe import create, probe_image
from support.requirements import requirement
from support.tally import Tally

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

AUDIENCE = "managedagents.dev/server"
IMPOSTOR = "impostor"
PATHS = [
    "/var/run/secrets/kubernetes.io/serviceaccount/token",
    "/var/run/managed-agents/server/token",
    "/var/run/managed-agents/providers/providers.json",
    "/var/run/managed-agents/vault/credentials.json",
    "/var/run/managed-agents/web-search/api-key",
    "/root/.kube/config",
    "/etc/kubernetes/admin.conf",
]
THERE = f"import json, os; print(json.dumps([path for path in {PATHS!r} if os.path.exists(path)]))"


def refusal(*command: str, stdin: str | None = None) -> str | None:
    """Return why kubectl was refused, or None where it was not."""
    try:
        kubectl(*command, stdin=stdin)
    except KubectlError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def people(arena: Arena) -> dict[str, str]:
    """Who attacks: a developer with our role, and an editor with the cluster's stock role."""
    namespace = arena.namespace.name
    kubectl("create", "serviceaccount", "-n", namespace, "editor")
    kubectl(
        "create", "rolebinding", "-n", namespace, "editor", "--clusterrole=edit", f"--serviceaccount={namespace}:editor"
    )
    return {name: f"--as=system:serviceaccount:{namespace}:{name}" for name in ("developer", "editor")}


@requirement("A5")
def test_no_token_and_no_key_lies_in_harness_or_sandbox(arena: Arena, tally: Tally) -> None:
    harness = arena.pod(MALLORY, "harness")
    control = arena.in_container(harness, "proxy", THERE)
    assert len(control) == 4, control
    places = [
        ("tools", arena.in_sandbox(MALLORY, THERE)),
        ("supervisor", arena.in_container(arena.pod(MALLORY, "sandbox"), "supervisor", THERE)),
        ("harness", arena.in_container(harness, "harness", THERE)),
    ]
    for place, found in places:
        tally.attack("A5", f"a secret file in {place}", succeeded=found, control=control)


@requirement("A26")
def test_the_proxy_can_be_dumped_by_nobody(arena: Arena, tally: Tally) -> None:
    pods = [(arena.pod(MALLORY, "harness"), "proxy"), (arena.bystander(), "main")]
    (owner, core), (plain, bounded) = [_dumpable(pod, container) for pod, container in pods]
    tally.attack("A26", "the proxy's memory", succeeded=owner != "0", control=plain == "1000")
    tally.attack("A26", "a core file of the proxy", succeeded=core != "0", control=bounded != "0")
    code = "import glob, json; print(json.dumps([open(path).read() for path in glob.glob('/proc/[0-9]*/cmdline')]))"
    names = arena.in_container(arena.pod(MALLORY, "harness"), "harness", code)
    seen = [name for name in names if "managed_agents.proxy" in name.replace("\0", " ")]
    tally.attack("A26", "the proxy's process, from the harness", succeeded=seen, control=names)


@requirement("A29", "A34", "A1")
def test_a_pod_made_by_hand_is_nobody(arena: Arena, tally: Tally) -> None:
    """It has the harness's labels, ServiceAccount and a token of the right audience, and reaches the server."""
    url = f"/internal/v1/sessions/{arena.session_id(ALICE)}"
    _make_impostor(arena)
    code = f"""
    import json, urllib.request, urllib.error
    def ask(token, path):
        request = urllib.request.Request("http://managed-agents-server.managed-agents-system.svc:8401" + path)
        if token:
            request.add_header("Authorization", "Bearer " + token)
        try:
            return urllib.request.urlopen(request, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code
    ours, plain = (open("/tokens/" + name).read() for name in ("ours", "plain"))
    tokens = (ours, plain, "", ours[:-4] + "AAAA")
    print(json.dumps([ask(token, {url!r}) for token in tokens] + [ask(ours, "/internal/v1/watch")]))
    """
    found = arena.in_container(arena.namespace.get("pod", IMPOSTOR), "main", code)
    own = f"""
    import json, urllib.request, urllib.error
    def ask(path):
        try:
            return urllib.request.urlopen("http://127.0.0.1:7301" + path, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code
    print(json.dumps([ask({url!r}), ask({url!r} + "/events")]))
    """
    control = arena.in_container(arena.pod(ALICE, "harness"), "harness", own)
    tried = ("our audience", "another audience", "no token", "a forged token", "the operator's call")
    for what, status in zip(tried, found, strict=True):
        succeeded = status not in (401, 403)
        tally.attack("A29", f"a Pod with {what} ({status})", succeeded=succeeded, control=control == [200, 200])
    foreign = arena.in_container(arena.pod(MALLORY, "harness"), "harness", own)
    tally.attack("A1", f"another session's log ({foreign})", succeeded=200 in foreign, control=control == [200, 200])


@requirement("A34")
@pytest.mark.parametrize("component", ["harness", "sandbox"])
def test_no_tenant_enters_a_sessions_pods(arena: Arena, tally: Tally, people: dict[str, str], component: str) -> None:
    here = ["-n", arena.namespace.name]
    pod = arena.pod(ALICE, component)["metadata"]["name"]
    path = f"/api/v1/namespaces/{arena.namespace.name}/pods/%s/proxy/"
    debug = {"spec": {"ephemeralContainers": [{"name": "spy", "image": "none", "securityContext": RESTRICTED}]}}
    doors: dict[str, Callable[[list[str], str], str | None]] = {
        "exec": lambda who, name: refusal("exec", *who, *here, name, "--", "true"),
        "proxy": lambda who, name: refusal("get", *who, "--raw", path % f"{name}:8080"),
        "ephemeral container": lambda who, name: refusal(
            "patch",
            *who,
            *here,
            "pod",
            name,
            "--subresource=ephemeralcontainers",
            "--dry-run=server",
            "--patch",
            json.dumps(debug),
        ),
    }
    for door, enter in doors.items():
        for who, acting in people.items():
            words = enter([acting], pod) or ""
            refused = "forbidden" in words.lower() or "belongs to a session" in words
            is_open = enter([], BYSTANDER) is None and (door != "exec" or enter([people["editor"]], BYSTANDER) is None)
            what = f"{door} into the {component} as {who}: {words[-120:]}"
            tally.attack("A34", what, succeeded=not refused, control=is_open)


@requirement("A34")
def test_nobody_mints_our_audience(arena: Arena, tally: Tally, people: dict[str, str]) -> None:
    mint = ["create", "token", "ma-harness", "-n", arena.namespace.name]
    pod = ["--bound-object-kind=Pod", f"--bound-object-name={arena.pod(ALICE, 'harness')['metadata']['name']}"]
    control = refusal(*mint, people["editor"], "--audience=another") is None
    for who, acting in people.items():
        said = refusal(*mint, *pod, acting, f"--audience={AUDIENCE}")
        tally.attack("A34", f"a token of our audience as {who}", succeeded=said is None, control=control)


@requirement("A30", "A32")
def test_a_credential_is_written_and_never_read(arena: Arena, tally: Tally, people: dict[str, str]) -> None:
    client = arena.namespace.client.beta
    here = ["-n", arena.namespace.name]
    secret = arena.canaries["bearer"]
    control = "data" in kubectl("get", *here, "secret", "keys", "-o", "json")
    for name in ("keys", "simulator-key", "ma-providers", "web-search"):
        said = refusal("get", people["developer"], *here, "secret", name)
        tally.attack("A30", f"the Secret {name}", succeeded=said is None, control=control)
    vault = client.vaults.create(display_name="mine")
    auth: Any = {"type": "static_bearer", "mcp_server_url": "https://notes.example/mcp", "token": secret}
    made = client.vaults.credentials.create(vault.id, auth=auth)
    told = {
        "create": repr(made),
        "get": repr(client.vaults.credentials.retrieve(made.id, vault_id=vault.id)),
        "list": repr(list(client.vaults.credentials.list(vault.id))),
        "update": repr(client.vaults.credentials.update(made.id, vault_id=vault.id, display_name="renamed")),
        "kubectl": kubectl("get", people["developer"], *here, "vaults", "-o", "json"),
    }
    for what, text in told.items():
        tally.attack("A30", f"{what} of a credential", succeeded=secret in text, control="notes.example" in text)

    spec = {"endpoint": "https://thief.example", "apiKey": {"secretKeyRef": {"name": "keys", "key": "bearer"}}}
    thief = json.dumps(managed("ModelProvider", "thief", spec))
    dry = [*here, "--dry-run=server", "-f", "-"]
    said = refusal("create", people["developer"], *dry, stdin=thief)
    control = refusal("create", people["editor"], *dry, stdin=thief) is None
    tally.attack("A32", f"a ModelProvider on another's Secret: {said}", succeeded=said is None, control=control)


def _dumpable(pod: Object, container: str) -> tuple[str, str]:
    """Return who owns a process's memory (root, where it is not dumpable), and its limit of core files."""
    pid = container_pid(pod, container)
    owner = on_node(pod, "stat", "-c", "%u", f"/proc/{pid}/mem").strip()
    limits = on_node(pod, "grep", "core file", f"/proc/{pid}/limits").split()
    return owner, limits[4]


def _make_impostor(arena: Arena) -> None:
    labels = arena.pod(ALICE, "harness")["metadata"]["labels"]
    tokens = [
        {"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": 600, "path": "ours"}},
        {"serviceAccountToken": {"audience": "another", "expirationSeconds": 600, "path": "plain"}},
    ]
    container = {
        "name": "main",
        "image": probe_image(),
        "imagePullPolicy": "Never",
        "command": ["sleep", "600"],
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "tokens", "mountPath": "/tokens"}],
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
    }
    spec = {
        "serviceAccountName": "ma-harness",
        "automountServiceAccountToken": False,
        "containers": [container],
        "securityContext": {**POD_RESTRICTED, "fsGroup": 1000},
        "volumes": [{"name": "tokens", "projected": {"sources": tokens}}],
        "terminationGracePeriodSeconds": 0,
    }
    hand = {key: value for key, value in labels.items() if key != "pod-template-hash"}
    metadata = {"name": IMPOSTOR, "labels": hand | {"managedagents.dev/session-uid": "by-hand"}}
    create(arena.namespace.name, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def runs() -> bool:
        return bool(arena.namespace.get("pod", IMPOSTOR)["status"]["phase"] == "Running")

    eventually("the impostor runs", runs)
