"""The request to the Messages API, as it leaves the harness."""

from collections.abc import AsyncIterator

import orjson
import pytest
from aiohttp import web

from managed_agents.harness.history.request import Body
from managed_agents.harness.model import MessagesModel, no_preview
from managed_agents.harness.reply import Reply
from managed_agents.harness.settings import Settings
from support.models import Answer, text


class Provider:
    """A provider that notes each request and answers the same."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str | None, bytes]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        headers = request.headers
        self.asked.append((headers.get("Content-Length"), headers.get("Transfer-Encoding"), await request.read()))
        events = Answer(text("Hello.")).events()
        frames = [b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events]
        return web.Response(body=b"".join(frames), content_type="text/event-stream")


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


async def test_pieces_arrive_as_one_body_of_a_stated_length(provider: Provider) -> None:
    pieces = (b'{"model":"m"', b"x" * 3_000_000, b"", b"y" * 70_000, b"}")
    async with MessagesModel(Settings(model_url=provider.url)) as model:
        for _ in range(2):  # the second on the same connection
            reply = Reply(lambda: "sevt_1")
            await model.stream(Body(pieces), reply, no_preview)
            assert (reply.complete, reply.text) == (True, "Hello.")
    whole = b"".join(pieces)
    assert provider.asked == [(str(len(whole)), None, whole)] * 2
