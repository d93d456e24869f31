"""MCP servers on the cluster: one that runs there, allowed by the administrator, used by an agent."""

import textwrap

import pytest

from support.cluster import Namespace, Object, egress_rules, managed, message, script
from support.requirements import requirement
from support.server_pod import server_pod

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]

PORT = 8080
SERVER = textwrap.dedent(
    """
    import http.server, json

    TOOL = {"name": "add", "description": "Add.", "inputSchema": {"type": "object", "properties": {"a": {}, "b": {}}}}
    INFO = {"name": "calculator", "version": "1"}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = {
                "initialize": lambda _: {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": INFO},
                "tools/list": lambda _: {"tools": [TOOL]},
                "tools/call": lambda p: {"content": [{"type": "text", "text": str(sum(p["arguments"].values()))}]},
            }.get(message["method"])
            body = b""
            if answer is not None:
                result = answer(message.get("params"))
                body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
            self.send_response(200 if body else 202)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.send_error(405)

    http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
    """
)


def calculator(namespace: Namespace, name: str = "calculator", program: str = SERVER) -> str:
    """Start an MCP server as a Service; return its name in the cluster."""
    command = ["python3", "-u", "/files/server.py"]
    return server_pod(namespace, name, command, port=PORT, files={"server.py": program}, has_own_address=True).host


def of(namespace: Namespace, session: str, *kinds: str) -> list[Object]:
    """The events of a session that are of these types."""
    return [event for event in namespace.events(session) if event["type"] in kinds]


@requirement("mcp", "mcp-asks", "mcp-networking")
def test_an_agent_uses_a_server_of_the_cluster_that_the_administrator_allows(namespace: Namespace) -> None:
    host = calculator(namespace)
    url = f"http://{host}:{PORT}/mcp"
    spec = {
        "model": {"id": "simulated"},
        "mcpServers": [{"type": "url", "name": "calculator", "url": url}],
        "tools": [{"type": "mcp_toolset", "mcpServerName": "calculator"}],
    }
    open_ = {"config": {"type": "cloud", "networking": {"type": "limited", "allowMcpServers": True}}}
    add = script({"tool": "mcp__calculator__add", "input": {"a": 40, "b": 2}}, {"text": "{{last_tool_result}}"})
    namespace.apply(managed("Agent", "counts", spec), managed("Environment", "open", open_))
    with egress_rules({"allowed_hosts": [f"{host}:{PORT}"]}):
        namespace.create_session("sum", message("first", add), agent="counts", environment="open")
        summary = namespace.wait_idle("sum", seconds=180)
        (use,) = of(namespace, "sum", "agent.mcp_tool_use")
        assert (use["mcp_server_name"], use["name"], use["evaluated_permission"]) == ("calculator", "add", "ask")
        assert namespace.condition("session", "sum", "Idle")["reason"] == "RequiresAction", summary
        namespace.append_event(
            "sum",
            {"name": "yes", "type": "user.tool_confirmation", "toolUseId": use["id"], "result": "allow"},
        )
        namespace.wait_event("sum", "the result", lambda event: event["type"] == "agent.mcp_tool_result")
        namespace.wait_idle("sum")
        (result,) = of(namespace, "sum", "agent.mcp_tool_result")
        assert result["content"] == [{"type": "text", "text": "42"}]
        assert of(namespace, "sum", "session.error") == []

        namespace.create_session("closed", message("first", "Hello."), agent="counts", environment="box")
        namespace.wait_idle("closed", seconds=180)
        (error,) = of(namespace, "closed", "session.error")
        assert error["error"]["type"] == "mcp_connection_failed_error"
        assert "allow_mcp_servers" in error["error"]["message"]


@requirement("mcp-missing", "A23")
def test_a_server_of_the_cluster_that_nobody_allowed_costs_the_turn_only_its_tools(namespace: Namespace) -> None:
    spec = {
        "model": {"id": "simulated"},
        "mcpServers": [{"type": "url", "name": "api", "url": "https://kubernetes.default.svc/mcp"}],
        "tools": [{"type": "mcp_toolset", "mcpServerName": "api"}],
    }
    namespace.apply(managed("Agent", "curious", spec), managed("Environment", "wide", {"config": {"type": "cloud"}}))
    namespace.create_session("look", message("first", "Hello."), agent="curious", environment="wide")
    namespace.wait_idle("look", seconds=180)
    (error,) = of(namespace, "look", "session.error")
    assert error["error"]["type"] == "mcp_connection_failed_error"
    assert "inside the cluster" in error["error"]["message"]
    assert of(namespace, "look", "agent.message") != []
