"""One connection of a tool to the world: read, decide, dial the address that was judged, copy (design §8)."""

import asyncio
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

import structlog

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_hosts import Address, MalformedHostError, Target, shown
from managed_agents.proxy.egress_request import (
    HEAD_BYTES_MAX,
    EgressRequest,
    MalformedRequestError,
    parse_request,
)
from managed_agents.proxy.egress_rules import Networking, address_is_open, decide, internal_address
from managed_agents.proxy.egress_streams import CHUNK_BYTES, Counted, closed, exchange

HEAD_SECONDS = 30.0
"""From a connection's begin to the end of the request's head."""

DIAL_SECONDS = 10.0
"""One TCP handshake with a destination."""

ADDRESSES_MAX = 4
"""Addresses of one name that are tried, one after the other."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
NetworkingOf = Callable[[], Awaitable[Networking]]
Streams = tuple[StreamReader, StreamWriter]


class UndecidedError(Exception):
    """What the Environment allows cannot be learnt now, so nothing is."""


class _RefusedError(Exception):
    """The tool's answer: status, the reason for the audit log, and a text for its user."""

    def __init__(self, *, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class Egress:
    """Serves tools' connections under the administrator's rules and an Environment's networking."""

    def __init__(self, rules: EgressRules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve
        self._log = structlog.get_logger(listener="egress")

    async def serve(self, tool: Streams, networking_of: NetworkingOf) -> None:
        """Serve one connection to its end. One audit line: host, port, decision and bytes, never a path or a header."""
        started, counted = time.perf_counter(), Counted()
        seen: dict[str, object] = {"decision": "refused"}
        try:
            await self._serve(tool, networking_of, counted, seen)
        except _RefusedError as refusal:
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
        self, tool: Streams, networking_of: NetworkingOf, counted: Counted, seen: dict[str, object]
    ) -> None:
        request = await _request(tool[0])
        target = request.target
        seen |= {"host": shown(target.host), "port": target.port, "tunnel": request.is_tunnel}
        try:
            decision = decide(target, await networking_of(), self._rules)
        except UndecidedError as problem:
            raise _RefusedError(status=503, reason="undecided", message=str(problem)) from None
        if not decision.is_allowed:
            raise _RefusedError(status=403, reason=decision.reason, message=decision.message)
        destination = await self._dial(target)
        seen |= {"decision": "allowed", "reason": decision.reason}
        try:
            await _begin(request, tool[1], destination[1], counted)
            await exchange(tool, destination, counted, "open" if request.is_tunnel else request.body)
        finally:
            await closed(destination[1])

    async def _dial(self, target: Target) -> Streams:
        found = [target.address] if target.address is not None else await self._addresses(target)
        opened = [address for address in found if address_is_open(address, target.host, self._rules)]
        if not opened:
            refused = internal_address(target.host)
            raise _RefusedError(status=403, reason=refused.reason, message=refused.message)
        for address in opened[:ADDRESSES_MAX]:
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    return await asyncio.open_connection(str(address), target.port, limit=CHUNK_BYTES)
            except OSError:  # TimeoutError among them
                continue
        raise _RefusedError(status=502, reason="unreachable", message=f"{target.host}:{target.port} does not answer")

    async def _addresses(self, target: Target) -> list[Address]:
        try:
            return [ip_address(text) for text in await self._resolve(target.host, target.port)]
        except TimeoutError:
            text = f"the DNS does not answer for {target.host}"
            raise _RefusedError(status=502, reason="dns_silent", message=text) from None
        except (OSError, UnicodeError):
            text = f"{target.host} is not known to the DNS"
            raise _RefusedError(status=502, reason="unknown_host", message=text) from None


async def _request(reader: StreamReader) -> EgressRequest:
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            return parse_request(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.LimitOverrunError:
        text = f"the request's head exceeds {HEAD_BYTES_MAX} bytes"
        raise _RefusedError(status=400, reason="malformed", message=text) from None
    except (MalformedRequestError, MalformedHostError) as problem:
        raise _RefusedError(status=400, reason="malformed", message=str(problem)) from None


async def _begin(request: EgressRequest, tool: StreamWriter, destination: StreamWriter, counted: Counted) -> None:
    if request.is_tunnel:
        tool.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await tool.drain()
        return
    counted.out += len(request.head)
    destination.write(request.head)
    await destination.drain()


_STATUS = {400: "Bad Request", 403: "Forbidden", 502: "Bad Gateway", 503: "Service Unavailable"}


async def _answer(writer: StreamWriter, refusal: _RefusedError) -> None:
    """Refuse in a way that tools show: most print the reason phrase of a refused CONNECT and drop its body."""
    text = f"sandbox network: {refusal.message}"
    body = f"{text}\n".encode("ascii", "replace")
    phrase = f"{_STATUS[refusal.status]} ({text})".encode("ascii", "replace")
    head = (
        b"HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
        b"X-Sandbox-Network: %s\r\nConnection: close\r\n\r\n"
    ) % (refusal.status, phrase, len(body), refusal.reason.encode())
    try:
        writer.write(head + body)
        await writer.drain()
    except OSError:
        return
