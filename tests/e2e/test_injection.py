"""An environment credential on the cluster: a placeholder in the sandbox, the value at its host, rotated under it."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from support.authorities import TestAuthority
from support.cluster import (
    Namespace,
    egress_rules,
    environment,
    eventually,
    kubectl,
    managed,
    message,
    read_in_container,
    script,
)
from support.requirements import requirement
from support.server_pod import python_server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]

CANARY = "canary-3d90ac"
NAME = "api"
SERVER = textwrap.dedent(
    """
    import http.server, ssl

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            print("key", self.headers.get("X-Key"), flush=True)
            self.send_response(204)
            self.end_headers()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/files/chain.pem")
    server = http.server.ThreadingHTTPServer(("", 8443), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
    """
)
CALL = 'curl -sS -o /dev/null -w "%{http_code}" -H "X-Key: $KEY" '


def keep(namespace: Namespace, value: str) -> None:
    """Make or rotate the credential's Secret."""
    metadata = {"name": "key", "namespace": namespace.name}
    namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"value": value}})


def vault(host: str) -> dict[str, Any]:
    auth = {
        "type": "environment_variable",
        "secretName": "KEY",
        "secretValue": {"secretKeyRef": {"name": "key", "key": "value"}},
        "networking": {"type": "limited", "allowedHosts": [host]},
    }
    return managed("Vault", "keys", {"credentials": [{"name": "key", "auth": auth}]})


@requirement("injection", "injection-rotation", "I16")
def test_a_value_reaches_its_host_and_never_the_sandbox(namespace: Namespace, tmp_path: Path) -> None:
    host, authority = f"{NAME}.{namespace.name}.svc.cluster.local", TestAuthority(tmp_path)
    python_server(namespace, NAME, SERVER, port=8443, files={"chain.pem": authority.chain_for(host)})
    keep(namespace, f"{CANARY}-old")
    box = environment("caller")
    box["spec"]["config"]["networking"]["allowedHosts"] = [host]
    with egress_rules({"allowed_hosts": [f"{host}:8443"], "authorities": [authority.pem]}):
        namespace.apply(box, vault(host))
        call = {"tool": "bash", "input": {"command": f"{CALL} https://{host}:8443/; echo; env"}}
        references = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "caller"}}
        events = [message("first", script(call, {"text": "{{last_tool_result}}"}))]
        vaults = [{"name": "keys"}]
        namespace.apply(managed("Session", "caller", {**references, "vaultRefs": vaults, "events": events}))
        said = namespace.wait_idle("caller", seconds=180)["status"]["lastMessage"]["text"]
        assert said.startswith("204"), said
        assert "KEY=placeholder_" in said
        assert CANARY not in said
        assert f"key {CANARY}-old" in kubectl("logs", "-n", namespace.name, NAME)
        [pod] = namespace.pods("caller", "sandbox")
        for container in ("tools", "supervisor"):
            assert CANARY not in (read_in_container(pod, container, "environ") or "")

        keep(namespace, f"{CANARY}-new")
        loop = f"for n in $(seq 60); do {CALL} https://{host}:8443/; sleep 1; done"
        again = {"tool": "bash", "input": {"command": loop}}
        namespace.append_event("caller", message("second", script(again)))

        def is_rotated() -> bool:
            return f"key {CANARY}-new" in kubectl("logs", "-n", namespace.name, NAME)

        eventually("the new value is used", is_rotated, seconds=60)
        kubectl("delete", "-n", namespace.name, "session", "caller", "--timeout=60s")
