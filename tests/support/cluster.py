"""A namespace of a real cluster for end-to-end tests, driven as a user would: by kubectl and by the official SDK."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anthropic
import yaml

T = TypeVar("T")
Object = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[2]
SYSTEM = "managed-agents-system"
OPERATOR = "deployment/managed-agents-operator"
SIMULATOR = "http://simulator.managed-agents-system.svc:8500"
POLL_SECONDS = 0.5
"""Most probes start kubectl, which costs about 0.1 s of CPU, and two cores carry the cluster too."""


class KubectlError(AssertionError):
    """kubectl refused; the text is its standard error."""


def kubectl(*arguments: str, stdin: str | None = None, seconds: float = 120) -> str:
    """Run kubectl and return its output. Raises: KubectlError with its standard error."""
    result = subprocess.run(
        ["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=seconds
    )
    if result.returncode != 0:
        raise KubectlError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout


def eventually(what: str, probe: Callable[[], T | None], *, seconds: float = 60) -> T:
    """Return the first true value of the probe; a bounded wait for what the cluster does in its own time."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"within {seconds:.0f} s: {what}; last seen {value!r}")
        time.sleep(POLL_SECONDS)


def script(*steps: Object, text: str = "Follow the script.") -> str:
    """Return a user message that makes the simulated model follow these steps."""
    return f"{text}\n\n```script\n{yaml.safe_dump(list(steps), width=10_000)}```\n"


def message(name: str, text: str) -> Object:
    """Return an entry of `spec.events` with a user message."""
    return {"name": name, "type": "user.message", "content": [{"type": "text", "text": text}]}


