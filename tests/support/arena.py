"""Where attacks are tried on the cluster: a tenant full of canaries, a hostile session, its victim, and a bystander.

The bystander is a plain Pod of the namespace that no policy of ours selects: what it may do is the positive control of
what a sandbox may not.
"""

import base64
import json
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.canaries import canary
from support.cluster import (
    REPOSITORY,
    Namespace,
    Object,
    environment,
    eventually,
    installation,
    kubectl,
    managed,
    script,
)
from support.policyprobe import create, probe_image

PORT = 8080
BYSTANDER = "bystander"
ALLOWED = "allowed.example"
"""A name on the list of the arena's Environment; it need not exist."""

KEYS = ("bearer", "variable", "access", "refresh", "client", "repository")
"""What the Secret `keys` holds: a credential of each kind, and all parts of a grant."""

OUTSIDE, INDEX = "outside", "index"
"""The end of the name of a namespace beside the arena's, and a server there, which may be reached at port 80."""

MALLORY = "mallory"
"""The hostile session."""
ALICE = "alice"
"""Its victim, in the same namespace and Environment."""

SERVE = """
import http.server, json, urllib.parse
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"path": urllib.parse.unquote(self.path), "headers": dict(self.headers)}).encode()
        self.send_response(302 if self.path.startswith("/away") else 200)
        if self.path.startswith("/away"):
            self.send_header("Location", "http://169.254.169.254/latest/")
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD_RESTRICTED = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """The tenant under attack. `canaries` are its secrets by what they are."""

    namespace: Namespace
    canaries: dict[str, str] = field(repr=False)
    host: str
    """The bystander's name in the cluster, which the administrator and the Environment allow, on port 8080."""
    index: str
    """A name outside the namespace that both allow too; who tests with it starts a server there."""

    def session_id(self, session: str) -> str:
        """Return the API id of one of the two sessions."""
        return self.namespace.session_id(session)

    def pod(self, session: str, component: str) -> Object:
        """Return the Pod of a session that is really its own: labels alone say nothing."""
        pods = self.namespace.pods(session, component)
        (found,) = [pod for pod in pods if pod["metadata"].get("ownerReferences")]
        return found

    def bystander(self) -> Object:
        """Return the bystander's Pod."""
        return self.namespace.get("pod", BYSTANDER)

    def turn(self, session: str, *steps: Object) -> list[Object]:
        """Have the model follow these steps; return the events of that turn, in order."""
        session_id = self.session_id(session)
        before = len(self.namespace.events(session))
        content: Any = [{"type": "text", "text": script(*steps)}]
        self.namespace.client.beta.sessions.events.send(
            session_id, events=[{"type": "user.message", "content": content}]
        )

        def turned() -> list[Object] | None:
            events = self.namespace.events(session)[before:]
            return events if any(event["type"] == "session.status_idle" for event in events) else None

        return eventually(f"session {session} has finished its turn", turned, seconds=60)

    def results(self, session: str, *steps: Object) -> list[Object]:
        """Have the model call tools; return their results, in order."""
        return [event for event in self.turn(session, *steps) if event["type"] == "agent.tool_result"]

    def in_sandbox(self, session: str, code: str) -> Any:
        """Run Python in a session's sandbox by the bash tool, as its agent would; return the JSON it prints last."""
        (result,) = self.results(session, {"tool": "bash", "input": {"command": python_command(code)}})
        text: str = result["content"][0]["text"]
        return _last_json(text)

    def in_container(self, pod: Object, container: str, code: str) -> Any:
        """Run Python in a container, as an administrator; return the JSON that it prints last."""
        where = ["-n", self.namespace.name, pod["metadata"]["name"], "-c", container]
        return _last_json(kubectl("exec", *where, "--", "python3", "-c", textwrap.dedent(code), seconds=60))


def text_of(result: Object) -> str:
    """Return what a tool's result says."""
    return "".join(block.get("text", "") for block in result["content"])


