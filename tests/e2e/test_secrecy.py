"""Harness and sandbox containers carry no token, no Secret and no secret variable; only the proxy does."""

from typing import Any

import pytest

from support.cluster import KubectlError, Namespace, environment, kubectl, message, script
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.fixture(scope="module")
def pods(namespace: Namespace) -> dict[str, dict[str, Any]]:
    """The harness and the sandbox Pod of a session that has just worked."""
    namespace.apply(environment("patient", idle_seconds=300))
    look = {"tool": "bash", "input": {"command": "env; cat /proc/self/environ | tr '\\0' '\\n'"}}
    namespace.create_session("discreet", message("first", script(look)), environment="patient")
    namespace.wait_idle("discreet")
    return {component: namespace.pods("discreet", component)[0] for component in ("harness", "sandbox")}


@requirement("I16", "A5")
def test_only_the_proxy_mounts_secrets_and_tokens(pods: dict[str, dict[str, Any]]) -> None:
    for component, pod in pods.items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        secret_volumes = {volume["name"] for volume in spec["volumes"] if _is_secret(volume)}
        for container in spec["containers"] + spec.get("initContainers", []):
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])} & secret_volumes
            from_secret = [entry for entry in container.get("env", []) if "secretKeyRef" in str(entry)]
            assert not from_secret, (component, container["name"])
            assert not container.get("envFrom"), (component, container["name"])
            if container["name"] != "proxy":
                assert not mounted, (component, container["name"], mounted)
        if component == "sandbox":
            assert not secret_volumes


@requirement("A5", "A6")
@pytest.mark.parametrize(
    ("component", "container"), [("harness", "harness"), ("sandbox", "tools"), ("sandbox", "supervisor")]
)
def test_no_token_file_and_no_secret_variable_inside(
    namespace: Namespace, pods: dict[str, dict[str, Any]], component: str, container: str
) -> None:
    name = pods[component]["metadata"]["name"]
    run = ["exec", "-n", namespace.name, name, "-c", container, "--"]
    with pytest.raises(KubectlError):
        kubectl(*run, "ls", TOKEN_PATH)
    with pytest.raises(KubectlError):
        kubectl(*run, "ls", "/var/run/managed-agents/providers")
    variables = kubectl(*run, "python3", "-c", "import os; print(*sorted(os.environ.items()), sep='\\n')")
    for word in ("TOKEN", "SECRET", "API_KEY", "PASSWORD"):
        assert word not in variables.upper(), variables


@requirement("A6", "I16")
def test_what_the_agent_sees_in_its_sandbox_names_no_key(namespace: Namespace, pods: dict[str, dict[str, Any]]) -> None:
    results = [event for event in namespace.events("discreet") if event["type"] == "agent.tool_result"]
    text = results[0]["content"][0]["text"].upper()
    for word in ("TOKEN", "SECRET", "API_KEY", "ANTHROPIC"):
        assert word not in text


@requirement("A7", "A9")
def test_sandbox_reaches_nothing(namespace: Namespace, pods: dict[str, dict[str, Any]]) -> None:
    name = pods["sandbox"]["metadata"]["name"]
    server = kubectl(
        "get", "service", "-n", "managed-agents-system", "managed-agents-server", "-o", "jsonpath={.spec.clusterIP}"
    )
    probe = (
        "import socket, sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "server, node = sys.argv[1:]\n"
        "def probe(place):\n"
        "    try:\n"
        "        socket.create_connection(place, timeout=3).close(); print('REACHED', *place)\n"
        "    except OSError: pass\n"
        "places = [('kubernetes.default.svc', 443), ('10.96.0.1', 443), ('10.96.0.10', 53), (server, 8400),\n"
        "          (server, 8401), (node, 10250), (node, 6443)]\n"
        "with ThreadPoolExecutor(len(places)) as pool: list(pool.map(probe, places))\n"
        "print('probed')\n"
    )
    node = pods["sandbox"]["status"]["hostIP"]
    output = kubectl("exec", "-n", namespace.name, name, "-c", "tools", "--", "python3", "-c", probe, server, node)
    assert output.strip() == "probed"


def _is_secret(volume: dict[str, Any]) -> bool:
    projected = str(volume.get("projected", ""))
    return "secret" in volume or "serviceAccountToken" in projected or "'secret'" in projected