KINDS_OF_A_SESSION = ("deployments", "replicasets", "pods", "persistentvolumeclaims", "secrets", "configmaps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """One tenant namespace with a simulated model, an Agent `bot` and an Environment `box`."""

    name: str
    client: anthropic.Anthropic
    _ids: dict[str, str] = field(default_factory=dict)
    """API ids by the name of the session, asked for once: no test makes two sessions of one name."""

    def apply(self, *objects: Object) -> None:
        """Server-side apply of these objects."""
        text = yaml.safe_dump_all(objects)
        kubectl("apply", "--server-side", "--force-conflicts", "-n", self.name, "-f", "-", stdin=text)

    def create_session(self, name: str, *events: Object, agent: str = "bot", environment: str = "box") -> None:
        """Create a Session with these spec.events."""
        spec = {"agentRef": {"name": agent}, "environmentRef": {"name": environment}, "events": list(events)}
        self.apply(managed("Session", name, spec))

    def append_event(self, session: str, event: Object) -> None:
        """Append an entry to a Session's spec.events."""
        patch = json.dumps([{"op": "add", "path": "/spec/events/-", "value": event}])
        kubectl("patch", "-n", self.name, "session", session, "--type=json", "--patch", patch)

    def get(self, kind: str, name: str) -> Object:
        """Return one object. Raises: KubectlError."""
        result: Object = json.loads(kubectl("get", "-n", self.name, kind, name, "-o", "json"))
        return result

    def select(self, kind: str, selector: str = "") -> list[Object]:
        """Return the objects of a kind with these labels."""
        result: list[Object] = json.loads(kubectl("get", "-n", self.name, kind, "-l", selector, "-o", "json"))["items"]
        return result

    def condition(self, kind: str, name: str, condition: str) -> Object:
        """Return one condition of an object, or an empty one."""
        conditions = self.get(kind, name).get("status", {}).get("conditions", [])
        return next((item for item in conditions if item["type"] == condition), {})

    def wait_idle(self, session: str, *, seconds: float = 120) -> Object:
        """Wait as a user would until the session is idle for its newest generation, and return it."""
        kubectl(
            "wait", "-n", self.name, "--for=condition=Idle", f"session/{session}", f"--timeout={seconds:.0f}s",
            seconds=seconds + 10,
        )  # fmt: skip
        return self.get("session", session)

    def session_id(self, session: str) -> str:
        """Return a session's API id, once it has one."""
        if session not in self._ids:
            read = lambda: self.get("session", session).get("status", {}).get("id")  # noqa: E731 - a probe
            self._ids[session] = str(eventually(f"session {session} has an id", read, seconds=30))
        return self._ids[session]

    def events(self, session: str) -> list[Object]:
        """Return all events of a session by the official SDK, in order."""
        listed = self.client.beta.sessions.events.list(self.session_id(session), limit=1000)
        return [event.to_dict(mode="json") for event in listed]

    def wait_event(self, session: str, what: str, matches: Callable[[Object], bool], *, seconds: float = 60) -> Object:
        """Wait until an event of the session matches, and return it."""
        probe = lambda: next((event for event in self.events(session) if matches(event)), None)  # noqa: E731 - a probe
        return eventually(f"session {session} has {what}", probe, seconds=seconds)

    def pods(self, session: str, component: str = "") -> list[Object]:
        """Return the session's Pods, of one component where given."""
        selector = f"managedagents.dev/session={session}"
        if component:
            selector += f",app.kubernetes.io/component={component}"
        return self.select("pods", selector)

    def wait_nothing_left(self, session: str, *, seconds: float = 30) -> None:
        """Wait until no object made for the session exists."""
        selector = f"managedagents.dev/session={session}"

        def is_gone() -> bool:
            return not any(self.select(kind, selector) for kind in KINDS_OF_A_SESSION)

        eventually(f"nothing of session {session} is left", is_gone, seconds=seconds)


def managed(kind: str, name: str, spec: Object) -> Object:
    """Return an object of our group."""
    return {"apiVersion": "managedagents.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def provider(name: str = "simulated", endpoint: str = SIMULATOR) -> Object:
    """Return the ModelProvider of the simulated model."""
    price = {"currency": "USD", "perMillionTokens": {"input": "5", "output": "25"}}
    return managed(
        "ModelProvider",
        name,
        {
            "endpoint": endpoint,
            "apiKey": {"secretKeyRef": {"name": "simulator-key", "key": "api-key"}},
            "default": True,
            "models": [{"id": "simulated", "contextWindowTokens": 200_000, "listPrice": price}],
        },
    )


def environment(name: str = "box", *, idle_seconds: int = 5, sandbox: Object | None = None) -> Object:
    """Return an Environment with small limits."""
    small = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}
    return managed(
        "Environment",
        name,
        {
            "config": {"type": "cloud", "networking": {"type": "limited"}},
            "sandbox": {"resources": small, **(sandbox or {})},
            "harness": {"idleTimeoutSeconds": idle_seconds},
        },
    )


def agent(name: str = "bot", **spec: Any) -> Object:
    """Return an Agent on the simulated model with the built-in toolset."""
    return managed("Agent", name, {"model": {"id": "simulated"}, "tools": [{"type": "agent_toolset_20260401"}], **spec})


def kill_container(pod: Object, container: str) -> None:
    """Kill a container's PID 1 from the node; nothing inside the container can do that."""
    on_node(pod, "ctr", "--namespace", "k8s.io", "task", "kill", "--signal", "SIGKILL", _container_id(pod, container))


def read_in_container(pod: Object, container: str, path: str) -> str | None:
    """Return a file as a container sees it, read from the node; None where there is none."""
    pid = container_pid(pod, container)
    try:
        return on_node(pod, "cat", f"/proc/{pid}/root{path}" if path.startswith("/") else f"/proc/{pid}/{path}")
    except subprocess.CalledProcessError:
        return None


def container_pid(pod: Object, container: str) -> str:
    """Return the node's number of a container's PID 1."""
    listed = on_node(pod, "ctr", "--namespace", "k8s.io", "task", "ls")
    rows = (row.split() for row in listed.splitlines())
    return next(row[1] for row in rows if row and row[0] == _container_id(pod, container))


def _container_id(pod: Object, container: str) -> str:
    statuses = pod["status"].get("containerStatuses", []) + pod["status"].get("initContainerStatuses", [])
    found: str = next(status["containerID"] for status in statuses if status["name"] == container)
    return found.removeprefix("containerd://")


def on_node(pod: Object, *command: str, stdin: str = "") -> str:
    """Run a command on a Pod's node, as root; return its output. Raises: CalledProcessError."""
    whole = ["docker", "exec", "-i", pod["spec"]["nodeName"], *command]
    done = subprocess.run(whole, check=True, input=stdin.encode(), capture_output=True, timeout=60)
    return done.stdout.decode(errors="replace")


@contextmanager
def egress_rules(rules: Object) -> Iterator[None]:
    """Give the operator these rules, and take them away again."""
    with installation(egress_rules=rules):
        yield


@contextmanager
def installation(**settings: Object) -> Iterator[None]:
    """Give the operator these settings, and take them away again."""

    def is_alone() -> bool:
        """Tell whether the former operator, which still leads after the rollout, is gone."""
        label = "app.kubernetes.io/name=managed-agents-operator"
        pods = kubectl("get", "pods", "-n", SYSTEM, "-l", label, "-o", "name")
        return len(pods.split()) == 1

    def ready() -> None:
        kubectl("rollout", "status", "-n", SYSTEM, OPERATOR, "--timeout=120s", seconds=130)
        eventually("one operator is left", is_alone)

    variables = {f"MANAGED_AGENTS_{name.upper()}": json.dumps(value) for name, value in settings.items()}
    kubectl("set", "env", "-n", SYSTEM, OPERATOR, *(f"{name}={value}" for name, value in variables.items()))
    try:
        ready()
        yield
    finally:
        kubectl("set", "env", "-n", SYSTEM, OPERATOR, *(f"{name}-" for name in variables))
        ready()


@contextmanager
def tenant(name: str) -> Iterator[Namespace]:
    """Make a tenant namespace with a developer's token; remove its Sessions, then it, in the cluster's own time."""
    kubectl("create", "namespace", name)
    try:
        kubectl("apply", "-n", name, "-k", str(REPOSITORY / "manifests" / "tenant"))
        kubectl("create", "serviceaccount", "-n", name, "developer")
        kubectl(
            "create", "rolebinding", "-n", name, "developer", "--clusterrole=managed-agents-editor",
            f"--serviceaccount={name}:developer",
        )  # fmt: skip
        token = kubectl("create", "token", "-n", name, "developer", "--duration=1h").strip()
        with anthropic.Anthropic(api_key=token, base_url=os.environ["ANTHROPIC_BASE_URL"]) as client:
            namespace = Namespace(name=name, client=client)
            kubectl("create", "secret", "generic", "-n", name, "simulator-key", "--from-literal=api-key=test")
            namespace.apply(provider(), agent(), environment())
            yield namespace
    finally:
        kubectl("delete", "sessions", "--all", "-n", name, "--timeout=60s")
        kubectl("delete", "namespace", name, "--wait=false")
