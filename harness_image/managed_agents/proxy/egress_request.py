"""A tool's first bytes: a CONNECT, or a request in absolute form, which goes on in origin form. Pure."""

from dataclasses import dataclass
from typing import Literal

from managed_agents.proxy.egress_hosts import MalformedHostError, Target, authority_from, target_from

HEAD_BYTES_MAX = 32 * 1024
"""A request's head; cookies and tokens of a tool fit."""

_HOP_BY_HOP = frozenset({"connection", "proxy-connection", "keep-alive", "te", "upgrade", "host"})


class MalformedRequestError(ValueError):
    """Not a request for an HTTP proxy. The message tells a tool's user what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRequest:
    """What a tool asks for. `head` goes to the destination first; empty for a tunnel.

    `body` says how many bytes of body follow (`chunked`: until the last chunk), and so when another request begins.
    """

    target: Target
    is_tunnel: bool
    head: bytes = b""
    body: int | Literal["chunked"] = 0


def parse_request(raw: bytes) -> EgressRequest:
    """Parse a head, with its empty line. Raises: MalformedRequestError, MalformedHostError."""
    lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or parts[2] not in {"HTTP/1.1", "HTTP/1.0"}:
        raise MalformedRequestError("not an HTTP/1.1 request")
    method, destination, _ = parts
    if method == "CONNECT":
        return EgressRequest(target=target_from(*authority_from(_text(destination), None)), is_tunnel=True)
    scheme, separator, rest = destination.partition("://")
    if not separator or scheme.lower() != "http":
        raise MalformedRequestError("this is an HTTP proxy: use CONNECT, or an absolute http:// address")
    slash = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
    authority, path = rest[:slash], rest[slash:].partition("#")[0]
    target = target_from(*authority_from(_text(authority), 80))
    fields = _fields(lines[1:])
    kept = [f"{name}: {value}" for name, value in fields if _goes_on(name)]
    start = f"{method} {path if path.startswith('/') else '/' + path} HTTP/1.1"
    head = "\r\n".join([start, f"Host: {_host_header(target)}", *kept, "Connection: close", "", ""])
    return EgressRequest(target=target, is_tunnel=False, head=head.encode("latin-1"), body=_body(fields))


def _text(latin: str) -> str:
    """Return a destination as it was meant: some tools send UTF-8 in place of IDNA."""
    try:
        return latin.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise MalformedHostError("the host name is not UTF-8") from None


def _goes_on(name: str) -> bool:
    return name.lower() not in _HOP_BY_HOP and not name.lower().startswith("proxy-")


def _host_header(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == 80 else f"{host}:{target.port}"


def _fields(lines: list[str]) -> list[tuple[str, str]]:
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
            raise MalformedRequestError("a header is malformed")
        fields.append((name, value.strip()))
    return fields


def _body(fields: list[tuple[str, str]]) -> int | Literal["chunked"]:
    lengths = {value for name, value in fields if name.lower() == "content-length"}
    codings = [value.lower() for name, value in fields if name.lower() == "transfer-encoding"]
    if codings:
        if codings != ["chunked"] or lengths:
            raise MalformedRequestError("the length of the body is not clear")
        return "chunked"
    if not lengths:
        return 0
    text = lengths.pop()
    if lengths or not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise MalformedRequestError("the length of the body is not clear")
    return int(text)
