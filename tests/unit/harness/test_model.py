"""The request to the Messages API, as it leaves the harness."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import anthropic
import orjson
import pytest
from aiohttp import web

from managed_agents.contracts import causes
from managed_agents.contracts.causes import Cause
from managed_agents.harness.history.request import Body
from managed_agents.harness.model import MessagesModel, no_preview
from managed_agents.harness.reply import Reply
from managed_agents.harness.retry import ModelFailureError
from managed_agents.harness.settings import Settings
from support.models import Answer, text


class Provider:
    """A provider that notes each request and answers the same."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str | None, bytes]] = []
        self.url = ""
        self.answers: web.Response | None = None

    async def answer(self, request: web.Request) -> web.Response:
        headers = request.headers
        self.asked.append((headers.get("Content-Length"), headers.get("Transfer-Encoding"), await request.read()))
        return self.answers or streamed(*frames())


def frames() -> list[bytes]:
    events = Answer(text("Hello.")).events()
    return [b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events]


def streamed(*pieces: bytes) -> web.Response:
    return web.Response(body=b"".join(pieces), content_type="text/event-stream", headers={"request-id": "req_1"})


def failed(status: int, body: bytes = b"", **headers: str) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/messages", provider.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield provider
    await runner.cleanup()


@pytest.mark.parametrize("pieces", [(b'{"model":"m"', b"x" * 3_000_000, b"", b"y" * 70_000, b"}"), (b'{"model":"m"}',)])
async def test_pieces_arrive_as_one_body_of_a_stated_length(provider: Provider, pieces: tuple[bytes, ...]) -> None:
    async with MessagesModel(Settings(model_url=provider.url)) as model:
        for _ in range(2):  # the second on the same connection
            reply = Reply(lambda: "sevt_1")
            await model.stream(Body(pieces), reply, no_preview)
            assert (reply.complete, reply.text) == (True, "Hello.")
    whole = b"".join(pieces)
    assert provider.asked == [(str(len(whole)), None, whole)] * 2


class Noting(Reply):
    """A response that notes what it is fed."""

    def __init__(self) -> None:
        super().__init__(lambda: "sevt_1")
        self.fed: list[Mapping[str, Any]] = []

    def feed(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        self.fed.append(event)
        return super().feed(event)


async def by_sdk(url: str) -> list[Any]:
    """Return the stream's events as the official SDK reads them."""
    async with anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0) as client:
        events = await client.post(
            "/v1/messages", body={}, cast_to=object, stream=True, stream_cls=anthropic.AsyncStream[object]
        )
        return [event async for event in events]


PING = b'event: ping\ndata: {"type": "ping"}\n\n'
UNKNOWN = b'event: later_invention\ndata: {"type": "later_invention"}\n\n'


@pytest.mark.parametrize("between", [b"", PING, b": a comment\n\n", UNKNOWN, b"retry: 10\n\n"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
async def test_a_stream_is_read_as_the_official_sdk_reads_it(
    provider: Provider, between: bytes, line_end: bytes
) -> None:
    pieces = [piece.replace(b"\n", line_end) for frame in frames() for piece in (frame, between)]
    provider.answers = streamed(*pieces)
    reply = Noting()
    async with MessagesModel(Settings(model_url=provider.url)) as model:
        await model.stream(Body((b"{}",)), reply, no_preview)
    provider.answers = streamed(*pieces)
    assert reply.fed == await by_sdk(provider.url)
    assert reply.text == "Hello."


OVERLOADED = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'


@pytest.mark.parametrize(
    ("answer", "cause", "status"),
    [
        (failed(529, OVERLOADED), causes.MODEL_OVERLOADED, 529),
        (failed(400, OVERLOADED.replace(b"overloaded", b"invalid_request")), causes.MODEL_REFUSED_REQUEST, 400),
        (failed(502, b"<html>"), causes.MODEL_UNREACHABLE, 502),
        (failed(307, Location="/elsewhere"), causes.MODEL_UNREACHABLE, 307),
        (streamed(frames()[0], b"event: error\ndata: %b\n\n" % OVERLOADED), causes.MODEL_OVERLOADED, 200),
        (streamed(frames()[0]), causes.MODEL_UNREACHABLE, None),
        (streamed(b"event: message_start\ndata: no json\n\n"), causes.MODEL_UNREACHABLE, None),
        (streamed(b"event: message_start\ndata: []\n\n"), causes.MODEL_UNREACHABLE, None),
    ],
    ids=["overloaded", "refused", "no JSON", "redirect", "in the stream", "cut", "bad event", "odd event"],
)
async def test_a_failure_is_told_by_its_cause(
    provider: Provider, answer: web.Response, cause: Cause, status: int | None
) -> None:
    provider.answers = answer
    async with MessagesModel(Settings(model_url=provider.url)) as model:
        with pytest.raises(ModelFailureError) as raised:
            await model.stream(Body((b"{}",)), Reply(str), no_preview)
    assert (raised.value.cause, raised.value.status) == (cause, status)
    assert len(provider.asked) == 1


async def test_a_provider_that_is_not_there_is_a_failure() -> None:
    async with MessagesModel(Settings(model_url="http://127.0.0.1:9")) as model:
        with pytest.raises(ModelFailureError) as raised:
            await model.stream(Body((b"{}",)), Reply(str), no_preview)
    assert raised.value.cause is causes.MODEL_UNREACHABLE
    assert raised.value.message.startswith("Model request failed: Client")
