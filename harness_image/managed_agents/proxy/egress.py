"""One connection of a tool to the world: read, decide, dial the address that was judged, copy (design §8).

A tunnel to a host that has a credential is not copied but read (`injection/`).
"""

import asyncio
import ssl
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address

import structlog

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_hosts import Address, MalformedHostError, Target, shown
from managed_agents.proxy.egress_refusal import EgressRefusedError
from managed_agents.proxy.egress_request import (
    HEAD_BYTES_MAX,
    EgressRequest,
    MalformedRequestError,
    parse_request,
)
from managed_agents.proxy.egress_rules import Networking, address_is_open, decide, internal_address
from managed_agents.proxy.egress_streams import CHUNK_BYTES, Counted, closed, exchange
from managed_agents.proxy.injection.grants import HostGrants
from managed_agents.proxy.injection.sandboxes import SandboxCredentials

HEAD_SECONDS = 30.0
"""From a connection's begin to the end of the request's head."""

DIAL_SECONDS = 10.0
"""One TCP handshake with a destination."""

ADDRESSES_MAX = 4
"""Addresses of one name that are tried, one after the other."""

_TLS_HANDSHAKE = b"\x16"  # the first byte of a TLS connection (RFC 8446 §5.1)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
NetworkingOf = Callable[[], Awaitable[Networking]]
Streams = tuple[StreamReader, StreamWriter]
Inner = Mapping[str, Callable[[], Awaitable[Streams]]]
"""By a name that no DNS knows: opens a connection to what the proxy itself serves under it."""


class UndecidedError(Exception):
    """What the Environment allows cannot be learnt now, so nothing is."""


