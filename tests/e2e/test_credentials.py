"""Each type of credential by the official SDK: created, used, rotated, validated, archived; the far end says which."""

import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.test_injection import CALL
from e2e.test_injection import NAME as TLS_NAME
from e2e.test_injection import SERVER as TLS_SERVER
from e2e.test_mcp import PORT, calculator
from support.authorities import TestAuthority
from support.cluster import Namespace, Object, egress_rules, environment, eventually, kubectl, managed, script
from support.requirements import requirement
from support.server_pod import python_server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(590)]

ROTATION_SECONDS = 60

SERVER = textwrap.dedent(
    """
    import http.server, json, secrets, urllib.parse

    TOOL = {"name": "add", "description": "Add.", "inputSchema": {"type": "object", "properties": {"a": {}, "b": {}}}}
    VALID = {"/plain": {"plain-one", "plain-two"}, "/ledger": {"ledger-one", "ledger-two"}}
    REFRESH = {"refresh-one"}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def say(self, status, document=None):
            body = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            return self.token(body) if self.path == "/token" else self.mcp(json.loads(body))

        def token(self, body):
            form = dict(urllib.parse.parse_qsl(body.decode()))
            if form.get("refresh_token") not in REFRESH:
                return self.say(400, {"error": "invalid_grant"})
            access = "renewed-" + secrets.token_hex(4)
            VALID["/ledger"].add(access)
            return self.say(200, {"access_token": access, "token_type": "Bearer", "expires_in": 3600})

        def mcp(self, message):
            token = self.headers.get("Authorization", "").partition(" ")[2]
            if token not in VALID[self.path]:
                print(self.path, "refused", flush=True)
                return self.say(401, {"said": token})
            if message["method"] == "tools/call":
                print(self.path, "used", token, flush=True)
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

        do_DELETE = do_GET

    INFO = {"name": "books", "version": "1"}
    http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
    """
)
ADD = {"a": 40, "b": 2}


class World:
    """A session with three credentials, and what the servers saw of them."""

    def __init__(self, namespace: Namespace, host: str, session: str, vault: str, ids: dict[str, str]) -> None:
        self.client: Any = namespace.client.beta
        self.ids = ids
        self.vault = vault
        self.session = session
        self._namespace = namespace
        self._host = host
        self._turns = 0

    def turn(self) -> None:
        """Use each credential once, and wait for the end."""
        self._turns += 1
        steps = (
            {"tool": "mcp__plain__add", "input": ADD},
            {"tool": "mcp__ledger__add", "input": ADD},
            {"tool": "bash", "input": {"command": f"{CALL} https://{self._host}:8443/ || true"}},
            {"text": f"turn {self._turns}"},
        )
        content = [{"type": "text", "text": script(*steps)}]
        self.client.sessions.events.send(self.session, events=[{"type": "user.message", "content": content}])
        said = f"turn {self._turns}"
        eventually(said, lambda: said in self._texts() and self._is_idle(), seconds=150)

    def used(self) -> tuple[str, str, str]:
        """Return the value of each credential that its server saw last."""
        books = kubectl("logs", "-n", self._namespace.name, "books").splitlines()
        keys = kubectl("logs", "-n", self._namespace.name, TLS_NAME).splitlines()

        def last(lines: list[str], start: str) -> str:
            found = [line.removeprefix(start).strip() for line in lines if line.startswith(start)]
            return found[-1] if found else ""

        return last(books, "/plain used"), last(books, "/ledger used"), last(keys, "key")

    def uses(self, server: str = "") -> int:
        """Return how often a value was used, of any credential or at one MCP server."""
        books = kubectl("logs", "-n", self._namespace.name, "books")
        if server:
            return books.count(f"/{server} used ")
        return books.count(" used ") + kubectl("logs", "-n", self._namespace.name, TLS_NAME).count("key key-")

    def errors(self) -> list[Any]:
        events = self.client.sessions.events.list(self.session, types=["session.error"])
        return [event.error for event in events]

    def update(self, name: str, **auth: Any) -> None:
        self.client.vaults.credentials.update(self.ids[name], vault_id=self.vault, auth=auth)

    def validate(self) -> Any:
        return self.client.vaults.credentials.mcp_oauth_validate(self.ids["ledger"], vault_id=self.vault)

    def turns_until(self, what: str, holds: Callable[[], bool]) -> float:
        """Take turns until something holds, within the minute that a rotation may take; return the seconds."""
        started = time.monotonic()

        def turned() -> bool:
            self.turn()
            return holds()

        eventually(what, turned, seconds=ROTATION_SECONDS)
        return time.monotonic() - started

    def _texts(self) -> list[str]:
        events = self.client.sessions.events.list(self.session, types=["agent.message"])
        return [block.text for event in events for block in event.content]

    def _is_idle(self) -> bool:
        return bool(self.client.sessions.retrieve(self.session).status == "idle")