@contextmanager
def arena_in(namespace: Namespace) -> Iterator[Arena]:
    """Make the arena in a fresh tenant namespace, with two sessions that have a sandbox each."""
    kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    canaries = {kind: canary(kind) for kind in (*KEYS, "provider", "search")}
    host = f"{BYSTANDER}.{namespace.name}.svc.cluster.local"
    _keep_secrets(namespace, canaries)
    _start_bystander(namespace)
    index = f"{INDEX}.{namespace.name}-{OUTSIDE}.svc.cluster.local"
    rules = {"allowed_hosts": [f"{host}:{PORT}", index]}
    with installation(egress_rules=rules, web_search={"backend": "brave"}):
        namespace.apply(_vault(), _box(host, index))
        eventually("the Vault is valid", lambda: namespace.condition("vault", "team", "Ready").get("status") == "True")
        namespace.apply(managed("Session", MALLORY, {**_session(), "resources": [_repository()]}))
        namespace.apply(managed("Session", ALICE, _session()))
        made = Arena(namespace=namespace, canaries=canaries | {"api-key": _api_key(namespace)}, host=host, index=index)
        kubectl("wait", "-n", namespace.name, f"pod/{BYSTANDER}", "--for=condition=Ready", "--timeout=60s")
        for session in (MALLORY, ALICE):
            namespace.wait_idle(session)
            assert made.in_sandbox(session, "print('\"here\"')") == "here"
        yield made


def _key(name: str) -> Object:
    return {"secretKeyRef": {"name": "keys", "key": name}}


def _repository() -> Object:
    """Of a host that the Environment refuses, so that no turn waits for it; the proxy has its token all the same."""
    url = "https://git.denied.example/team/tool"
    return {"type": "github_repository", "url": url, "authorizationToken": _key("repository")}


def _session() -> Object:
    return {
        "agentRef": {"name": "bot"},
        "environmentRef": {"name": "arena"},
        "vaultRefs": [{"name": "team"}],
        "title": 'forged"}\n{"level": "error", "event": "forged"}',
    }


def _box(*hosts: str) -> Object:
    box = environment("arena", idle_seconds=600)
    networking = {"type": "limited", "allowedHosts": [*hosts, ALLOWED, f"*.{ALLOWED}"]}
    box["spec"]["config"] |= {"networking": networking}
    return box


def _vault() -> Object:
    bearer = {"type": "static_bearer", "mcpServerUrl": "https://wiki.example", "token": _key("bearer")}
    refresh = {
        "clientId": "agents",
        "tokenEndpoint": f"https://{ALLOWED}/token",
        "refreshToken": _key("refresh"),
        "tokenEndpointAuth": {"type": "client_secret_post", "clientSecret": _key("client")},
    }
    tickets = "https://tickets.example"
    grant = {"type": "mcp_oauth", "mcpServerUrl": tickets, "accessToken": _key("access"), "refresh": refresh}
    variable = {
        "type": "environment_variable",
        "secretName": "WEATHER_KEY",
        "secretValue": _key("variable"),
        "networking": {"type": "limited", "allowedHosts": [ALLOWED]},
    }
    kept = {"wiki": bearer, "weather": variable, "tickets": grant}
    return managed("Vault", "team", {"credentials": [{"name": name, "auth": auth} for name, auth in kept.items()]})


def _keep_secrets(namespace: Namespace, canaries: Mapping[str, str]) -> None:
    held = {
        "simulator-key": {"api-key": canaries["provider"]},
        "keys": {kind: canaries[kind] for kind in KEYS},
        "web-search": {"api-key": canaries["search"]},
    }
    for name, data in held.items():
        metadata = {"name": name, "namespace": namespace.name}
        namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})


def _api_key(namespace: Namespace) -> str:
    command = ["python3", str(REPOSITORY / "scripts" / "api-key"), "create", "canary", "-n", namespace.name]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def _start_bystander(namespace: Namespace) -> None:
    container = {
        "name": "main",
        "image": probe_image(),
        "imagePullPolicy": "Never",
        "command": ["python3", "-u", "-c", SERVE],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "securityContext": RESTRICTED,
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}},
    }
    spec = {
        "containers": [container],
        "securityContext": POD_RESTRICTED,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }
    service = {"clusterIP": "None", "selector": {"app": BYSTANDER}}
    create(
        namespace.name,
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": BYSTANDER}, "spec": service},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": BYSTANDER, "labels": {"app": BYSTANDER}},
            "spec": spec,
        },
    )


def python_command(code: str) -> str:
    """Return a command that runs the code; encoded, for no quoting of it survives a script in a message."""
    encoded = base64.b64encode(textwrap.dedent(code).encode()).decode()
    return f"python3 -c \"import base64; exec(base64.b64decode('{encoded}').decode())\""


def _last_json(text: str) -> Any:
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        raise AssertionError(f"no JSON at the end of {text[-2000:]!r}") from None
