"""A door before a real MCP server: it writes down each call, and may want OAuth tokens, which it issues and soon ends.

A program of its own, for a Pod: standard library only. `mcp_front.py UPSTREAM_HOST PORT [GRANTS]`; with GRANTS, a JSON
file of refresh tokens and the client's secret, it is also the authorization server, at `/token`. A refresh token is
taken once; one that comes again ends its whole grant (RFC 9700 §4.14.2). What happened is in `/tmp/*.jsonl`.
"""

import http.client
import http.server
import json
import secrets
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LISTEN = 8080
LIFETIME_SECONDS = 20
UPSTREAM_SECONDS = 60
PASSED = ("accept", "content-type", "mcp-session-id", "mcp-protocol-version", "last-event-id")
RETURNED = ("content-type", "mcp-session-id")


def record(kind: str, entry: dict[str, Any]) -> None:
    """Append an entry to the file of its kind."""
    with Path(f"/tmp/{kind}.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")


@dataclass
class Authority:
    """The grants: valid tokens, and what a refresh token or an access token belongs to."""

    client_secret: str = ""
    refresh: dict[str, str] = field(default_factory=dict)
    spent: dict[str, str] = field(default_factory=dict)
    access: dict[str, tuple[str, float]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def grant_of(self, token: str) -> str | None:
        """Return whose access token this is, while it is valid."""
        name, until = self.access.get(token, ("", 0.0))
        return name if time.monotonic() < until else None

    def renew(self, form: dict[str, str]) -> dict[str, Any] | None:
        """Take a refresh token for a successor and an access token."""
        given = form.get("refresh_token", "")
        with self.lock:
            if given in self.spent:
                name = self.spent[given]
                record("reuses", {"grant": name})
                self.refresh = {token: owner for token, owner in self.refresh.items() if owner != name}
            if given not in self.refresh or form.get("client_secret") != self.client_secret:
                return None
            name = self.spent[given] = self.refresh.pop(given)
            access, refresh = (f"canary+{kind}/{secrets.token_hex(12)}=" for kind in ("access", "refresh"))
            self.access[access] = (name, time.monotonic() + LIFETIME_SECONDS)
            self.refresh[refresh] = name
            record("issued", {"grant": name, "access": access, "refresh": refresh})
        return {
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "Bearer",
            "expires_in": LIFETIME_SECONDS,
        }


class Door(http.server.BaseHTTPRequestHandler):
    """One request: a refresh, or one that goes on to the server behind."""

    protocol_version = "HTTP/1.1"
    authority: Authority | None = None
    upstream: tuple[str, int] = ("", 0)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name there
        """Say nothing."""

    def say(self, status: int, document: Any = None, **headers: str) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        grant: str | None = ""
        if self.authority is not None:
            if self.path == "/token":
                issued = self.authority.renew(dict(urllib.parse.parse_qsl(body.decode())))
                return self.say(200, issued) if issued else self.say(400, {"error": "invalid_grant"})
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            grant = self.authority.grant_of(token) if scheme == "Bearer" else None
            if grant is None:
                return self.say(401, WWW_Authenticate='Bearer error="invalid_token"')
        message = json.loads(body) if body else {}
        if message.get("method") == "tools/call":
            record("calls", {"grant": grant, **message["params"]})
        return self.pass_on(body)

    def pass_on(self, body: bytes) -> None:
        """Send the request to the server behind, and its answer back as it comes."""
        link = http.client.HTTPConnection(*self.upstream, timeout=UPSTREAM_SECONDS)
        link.request(
            self.command, self.path, body or None, {k: v for k, v in self.headers.items() if k.lower() in PASSED}
        )
        answer = link.getresponse()
        self.send_response(answer.status)
        for name in RETURNED:
            if value := answer.headers.get(name):
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while part := answer.read1(65536):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")
        link.close()

    do_GET = do_POST = do_DELETE = answer  # noqa: N815 - their names there


def main(host: str, port: str, grants: str = "") -> None:
    """Serve for ever."""
    if grants:
        given = json.loads(Path(grants).read_text())
        Door.authority = Authority(client_secret=given["client_secret"], refresh=given["refresh"])
    Door.upstream = (host, int(port))
    http.server.ThreadingHTTPServer(("", LISTEN), Door).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