def credentials(host: str, tls_host: str) -> dict[str, Object]:
    """Return one `auth` a type, and one for a host that the Environment does not allow."""
    url = f"http://{host}:{PORT}"
    refresh = {
        "client_id": "agents",
        "token_endpoint": f"{url}/token",
        "refresh_token": "refresh-one",
        "token_endpoint_auth": {"type": "none"},
    }
    variable: Object = {"type": "environment_variable", "secret_name": "KEY", "secret_value": "key-one"}
    return {
        "plain": {"type": "static_bearer", "mcp_server_url": f"{url}/plain", "token": "plain-one"},
        "ledger": {
            "type": "mcp_oauth",
            "mcp_server_url": f"{url}/ledger",
            "access_token": "ledger-one",
            "refresh": refresh,
        },
        "key": variable | {"networking": {"type": "limited", "allowed_hosts": [tls_host]}},
        "far": variable
        | {"secret_name": "FAR", "networking": {"type": "limited", "allowed_hosts": ["api.nowhere.example"]}},
    }


def started(namespace: Namespace, host: str, tls_host: str) -> World:
    """Make Agent, Environment, vault, credentials and session."""
    allow = {"enabled": True, "permissionPolicy": {"type": "always_allow"}}
    servers = ("plain", "ledger")
    spec = {
        "model": {"id": "simulated"},
        "mcpServers": [{"type": "url", "name": name, "url": f"http://{host}:{PORT}/{name}"} for name in servers],
        "tools": [
            {"type": "agent_toolset_20260401"},
            *({"type": "mcp_toolset", "mcpServerName": name, "defaultConfig": allow} for name in servers),
        ],
    }
    box = environment("limits", idle_seconds=300)
    box["spec"]["config"]["networking"] |= {"allowedHosts": [tls_host], "allowMcpServers": True}
    namespace.apply(managed("Agent", "clerk", spec), box)
    client: Any = namespace.client.beta
    vault = client.vaults.create(display_name="books")
    ids = {}
    for name, auth in credentials(host, tls_host).items():
        made = client.vaults.credentials.create(vault.id, auth=auth, display_name=name)
        assert made.auth.type == auth["type"]
        shown = client.vaults.credentials.retrieve(made.id, vault_id=vault.id).to_json()
        assert not any(value in shown for value in ("plain-one", "ledger-one", "refresh-one", "key-one"))
        ids[name] = made.id
    eventually("the Agent is known", lambda: namespace.get("agent", "clerk").get("status", {}).get("id"))
    eventually("the Environment is known", lambda: namespace.get("environment", "limits").get("status", {}).get("id"))
    session = client.sessions.create(
        agent=namespace.get("agent", "clerk")["status"]["id"],
        environment_id=namespace.get("environment", "limits")["status"]["id"],
        vault_ids=[vault.id],
    )
    return World(namespace, tls_host, session.id, vault.id, ids)


