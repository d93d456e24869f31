"""What a proxy is told when it starts, and the bounds it keeps."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from managed_agents.contracts import limits, ports
from managed_agents.contracts.egress import EgressRules, parse_rules
from managed_agents.contracts.web_search import WebSearchSettings, parse_web_search

BODY_BYTES_MAX = 2 * limits.EVENT_BODY_BYTES_MAX
"""One body or WebSocket message in either direction, in bytes: the API's bound and room for JSON escapes around it."""

CONNECT_SECONDS = 5.0
"""How long a TCP and TLS handshake with provider or server may take."""

MODEL_SILENCE_SECONDS = 600.0
"""Longest pause between two reads from a provider; a request that does not stream is silent until its answer."""

SERVER_SILENCE_SECONDS = 60.0
"""Longest pause between two reads from the server, above the longest wait that a call may ask it for."""

WAKE_HEARTBEAT_SECONDS = 2 * limits.HEARTBEAT_SECONDS
"""Pings on the wake socket, so that a server which vanished without a packet is noticed within three seconds."""

LEAVING_SECONDS = 2.0
"""How long the harness may take to leave: the kubelet tells both containers at once to stop, and the proxy is its way
to the server."""

SHUTDOWN_SECONDS = 1.0
"""How long open requests may go on after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How a broken connection to the supervisor is tried again; all in seconds."""

    bound_seconds: float = 5.0
    """From the first failure to the answer `unreachable`."""
    connect_seconds: float = 2.0
    """One TCP handshake with the supervisor, inside the cluster."""
    state_wait_seconds: float = 1.0
    """How long the server may wait for the sandbox's end when it is asked for its state."""
    pause_seconds: float = 0.2
    """Between two attempts while the server gives no answer either."""
    reply_seconds: float = 900.0
    """Longest wait for a result: 600 s of `bash` and the queue before it (docs/sandbox.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Addresses and files of one proxy. Port 0 takes a free one, for tests."""

    server_url: URL
    token_file: Path = Path(ports.SERVER_TOKEN_PATH)
    providers_file: Path = Path(ports.PROVIDERS_PATH)
    credentials_file: Path = Path(ports.VAULT_CREDENTIALS_PATH)
    loopback: str = "127.0.0.1"
    health_host: str = "0.0.0.0"  # noqa: S104 - the kubelet probes the Pod's address
    health_port: int = ports.PROXY_HEALTH_PORT
    session_port: int = ports.PROXY_SESSION_PORT
    hand_port: int = ports.PROXY_HAND_PORT
    model_port: int = ports.PROXY_MODEL_PORT
    mcp_port: int = ports.PROXY_MCP_PORT
    pacing: Pacing = Pacing()
    egress: EgressRules = field(default_factory=EgressRules)
    web_search: WebSearchSettings | None = None
    web_search_key_file: Path = Path(ports.WEB_SEARCH_KEY_PATH)
    leaving_seconds: float = 0.0


def settings_from(arguments: Sequence[str]) -> Settings:
    """Parse the command line. Exits with status 2 and a usage message when it is wrong."""
    parser = ArgumentParser(prog="python -m managed_agents.proxy", description=__doc__)
    parser.add_argument("--server-url", required=True, help="internal API of the server, such as http://server:8401")
    parser.add_argument("--token-file", type=Path, default=Path(ports.SERVER_TOKEN_PATH))
    parser.add_argument("--providers-file", type=Path, default=Path(ports.PROVIDERS_PATH))
    parser.add_argument("--loopback", default="127.0.0.1", help="address of the harness' listeners")
    parser.add_argument("--health-host", default="0.0.0.0", help="address of the kubelet's listener")  # noqa: S104 - as above
    parser.add_argument("--egress-rules", default="", help="the administrator's rules as JSON (docs/egress.md)")
    parser.add_argument("--web-search", default="", help="who answers web searches, as JSON (docs/web-tools.md)")
    parsed = parser.parse_args(arguments)
    try:
        egress = parse_rules(parsed.egress_rules)
    except (TypeError, ValueError) as problem:
        parser.error(f"--egress-rules: {problem}")
    try:
        web_search = parse_web_search(parsed.web_search)
    except (TypeError, ValueError) as problem:
        parser.error(f"--web-search: {problem}")
    url = URL(parsed.server_url)
    if url.scheme not in {"http", "https"} or not url.host:
        parser.error(f"--server-url: {parsed.server_url!r} is not an http or https URL")
    return Settings(
        server_url=url,
        token_file=parsed.token_file,
        providers_file=parsed.providers_file,
        loopback=parsed.loopback,
        health_host=parsed.health_host,
        egress=egress,
        web_search=web_search,
        leaving_seconds=LEAVING_SECONDS,
    )
