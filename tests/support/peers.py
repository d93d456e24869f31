"""Real programs as peers of sessions in the cluster: two MCP servers, one behind OAuth, and two package mirrors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from support.canaries import canary
from support.cluster import REPOSITORY, Namespace, Object, kubectl
from support.peer_programs import NODE_BINARY, bring_to_nodes
from support.server_pod import server_pod

PORT = 8080
EVERYTHING = "/programs/everything/node_modules/@modelcontextprotocol/server-everything/dist/index.js"
TIME = ["env", "PYTHONPATH=/programs/time", "python3", "-m", "mcp_server_time", "--local-timezone=UTC"]
BRIDGE = ["env", "PYTHONPATH=/programs/bridge", "python3", "-m", "mcp_proxy"]
"""`mcp-proxy` of docs/mcp.md §5: started as a module, for this folder has no script on PATH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """The running peers, by their names in the cluster. Each listens at `PORT`."""

    namespace: Namespace
    counter: str
    """The door before `server-everything`, open to all."""
    clock: str
    """The door before `mcp-server-time` behind its bridge, which wants tokens of 20 s."""
    pip: str
    npm: str
    client_secret: str
    refresh: Mapping[str, str]
    """The first refresh tokens by the name of their grant."""

    def hosts(self) -> list[str]:
        """Return what the administrator has to allow."""
        return [f"{host}:{PORT}" for host in (self.counter, self.clock, self.pip, self.npm)]

    def calls(self, door: str) -> list[Object]:
        """Return the calls of tools that came through a door, "counter" or "clock", in order."""
        return self._recorded(door, "calls")

    def issued(self) -> list[Object]:
        """Return every pair of tokens that was issued, in order."""
        return self._recorded("clock", "issued")

    def reuses(self) -> list[Object]:
        """Return the refresh tokens that came a second time."""
        return self._recorded("clock", "reuses")

    def _recorded(self, door: str, kind: str) -> list[Object]:
        command = ["sh", "-c", f"cat /tmp/{kind}.jsonl 2>/dev/null || true"]
        said = kubectl("exec", "-n", self.namespace.name, door, "--", *command)
        return [json.loads(line) for line in said.splitlines()]


def peers_in(namespace: Namespace, grants: list[str]) -> Peers:
    """Start all of them; `grants` names the grants that the authorization server begins with."""
    programs = bring_to_nodes()
    refresh = {name: canary(f"first-refresh-{name}") for name in grants}
    client_secret = canary("client-secret")

    def start(name: str, *command: str, memory: str = "128Mi", **files: str) -> str:
        held = {file.replace("_", "."): text for file, text in files.items()} or {"none": ""}
        return server_pod(
            namespace, name, command, port=PORT, files=held, has_own_address=True, programs=programs, memory=memory
        ).host

    node = ["env", f"PORT={PORT}", f"/programs/{NODE_BINARY}", EVERYTHING, "streamableHttp"]
    everything = start("everything", *node, memory="256Mi")
    time = start("time", *BRIDGE, "--host=0.0.0.0", f"--port={PORT}", "--stateless", "--", *TIME, memory="512Mi")
    door = (REPOSITORY / "tests" / "support" / "mcp_front.py").read_text()
    given: Any = {"client_secret": client_secret, "refresh": {token: name for name, token in refresh.items()}}
    python = ["python3", "-u", "/files/door.py"]
    mirror = ["-p", str(PORT), "--disable-fallback", "-a", ".", "-P", ".", "/programs/mirror/pip"]
    return Peers(
        namespace=namespace,
        counter=start("counter", *python, everything, str(PORT), door_py=door),
        clock=start(
            "clock", *python, time, str(PORT), "/files/grants.json", door_py=door, grants_json=json.dumps(given)
        ),
        pip=start("pip", "env", "PYTHONPATH=/programs/index", "python3", "-m", "pypiserver", "run", *mirror),
        npm=start("npm", "python3", "-m", "http.server", str(PORT), "--directory", "/programs/mirror/npm"),
        client_secret=client_secret,
        refresh=refresh,
    )
