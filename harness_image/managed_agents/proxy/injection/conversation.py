"""Requests of one tool to one destination, one after the other, each with the credentials of that moment (design §8).

Bodies are streamed both ways. No redirect is followed: the tool gets it and asks elsewhere, where its placeholder
counts for nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import h11
import structlog

from managed_agents.proxy.egress_hosts import Target
from managed_agents.proxy.egress_refusal import EgressRefusedError
from managed_agents.proxy.egress_streams import Counted, cancelled, until_second
from managed_agents.proxy.injection.bodies import Body, body_to_send, length_of, replacements_for
from managed_agents.proxy.injection.grants import HostGrants
from managed_agents.proxy.injection.heads import RequestHead, answer_fields, lowered, request_head
from managed_agents.proxy.injection.peers import Peer, next_request
from managed_agents.proxy.injection.replacing import Replacing, masks_for

Grants = Callable[[], HostGrants]


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """What is known of one request: for the audit log, never a path, a header's value or a body."""

    method: str
    started: float = field(default_factory=time.perf_counter)
    status: int | None = None
    reason: str | None = None
    injected: set[str] = field(default_factory=set)
    stripped: tuple[str, ...] = ()

    def fields(self) -> dict[str, object]:
        ms = round((time.perf_counter() - self.started) * 1000, 2)
        told = {"method": self.method, "status": self.status, "injected": sorted(self.injected), "ms": ms}
        return told | {key: value for key, value in (("reason", self.reason), ("stripped", self.stripped)) if value}


class Conversation:
    """All requests of one connection."""

    def __init__(self, tool: Peer, destination: Peer, *, host: Target, grants: Grants) -> None:
        self._tool = tool
        self._destination = destination
        self._host = host
        self._grants = grants
        self._log = structlog.get_logger(listener="egress")

    async def run(self) -> None:
        """Serve requests until either side ends. Raises: OSError, h11.ProtocolError, EgressRefusedError."""
        while (request := await next_request(self._tool, self._destination)) is not None:
            told = _Exchange(method=request.method.decode("ascii"))
            try:
                await self._serve(request, told)
            except EgressRefusedError as refusal:
                told.status, told.reason = refusal.status, refusal.reason
                raise
            finally:
                self._log.info("request", host=self._host.host, port=self._host.port, **told.fields())
            if not self._goes_on():
                return

    def _goes_on(self) -> bool:
        for peer in (self._tool, self._destination):
            if peer.http.our_state is not h11.DONE or peer.http.their_state is not h11.DONE:
                return False
        self._tool.http.start_next_cycle()
        self._destination.http.start_next_cycle()
        return True

    async def _serve(self, request: h11.Request, told: _Exchange) -> None:
        grants = self._grants()
        written = request.headers.raw_items()
        head = request_head(request.method, request.target, written, host=self._host, grants=grants)
        fields = lowered(written)
        told.stripped, told.injected = head.stripped, set(head.injected)
        length, replacements = length_of(fields), replacements_for(fields, grants)
        expects: list[tuple[bytes, bytes]] = []
        if self._tool.http.they_are_waiting_for_100_continue:
            if isinstance(length, int) and replacements:  # its beginning is looked at before the destination is asked
                await self._tool.send(h11.InformationalResponse(status_code=100, headers=[]))
            else:
                expects = [(b"Expect", b"100-continue")]
        found: set[bytes] = set()
        try:
            async with aclosing(self._tool.body()) as pieces:
                body = await body_to_send(length, pieces, replacements, found)
                headers = [*head.fields, *expects, *body.fields]
                await self._destination.send(h11.Request(method=request.method, target=head.target, headers=headers))
                await self._exchange(head, body, grants, told)
        finally:
            told.injected |= {grant.id for grant in grants.grants if grant.placeholder.encode() in found}

    async def _exchange(self, head: RequestHead, body: Body, grants: HostGrants, told: _Exchange) -> None:
        """Send and answer at once: a destination may answer before it has the whole request."""
        await until_second(self._send(body), self._answer(head, grants, told))

    async def _send(self, body: Body) -> None:
        async for piece in body.pieces:
            try:
                if piece:
                    await self._destination.send(h11.Data(data=piece))
            except OSError:  # it may have answered before it had all, and closed
                return
        await self._destination.send(h11.EndOfMessage())

    async def _answer(self, head: RequestHead, grants: HostGrants, told: _Exchange) -> None:
        while isinstance(event := await self._destination.event(), h11.InformationalResponse):
            switches = event.status_code == 101
            if switches and not head.upgrades:
                raise ConnectionResetError("the destination changed the protocol unasked")
            fields = answer_fields(event.headers.raw_items(), grants, switches=switches)
            await self._tool.send(h11.InformationalResponse(status_code=event.status_code, headers=fields))
            if switches:
                told.status = 101
                await self._switched()
                return
        if not isinstance(event, h11.Response):
            text = f"{self._host.host} closed the connection without an answer"
            raise EgressRefusedError(status=502, reason="no_answer", message=text)
        told.status = event.status_code
        fields = answer_fields(event.headers.raw_items(), grants)
        await self._tool.send(
            h11.Response(status_code=event.status_code, headers=fields, reason=event.reason, http_version=b"1.1")
        )
        async for piece in _masked(self._destination.body(), Replacing(masks_for(grants.grants))):
            if piece:
                await self._tool.send(h11.Data(data=piece))
        await self._tool.send(h11.EndOfMessage())

    async def _switched(self) -> None:
        """Copy both ways as it is until either side ends: nothing is replaced in a WebSocket."""
        ways = [
            asyncio.ensure_future(_copied(self._tool, self._destination)),
            asyncio.ensure_future(_copied(self._destination, self._tool)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancelled(*ways)


async def _masked(pieces: AsyncIterator[bytes], masks: Replacing) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield masks.feed(piece)
    yield masks.finish()


async def _copied(source: Peer, target: Peer) -> None:
    data, _ = source.http.trailing_data
    while data or (data := await source.take()):
        await target.stream.write(data)
        data = b""


def count(counted: Counted, tool: Peer, destination: Peer) -> None:
    """Add what a conversation carried."""
    counted.out += tool.received
    counted.back += destination.received
