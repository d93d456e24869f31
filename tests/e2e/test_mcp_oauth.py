"""An MCP server of the cluster that wants OAuth tokens, which end after 20 s, used turn after turn."""

import base64
import textwrap
import time
from typing import Any

import pytest

from e2e.test_mcp import PORT, calculator
from support.cluster import Namespace, Object, egress_rules, eventually, managed, script
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

LIFETIME_SECONDS = 20
TURNS = 3

SERVER = textwrap.dedent(
    """
    import http.server, json, secrets, time, urllib.parse

    TOOL = {"name": "add", "description": "Add.", "inputSchema": {"type": "object", "properties": {"a": {}, "b": {}}}}
    INFO = {"name": "ledger", "version": "1"}
    ENDS = {}
    REFRESH = {"first-refresh"}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def say(self, status, document=None, **headers):
            body = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            return self.token(body) if self.path == "/token" else self.mcp(json.loads(body))

        def token(self, body):
            form = dict(urllib.parse.parse_qsl(body.decode()))
            if form.get("refresh_token") not in REFRESH or form.get("client_secret") != "ledger-secret":
                return self.say(400, {"error": "invalid_grant"})
            REFRESH.remove(form["refresh_token"])  # taken once
            access, refresh = "access-" + secrets.token_hex(8), "refresh-" + secrets.token_hex(8)
            ENDS[access] = time.monotonic() + LIFETIME
            REFRESH.add(refresh)
            answer = {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": LIFETIME}
            return self.say(200, answer)

        def mcp(self, message):
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or time.monotonic() > ENDS.get(token, 0):
                return self.say(401, WWW_Authenticate='Bearer error="invalid_token"')
            answer = {
                "initialize": lambda _: {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": INFO},
                "tools/list": lambda _: {"tools": [TOOL]},
                "tools/call": lambda p: {"content": [{"type": "text", "text": str(sum(p["arguments"].values()))}]},
            }.get(message["method"])
            if answer is None:
                return self.say(202)
            return self.say(200, {"jsonrpc": "2.0", "id": message["id"], "result": answer(message.get("params"))})

        def do_GET(self):
            self.say(405)

    http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
    """
).replace("LIFETIME", str(LIFETIME_SECONDS))


def stored(namespace: Namespace) -> dict[str, str]:
    """Return what the vault's Secret holds, by the key without its credential's name."""
    [secret] = namespace.select("secrets", "managedagents.dev/vault")
    return {key.rpartition(".")[2]: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def add(client: Any, session_id: str) -> None:
    call = script({"tool": "mcp__ledger__add", "input": {"a": 40, "b": 2}}, {"text": "{{last_tool_result}}"})
    events: Any = [{"type": "user.message", "content": [{"type": "text", "text": call}]}]
    client.sessions.events.send(session_id, events=events)


def results(client: Any, session_id: str) -> list[Object]:
    events = client.sessions.events.list(session_id, types=["agent.mcp_tool_result", "session.error"])
    return [event.to_dict(mode="json") for event in events]


@requirement("mcp-oauth", "mcp-oauth-stored")
def test_tokens_that_end_every_twenty_seconds_serve_a_session_through_its_turns(namespace: Namespace) -> None:
    host = calculator(namespace, "ledger", SERVER)
    url = f"http://{host}:{PORT}"
    allow = {"enabled": True, "permissionPolicy": {"type": "always_allow"}}
    spec = {
        "model": {"id": "simulated"},
        "mcpServers": [{"type": "url", "name": "ledger", "url": f"{url}/mcp"}],
        "tools": [{"type": "mcp_toolset", "mcpServerName": "ledger", "defaultConfig": allow}],
    }
    open_: Object = {"config": {"type": "cloud", "networking": {"type": "limited", "allowMcpServers": True}}}
    open_ |= {"harness": {"idleTimeoutSeconds": 120}}
    namespace.apply(managed("Agent", "keeps", spec), managed("Environment", "open", open_))
    client = namespace.client.beta
    auth: Any = {
        "type": "mcp_oauth",
        "mcp_server_url": f"{url}/mcp",
        "access_token": "not-valid-any-more",
        "refresh": {
            "client_id": "agents",
            "token_endpoint": f"{url}/token",
            "refresh_token": "first-refresh",
            "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "ledger-secret"},
        },
    }
    vault = client.vaults.create(display_name="ledger")
    credential = client.vaults.credentials.create(vault.id, auth=auth)
    eventually("the Agent is known", lambda: namespace.get("agent", "keeps").get("status", {}).get("id"))
    with egress_rules({"allowed_hosts": [f"{host}:{PORT}"]}):
        session = client.sessions.create(
            agent=namespace.get("agent", "keeps")["status"]["id"],
            environment_id=namespace.get("environment", "open")["status"]["id"],
            vault_ids=[vault.id],
        )
        seen = {auth["access_token"]}
        for turn in range(1, TURNS + 1):
            add(client, session.id)
            eventually("the turn's result", lambda: len(results(client, session.id)) == turn, seconds=120)  # noqa: B023 - waited for here
            found = results(client, session.id)
            assert [result["type"] for result in found] == ["agent.mcp_tool_result"] * turn, found
            assert results(client, session.id)[-1]["content"] == [{"type": "text", "text": "42"}]
            fresh = eventually("a new grant is stored", lambda: stored(namespace)["access-token"] not in seen)
            assert fresh
            seen.add(stored(namespace)["access-token"])
            ended = time.monotonic() + LIFETIME_SECONDS
            if turn < TURNS:
                eventually("the token has ended", lambda: time.monotonic() > ended, seconds=60)  # noqa: B023 - as above
    assert len(seen) == TURNS + 1
    shown = client.vaults.credentials.retrieve(credential.id, vault_id=vault.id)
    assert shown.auth.to_dict(mode="json")["expires_at"] == stored(namespace)["expires-at"]