@requirement("credential-life", "injection-unreachable", "mcp-oauth-probed", "mcp-oauth-refused", "credentials-fail")
def test_each_type_is_used_rotated_validated_and_archived(namespace: Namespace, tmp_path: Path) -> None:
    tls_host, authority = f"{TLS_NAME}.{namespace.name}.svc.cluster.local", TestAuthority(tmp_path)
    python_server(namespace, TLS_NAME, TLS_SERVER, port=8443, files={"chain.pem": authority.chain_for(tls_host)})
    host = calculator(namespace, "books", SERVER)
    rules = {"allowed_hosts": [f"{host}:{PORT}", f"{tls_host}:8443"], "authorities": [authority.pem]}
    with egress_rules(rules):
        world = started(namespace, host, tls_host)
        world.turn()
        assert world.used() == ("plain-one", "ledger-one", "key-one")
        [unreachable] = world.errors()
        assert unreachable.type == "credential_host_unreachable_error"
        assert (unreachable.credential_id, unreachable.vault_id) == (world.ids["far"], world.vault)
        found = world.validate()
        assert (found.status, found.mcp_probe, found.refresh) == ("valid", None, None)

        world.update("plain", type="static_bearer", token="plain-two")
        world.update("ledger", type="mcp_oauth", access_token="ledger-two")
        world.update("key", type="environment_variable", secret_value="key-two")
        rotated = ("plain-two", "ledger-two", "key-two")
        seconds = world.turns_until("each next use shows the new value", lambda: world.used() == rotated)
        print(f"rotated in {seconds:.1f} s, with the turns that tell")
        assert len(world.errors()) == 1

        _refused_and_mended(world)
        _validated(world)
        _archived(world)
    kubectl("delete", "-n", namespace.name, "sessions", "--all", "--timeout=60s")


def _refused_and_mended(world: World) -> None:
    """A wrong token is told in the turn that meets it; the right one is enough."""
    world.update("plain", type="static_bearer", token="plain-wrong")
    world.turns_until("the refusal is told", lambda: _refused(world) == ["plain"])
    world.update("plain", type="static_bearer", token="plain-two")
    before = world.uses("plain")
    world.turns_until("it is mended", lambda: world.uses("plain") > before)


def _validated(world: World) -> None:
    """A token that has ended is renewed by the probe; a grant that is gone is invalid, told in a turn, and mended."""
    world.update("ledger", type="mcp_oauth", access_token="ended-one")
    found = world.validate()
    assert found.refresh is not None, found
    assert (found.status, found.refresh.status) == ("valid", "succeeded"), found
    world.turns_until("the renewed token is used", lambda: world.used()[1].startswith("renewed-"))

    world.update("ledger", type="mcp_oauth", access_token="ended-two", refresh={"refresh_token": "revoked-one"})
    found = world.validate()
    assert (found.status, found.mcp_probe.method, found.refresh.status) == ("invalid", "initialize", "failed"), found
    assert (found.mcp_probe.http_response.status_code, found.refresh.http_response.status_code) == (401, 400)
    shown = found.to_json()
    assert not any(secret in shown for secret in ("ended-two", "revoked-one"))
    world.turns_until("the refusal is told", lambda: _refused(world)[-1:] == ["ledger"])
    world.update("ledger", type="mcp_oauth", access_token="ledger-two", refresh={"refresh_token": "refresh-one"})
    world.turns_until("it is mended", lambda: world.used()[1] == "ledger-two")


def _archived(world: World) -> None:
    """Servers refuse what comes without a credential; a tool has no variable, and nothing reaches its host."""
    told = len(_refused(world))
    for name in ("plain", "ledger", "key"):
        archived = world.client.vaults.credentials.archive(world.ids[name], vault_id=world.vault)
        assert archived.archived_at

    def is_over() -> bool:
        return {"plain", "ledger"} <= set(_refused(world)[told:])

    world.turns_until("both servers refuse", is_over)
    before = world.uses()
    world.turn()
    assert world.uses() == before
    with pytest.raises(Exception, match="archived"):
        world.validate()


def _refused(world: World) -> list[str]:
    refused = [one for one in world.errors() if one.type == "mcp_authentication_failed_error"]
    return [one.mcp_server_name for one in refused]
