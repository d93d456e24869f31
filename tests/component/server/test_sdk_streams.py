"""The official SDK's helpers around streams: accumulator, reconnect recipe, tool runner, threads; a clean end."""

import asyncio
import signal
from pathlib import Path

import anthropic
from anthropic.lib.sessions import accumulate_managed_agents_event
from anthropic.lib.tools import beta_async_tool

from support.sdk_client import client_of
from support.server import WAIT_SECONDS, TestServer, agent_event, server_process
from support.streams import delta_of, harness, listed, said, send, start_of

END_TURN = {"stop_reason": {"type": "end_turn"}, "stop_details": None}


async def test_the_accumulator_folds_previews_into_the_final_message(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    session = await server.create()
    thread = session.replace("sesn_", "sthr_")
    final, texts = said("Hello, world"), []
    events = client.beta.sessions.events
    asked = {"event_deltas": ["agent.message", "agent.thinking"]}
    async with (
        await events.stream(session, **asked) as stream,  # type: ignore[arg-type]  # the values are literals
        await client.beta.sessions.threads.events.stream(thread, session_id=session, **asked) as of_thread,  # type: ignore[arg-type]  # the values are literals
        harness(server, session) as leased,
    ):
        await leased.emit(agent_event("span.model_request_start"))
        await leased.preview(start_of(final), delta_of(final, "Hello"), delta_of(final, ", wor"))
        snapshot = None
        async with asyncio.timeout(WAIT_SECONDS):
            async for event in stream:
                snapshot = accumulate_managed_agents_event(snapshot, event)
                if event.type == "event_delta" and snapshot is not None:
                    texts.append(snapshot.content[0].text)  # type: ignore[union-attr]  # a text block
                    if len(texts) == 2:
                        await leased.emit(final)
                if event.type == "agent.message":
                    break
            kinds = [(await anext(of_thread)).type for _ in range(5)]
    assert texts == ["Hello", "Hello, wor"]
    assert snapshot is not None
    assert snapshot.to_dict()["content"] == final["content"]
    assert kinds == ["span.model_request_start", "event_start", "event_delta", "event_delta", "agent.message"]


async def test_threads_events_page_with_the_sdk(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    session = await server.create()
    sent = await send(server, session, *map(str, range(5)))
    pages = client.beta.sessions.threads.events.list(session.replace("sesn_", "sthr_"), session_id=session, limit=2)
    assert [event.id async for event in pages] == [event["id"] for event in sent]
    around = client.beta.sessions.events.list(session, limit=3, extra_query={"around_position": 3})
    assert [event.position async for event in around] == [2, 3, 4]  # type: ignore[union-attr]  # our addition


async def test_the_tool_runner_answers_a_custom_tool(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    @beta_async_tool
    async def deploy(to: str) -> str:
        """Deploy somewhere."""
        return f"deployed to {to}"

    session = await server.create()
    use = agent_event("agent.custom_tool_use", name="deploy", input={"to": "prod"}, session_thread_id=None)
    stop = {"type": "requires_action", "event_ids": [use["id"]]}
    async with harness(server, session) as leased:
        await leased.emit(use, agent_event("session.status_idle", stop_reason=stop, stop_details=None))
        runner = client.beta.sessions.events.tool_runner(session, tools=[deploy], max_idle=0.05)
        called = []
        async with asyncio.timeout(WAIT_SECONDS):
            async for call in runner:
                called.append((call.name, call.posted, call.is_error))
                await leased.emit(agent_event("session.status_running"), agent_event("session.status_idle", **END_TURN))
    assert called == [("deploy", True, False)]
    results = [event for event in await listed(server, session) if event["type"] == "user.custom_tool_result"]
    assert [event["content"] for event in results] == [[{"type": "text", "text": "deployed to prod"}]]


async def test_a_server_that_stops_ends_streams_cleanly_and_the_reconnect_recipe_sees_every_event(
    tmp_path: Path,
) -> None:
    async with server_process(tmp_path) as process, client_of(process.server) as client:
        server = process.server
        session = await server.create()
        events, seen = client.beta.sessions.events, []
        stream = await events.stream(session)
        (first,) = await send(server, session, "first")
        async with asyncio.timeout(20):
            seen.append((await anext(stream)).id)  # type: ignore[union-attr]  # no previews were asked for
            stopping = asyncio.create_task(process.stop(signal.SIGTERM))
            assert [event.type async for event in stream] == []  # the end, no error
            assert await stopping == 0
        await process.start()
        (missed,) = await send(server, session, "missed")
        async with asyncio.timeout(20), await events.stream(session) as again:
            (late,) = await send(server, session, "late")
            known = set(seen)
            async for old in events.list(session):
                if old.id not in known:
                    known.add(old.id)
                    seen.append(old.id)
            (last,) = await send(server, session, "last")
            async for event in again:
                if (new := event.to_dict()["id"]) not in known:
                    seen.append(str(new))
                    break
    assert seen == [event["id"] for event in (first, missed, late, last)]