class Egress:
    """Serves tools' connections under the administrator's rules and an Environment's networking."""

    def __init__(self, rules: EgressRules, resolve: Resolve, inner: Inner | None = None) -> None:
        self._rules = rules
        self._resolve = resolve
        self._trusting: ssl.SSLContext | None = None
        self._inner = inner or {}
        self._log = structlog.get_logger(listener="egress")

    async def serve(
        self, tool: Streams, networking_of: NetworkingOf, credentials: SandboxCredentials | None = None
    ) -> None:
        """Serve one connection to its end. One audit line: host, port, decision and bytes, never a path or a header."""
        started, counted = time.perf_counter(), Counted()
        seen: dict[str, object] = {"decision": "refused"}
        try:
            await self._serve(tool, networking_of, credentials, counted, seen)
        except EgressRefusedError as refusal:
            seen |= {"reason": refusal.reason, "status": refusal.status}
            await _answer(tool[1], refusal)
        except (OSError, asyncio.IncompleteReadError) as problem:
            seen["broken"] = type(problem).__name__
        finally:
            await closed(tool[1])
            self._log.info(
                "connection",
                ms=round((time.perf_counter() - started) * 1000, 2),
                bytes_out=counted.out,
                bytes_in=counted.back,
                **seen,
            )

    async def _serve(
        self,
        tool: Streams,
        networking_of: NetworkingOf,
        credentials: SandboxCredentials | None,
        counted: Counted,
        seen: dict[str, object],
    ) -> None:
        request = await _request(tool[0])
        target = request.target
        seen |= {"host": shown(target.host), "port": target.port, "tunnel": request.is_tunnel}
        grants = HostGrants()
        if target.host in self._inner and target.port == 80 and not request.is_tunnel:
            destination = await self._inner[target.host]()
            seen["reason"] = "inner"
        else:
            await self._check(target, networking_of, credentials, seen)
            grants = grants if credentials is None else credentials.grants_at(target.host)
            if grants.is_named and not request.is_tunnel:
                text = f"{target.host} has a credential, which goes over TLS only; use https://{target.host}"
                raise EgressRefusedError(status=403, reason="plain_http", message=text)
            destination = await self._dial(target)
        seen["decision"] = "allowed"
        try:
            await _begin(request, tool[1], destination[1], counted)
            if credentials is not None and grants and request.is_tunnel:
                await self._intercept(tool, destination, target, credentials, counted, seen)
            else:
                await exchange(tool, destination, counted, "open" if request.is_tunnel else request.body)
        finally:
            await closed(destination[1])

    async def _check(
        self,
        target: Target,
        networking_of: NetworkingOf,
        credentials: SandboxCredentials | None,
        seen: dict[str, object],
    ) -> None:
        try:
            decision = decide(target, await networking_of(), self._rules)
        except UndecidedError as problem:
            raise EgressRefusedError(status=503, reason="undecided", message=str(problem)) from None
        if not decision.is_allowed:
            if credentials is not None:
                credentials.refused(target.host)
            raise EgressRefusedError(status=403, reason=decision.reason, message=decision.message)
        seen["reason"] = decision.reason

    async def _intercept(
        self,
        tool: Streams,
        destination: Streams,
        target: Target,
        credentials: SandboxCredentials,
        counted: Counted,
        seen: dict[str, object],
    ) -> None:
        """Read what is TLS; anything else holds no value and goes on as it is, but not past a host's credential."""
        first = await tool[0].read(CHUNK_BYTES)
        if first[:1] != _TLS_HANDSHAKE:
            if credentials.grants_at(target.host).is_named:
                seen |= {"decision": "refused", "reason": "not_tls"}
                return
            destination[1].write(first)
            counted.out += len(first)
            await exchange(tool, destination, counted, "open")
            return
        from managed_agents.proxy.injection import interception

        if self._trusting is None:
            self._trusting = interception.trusting_context(self._rules)
        seen["intercepted"] = True
        reason = await interception.intercept(
            tool,
            destination,
            first=first,
            target=target,
            authority=credentials.authority,
            trusting=self._trusting,
            grants=lambda: credentials.grants_at(target.host),
            counted=counted,
        )
        seen |= {"reason": reason} if reason else {}

    async def _dial(self, target: Target) -> Streams:
        found = [target.address] if target.address is not None else await self._addresses(target)
        opened = [address for address in found if address_is_open(address, target.host, self._rules)]
        if not opened:
            refused = internal_address(target.host)
            raise EgressRefusedError(status=403, reason=refused.reason, message=refused.message)
        for address in opened[:ADDRESSES_MAX]:
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    return await asyncio.open_connection(str(address), target.port, limit=CHUNK_BYTES)
            except OSError:  # TimeoutError among them
                continue
        text = f"{target.host}:{target.port} does not answer"
        raise EgressRefusedError(status=502, reason="unreachable", message=text)

    async def _addresses(self, target: Target) -> list[Address]:
        try:
            return [ip_address(text) for text in await self._resolve(target.host, target.port)]
        except TimeoutError:
            text = f"the DNS does not answer for {target.host}"
            raise EgressRefusedError(status=502, reason="dns_silent", message=text) from None
        except (OSError, UnicodeError):
            text = f"{target.host} is not known to the DNS"
            raise EgressRefusedError(status=502, reason="unknown_host", message=text) from None


async def _request(reader: StreamReader) -> EgressRequest:
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            return parse_request(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.LimitOverrunError:
        text = f"the request's head exceeds {HEAD_BYTES_MAX} bytes"
        raise EgressRefusedError(status=400, reason="malformed", message=text) from None
    except (MalformedRequestError, MalformedHostError) as problem:
        raise EgressRefusedError(status=400, reason="malformed", message=str(problem)) from None


async def _begin(request: EgressRequest, tool: StreamWriter, destination: StreamWriter, counted: Counted) -> None:
    if request.is_tunnel:
        tool.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await tool.drain()
        return
    counted.out += len(request.head)
    destination.write(request.head)
    await destination.drain()


_STATUS = {400: "Bad Request", 403: "Forbidden", 502: "Bad Gateway", 503: "Service Unavailable"}


async def _answer(writer: StreamWriter, refusal: EgressRefusedError) -> None:
    """Refuse in a way that tools show: most print the reason phrase of a refused CONNECT and drop its body."""
    body = refusal.body
    phrase = b"%s (%s)" % (_STATUS[refusal.status].encode(), body.rstrip())
    head = (
        b"HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
        b"X-Sandbox-Network: %s\r\nConnection: close\r\n\r\n"
    ) % (refusal.status, phrase, len(body), refusal.reason.encode())
    try:
        writer.write(head + body)
        await writer.drain()
    except OSError:
        return
