"""A turn as a trace, at a collector that speaks OTLP over HTTP."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.requirements import requirement
from support.server import TestServer, agent_event, message, server_in_process
from support.waiting import until


@asynccontextmanager
async def collector(spans: list[Span]) -> AsyncIterator[str]:
    """Listen as a collector does; yields its endpoint."""

    async def take(request: web.Request) -> web.Response:
        export = ExportTraceServiceRequest.FromString(await request.read())
        spans.extend(span for group in export.resource_spans for scope in group.scope_spans for span in scope.spans)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.add_routes([web.post("/v1/traces", take)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def one_turn(server: TestServer) -> str:
    session = await server.create("a", {"name": "first", **message("hello")})
    await server.register(session)
    async with server.wake() as socket:
        await server.leased(socket)
        _, listed = await server.harness("pod-1", "GET", f"/sessions/{session}/events")
        for kinds in (
            ("session.status_running", "span.model_request_start"),
            ("agent.message", "span.model_request_end"),
        ):
            events = [agent_event(kind) for kind in kinds]
            body = {"epoch": 1, "events": events, "processed": [listed["events"][0]["id"]]}
            assert (await server.harness("pod-1", "POST", f"/sessions/{session}/events", body))[0] == 200
        idle = {"epoch": 1, "events": [agent_event("session.status_idle", stop_reason={"type": "end_turn"})]}
        assert (await server.harness("pod-1", "POST", f"/sessions/{session}/events", idle))[0] == 200
    return session


@requirement("turn-times")
async def test_each_turn_is_a_trace_whose_steps_lie_within_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spans: list[Span] = []
    async with collector(spans) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        async with server_in_process(tmp_path) as server:
            session = await one_turn(server)
        await until(lambda: bool(spans))
    [turn] = [span for span in spans if span.name == "turn"]
    attributes = {item.key: item.value for item in turn.attributes}
    assert attributes["managed_agents.session.id"].string_value == session
    assert attributes["managed_agents.turn"].int_value == 1
    steps = [span for span in spans if span.parent_span_id == turn.span_id]
    assert {span.name for span in steps} >= {"leased", "request", "response", "ended"}
    for span in steps:
        assert span.trace_id == turn.trace_id
        assert turn.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= turn.end_time_unix_nano + 1000


@requirement("turn-times")
async def test_nothing_of_opentelemetry_is_loaded_unless_an_endpoint_is_named(tmp_path: Path) -> None:
    code = (
        "import sys, managed_agents.server.factory; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0
