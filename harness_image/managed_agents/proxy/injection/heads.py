"""Heads of requests and answers at a host that has a credential: what goes on, and how (A16, A19, A20). Pure."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from managed_agents.proxy.egress_hosts import MalformedHostError, Target, authority_from, target_from
from managed_agents.proxy.egress_refusal import EgressRefusedError
from managed_agents.proxy.injection.grants import Grant, HostGrants
from managed_agents.proxy.injection.replacing import MASKED_BYTES_MIN

Fields = list[tuple[bytes, bytes]]

HTTPS_PORT = 443

_OWN = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
"""Written anew for the destination."""
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"http2-settings"}
)
_AUTHENTICATING = frozenset(
    {
        b"authorization",
        b"cookie",
        b"api-key",
        b"apikey",
        b"job-token",
        b"private-token",
        b"x-access-token",
        b"x-amz-security-token",
        b"x-api-key",
        b"x-api-token",
        b"x-auth-key",
        b"x-auth-token",
        b"x-goog-api-key",
    }
)
"""By which a caller says who it is: at a host that a credential is meant for, with that credential or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """What goes to the destination, without the headers of the body's length."""

    target: bytes
    fields: Fields
    injected: frozenset[str]
    """Ids of the credentials whose value is in `fields`."""
    stripped: tuple[str, ...]
    """Names of headers that were taken out."""
    upgrades: bool


def request_head(
    method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]], *, host: Target, grants: HostGrants
) -> RequestHead:
    """Judge and rewrite a head. Raises: EgressRefusedError."""
    written = list(fields)
    given = lowered(written)
    path = _origin_form(target, host)
    _check_host(given, host)
    if method in {b"CONNECT", b"TRACE"}:
        # TRACE sends back what it got, and so the value.
        text = f"{method.decode()} is not possible at {host.host}, which has a credential"
        raise EgressRefusedError(status=405, reason="method", message=text)
    upgrades = _one(given, b"upgrade").lower() == b"websocket"
    dropped = _HOP_BY_HOP | _OWN | _named_by_connection(given)
    writer = _HeaderWriter(grants)
    out: Fields = [(b"Host", _authority(host))]
    out += [pair for name, value in written if name.lower() not in dropped for pair in writer.write(name, value)]
    if writer.injected:
        # Answers are looked through for the value, which is possible in plain ones only.
        out = [pair for pair in out if pair[0].lower() != b"accept-encoding"] + [(b"Accept-Encoding", b"identity")]
    if upgrades:
        out += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return RequestHead(
        target=path,
        fields=out,
        injected=frozenset(writer.injected),
        stripped=tuple(writer.stripped),
        upgrades=upgrades,
    )


def answer_fields(fields: Iterable[tuple[bytes, bytes]], grants: HostGrants, *, switches: bool = False) -> Fields:
    """Return the headers of an answer for the tool: a value that comes back is a placeholder again."""
    given = list(fields)
    hop = _HOP_BY_HOP | _named_by_connection(lowered(given)) | {b"alt-svc"}
    kept = [(name, _masked(value, grants.grants)) for name, value in given if name.lower() not in hop]
    if switches:
        return [*kept, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return [*kept, (b"Connection", b"close")] if b"close" in hop else kept


def lowered(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Return headers with their names in lower case."""
    return [(name.lower(), value) for name, value in fields]


class _HeaderWriter:
    """Puts values into headers and takes out by what else a caller says who it is."""

    def __init__(self, grants: HostGrants) -> None:
        self._grants = grants
        self.injected: set[str] = set()
        self.stripped: list[str] = []

    def write(self, name: bytes, value: bytes) -> Fields:
        """Return the header that goes on, or none."""
        lower = name.lower()
        if lower.startswith(b"proxy-"):
            return []
        if self._grants.is_named and lower in _AUTHENTICATING:
            kept = self._own_parts(lower, value)
            if kept != value:
                self.stripped.append(lower.decode("latin-1"))
            if not kept:
                return []
            value = kept
        return [(name, self._injected(value))]

    def _own_parts(self, name: bytes, value: bytes) -> bytes:
        """Return what of an authenticating header stands on a placeholder: of cookies each for itself."""
        parts = value.split(b";") if name == b"cookie" else [value]
        return b";".join(part for part in parts if self._holds_placeholder(part)).strip()

    def _holds_placeholder(self, value: bytes) -> bool:
        plain = _basic(value) or value
        return any(grant.placeholder.encode() in plain for grant in self._grants.grants)

    def _injected(self, value: bytes) -> bytes:
        plain = _basic(value)
        if plain is None:
            return self._replaced(value, _for_header)
        replaced = self._replaced(plain, lambda grant: grant.value.encode())
        return value if replaced == plain else b"Basic " + base64.b64encode(replaced)

    def _replaced(self, text: bytes, written: Callable[[Grant], bytes]) -> bytes:
        for grant in self._grants.grants:
            if grant.in_header and (placeholder := grant.placeholder.encode()) in text:
                text = text.replace(placeholder, written(grant))
                self.injected.add(grant.id)
        return text


def _for_header(grant: Grant) -> bytes:
    """Write a value into a header. Raises: EgressRefusedError for one that would end it."""
    if not (grant.value.isascii() and grant.value.isprintable()):
        text = f"the value of credential {grant.id} is no text that a header can carry"
        raise EgressRefusedError(status=502, reason="credential_unsendable", message=text)
    return grant.value.encode("ascii")


def _basic(value: bytes) -> bytes | None:
    """Return user and password of `Basic …`; null for anything else."""
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        return None


def _masked(value: bytes, grants: Sequence[Grant]) -> bytes:
    for grant in grants:
        secret = grant.value.encode("utf-8", "replace")
        if len(secret) >= MASKED_BYTES_MIN:
            value = value.replace(secret, grant.placeholder.encode())
    return value


def _origin_form(target: bytes, host: Target) -> bytes:
    """Return path and query; an absolute address must be this host's."""
    if target.startswith(b"/") or target == b"*":
        return target
    scheme, separator, rest = target.partition(b"://")
    slash = min((rest.find(mark) for mark in (b"/", b"?", b"#") if mark in rest), default=len(rest))
    if not separator or scheme.lower() != b"https" or not _is(rest[:slash], host):
        raise _misdirected(host)
    path = rest[slash:].partition(b"#")[0]
    return path if path.startswith(b"/") else b"/" + path


def _check_host(fields: Fields, host: Target) -> None:
    named = [value for name, value in fields if name == b"host"]
    if len(named) > 1 or not all(_is(value, host) for value in named):
        raise _misdirected(host)


def _is(authority: bytes, host: Target) -> bool:
    try:
        return target_from(*authority_from(authority.decode("ascii"), HTTPS_PORT)) == host
    except (UnicodeDecodeError, MalformedHostError):
        return False


def _misdirected(host: Target) -> EgressRefusedError:
    text = f"this connection is to {host.host}:{host.port}, and the request names another host"
    return EgressRefusedError(status=421, reason="host_mismatch", message=text)


def _authority(host: Target) -> bytes:
    name = f"[{host.host}]" if ":" in host.host else host.host
    return (name if host.port == HTTPS_PORT else f"{name}:{host.port}").encode("ascii")


def _named_by_connection(fields: Fields) -> frozenset[bytes]:
    """Return the headers that belong to the connection only (RFC 9110 §7.6.1)."""
    listed = b",".join(value for name, value in fields if name == b"connection")
    return frozenset(word.strip().lower() for word in listed.split(b","))


def _one(fields: Fields, name: bytes) -> bytes:
    return next((value.strip() for key, value in fields if key == name), b"")
