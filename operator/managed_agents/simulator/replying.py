"""Sending an answer at its pace: as a stream of events, or as one JSON object."""

import asyncio
from collections.abc import Iterator
from typing import Final

import orjson
from aiohttp import web

from managed_agents.simulator.answer import Answer
from managed_agents.simulator.clock import Clock
from managed_agents.simulator.records import Record, Records
from managed_agents.simulator.rendering import PING, Envelope, Frame, frames_of, message_of

PING_SECONDS: Final = 5.0
"""A thinking model sends pings; the API does not state how often."""
MODEL_TIME_HEADER: Final = "x-simulator-first-token-ms"


class Reply:
    """One answer on its way to one client; notes its times in the record."""

    def __init__(self, http: web.Request, answer: Answer, envelope: Envelope, record: Record, clock: Clock) -> None:
        self._http = http
        self._answer = answer
        self._envelope = envelope
        self._record = record
        self._clock = clock

    async def send(self, records: Records, *, stream: bool) -> web.StreamResponse:
        """Send it all; a client that goes away is noted as `disconnected`, not raised."""
        self._record.status = 200
        try:
            if self._answer.pace.delay:
                await self._clock.sleep(self._answer.pace.delay)
            response = await (self._stream() if stream else self._object())
        except (ConnectionResetError, asyncio.CancelledError) as error:
            records.finish(self._record, "disconnected", self._clock.monotonic())
            if isinstance(error, asyncio.CancelledError):
                raise
            return web.Response(status=499)
        records.finish(self._record, "cut" if self._answer.cut else "complete", self._clock.monotonic())
        return response

    async def _stream(self) -> web.StreamResponse:
        pace = self._answer.pace
        response = web.StreamResponse(
            headers=self._headers("text/event-stream; charset=utf-8", pace.hang + pace.first_token)
        )
        response.headers["cache-control"] = "no-cache"
        await response.prepare(self._http)
        if pace.hang:
            await self._clock.sleep(pace.hang)
        frames = frames_of(self._answer, self._envelope)
        first = await self._write_head(response, frames)
        await self._write_tokens(response, first, frames)
        if self._answer.cut and self._answer.cut.failure is None:
            self._close()
        else:
            await response.write_eof()
        return response

    async def _write_head(self, response: web.StreamResponse, frames: Iterator[Frame]) -> Frame | None:
        """Write all before the first token, wait as long as that one takes, and return it."""
        head = bytearray()
        first = None
        for item in frames:
            if item.is_token:
                first = item
                break
            head += item.data
        left = self._answer.pace.first_token
        if left and head:
            await response.write(bytes(head))
            head.clear()
        while left > 0:
            await self._clock.sleep(min(left, PING_SECONDS))
            left -= PING_SECONDS
            if left > 0:
                await response.write(PING.data)
        self._note_first_token()
        if head:
            # The first token goes out alone, so that a client sees it before the rest is made.
            await response.write(bytes(head) + (first.data if first else b""))
            return None
        return first

    async def _write_tokens(self, response: web.StreamResponse, first: Frame | None, frames: Iterator[Frame]) -> None:
        if first is not None:
            await response.write(first.data)
        rest = bytearray()
        for item in frames:
            if item.is_token and self._answer.pace.chunk:
                if rest:
                    await response.write(bytes(rest))
                    rest.clear()
                await self._clock.sleep(self._answer.pace.chunk)
            rest += item.data
        if rest:
            await response.write(bytes(rest))

    async def _object(self) -> web.StreamResponse:
        if self._answer.pace.first_token:
            await self._clock.sleep(self._answer.pace.first_token)
        data = orjson.dumps(message_of(self._answer, self._envelope))
        response = web.StreamResponse(headers=self._headers("application/json", self._answer.pace.hang))
        response.content_length = len(data)
        await response.prepare(self._http)
        if self._answer.pace.hang:
            await self._clock.sleep(self._answer.pace.hang)
        self._note_first_token()
        if self._answer.cut:
            await response.write(data[: len(data) // 2])
            self._close()
        else:
            await response.write(data)
            await response.write_eof()
        return response

    def _headers(self, content_type: str, silence_seconds: float) -> dict[str, str]:
        """The headers; the model's time is what has passed by now and the silence that is still to come."""
        passed = self._clock.monotonic() - self._record.received_monotonic
        return {
            "content-type": content_type,
            "request-id": self._envelope.request_id,
            MODEL_TIME_HEADER: f"{(passed + silence_seconds) * 1000:.3f}",
        }

    def _note_first_token(self) -> None:
        self._record.first_token_monotonic = self._clock.monotonic()
        self._record.first_token_at = self._clock.wall()

    def _close(self) -> None:
        if self._http.transport is not None:
            self._http.transport.close()
