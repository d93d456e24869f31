"""Server-sent events: what a reader sees, when, and what happens to a slow one (I12, F25, F26)."""

import asyncio

import pytest

from support.requirements import requirement
from support.server import USER_TOKEN, TestServer, agent_event
from support.streams import delta_of, harness, listed, reading, said, send, start_of


@requirement("I12")
async def test_a_stream_shows_what_happens_from_now_on_and_equals_the_list(server: TestServer) -> None:
    session = await server.create()
    await send(server, session, "before")
    async with reading(server, session) as reader:
        sent = await send(server, session, "a", "b")
        assert await reader.take(2) == sent
        async with harness(server, session) as leased:
            await leased.emit(agent_event("session.status_running"), processed=[event["id"] for event in sent])
        processed = await reader.take(3)
        assert [(event["type"], event["processed_at"] is None) for event in processed] == [
            ("user.message", False),
            ("user.message", False),
            ("session.status_running", False),
        ]
        by_id = {event["id"]: event for event in [*sent, *processed]}
        assert list(by_id.values()) == (await listed(server, session))[1:]


async def test_idle_streams_carry_comments(server: TestServer) -> None:
    session = await server.create()
    async with reading(server, session) as reader:
        assert await reader.raw() == [": heartbeat"]


@requirement("I12", "F26")
async def test_last_event_id_resumes_after_it(server: TestServer) -> None:
    session, other = await server.create("a"), await server.create("b")
    sent = await send(server, session, *map(str, range(10)))
    async with reading(server, session, **{"Last-Event-ID": sent[3]["id"]}) as reader:
        assert await reader.take(6) == sent[4:]
        more = await send(server, session, "more")
        assert await reader.take(1) == more
    async with reading(server, session, **{"Last-Event-ID": more[0]["id"]}) as reader:
        last = await send(server, session, "last")
        assert await reader.take(1) == last
    url = f"{server.public_url}/v1/sessions/{session}/events/stream"
    for unknown in ("garbage", "sevt_0123456789", (await send(server, other, "x"))[0]["id"]):
        headers = {"Authorization": f"Bearer {USER_TOKEN}", "Last-Event-ID": unknown}
        async with server.http.get(url, headers=headers) as response:
            assert response.status == 400
            assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_a_resumed_reader_hears_what_was_processed_while_it_was_away(server: TestServer) -> None:
    session = await server.create()
    done, queued = await send(server, session, "done", "queued")
    async with harness(server, session) as leased:
        await leased.emit(agent_event("session.status_running"), processed=[done["id"]])
        (last,) = await send(server, session, "last")
        await leased.emit(said("a"), processed=[queued["id"]])
        await leased.emit(processed=[last["id"]])
        now = await listed(server, session)
        async with reading(server, session, **{"Last-Event-ID": last["id"]}) as reader:
            shown = {event["id"]: event for event in await reader.take(4)}
            assert list(shown.values()) == [now[0], now[1], now[3], now[4]]  # `done` too: a copy too many is harmless
        async with reading(server, session, **{"Last-Event-ID": now[2]["id"]}) as reader:
            (more,) = await send(server, session, "more")
            shown = {event["id"]: event for event in await reader.take(5)}
            assert shown == {event["id"]: event for event in [now[0], now[1], now[3], now[4], more]}


async def test_last_event_id_of_the_newest_event_resumes_with_what_comes(server: TestServer) -> None:
    session = await server.create()
    async with harness(server, session) as leased:
        for first in (0, 900):  # more than two pages
            await leased.emit(*(said(str(number)) for number in range(first, first + 600)))
        events = [*await listed(server, session), *await listed(server, session, after_position=1000)]
        async with reading(server, session, **{"Last-Event-ID": events[0]["id"]}) as reader:
            assert await reader.take(1199) == events[1:]
        async with reading(server, session, **{"Last-Event-ID": events[-1]["id"]}) as reader:
            (more,) = await send(server, session, "more")
            assert await reader.take(1) == [more]


async def test_a_reader_that_resumes_while_others_write_misses_nothing(server: TestServer) -> None:
    session = await server.create()
    first = await send(server, session, "first")
    await send(server, session, *(["x"] * 90))
    writing = asyncio.create_task(write_many(server, session))
    async with reading(server, session, **{"Last-Event-ID": first[0]["id"]}) as reader:
        await writing
        expected = (await listed(server, session))[1:]
        assert await reader.take(len(expected)) == expected


async def write_many(server: TestServer, session: str) -> None:
    for number in range(30):
        await send(server, session, str(number))


async def test_deletion_ends_streams_with_its_event(server: TestServer) -> None:
    session = await server.create()
    async with reading(server, session) as reader:
        await server.operator("DELETE", f"/sessions/{session}")
        rest = await reader.rest()
        assert [event["type"] for event in rest] == ["session.deleted"]
        assert set(rest[0]) == {"type", "id", "processed_at"}


ASKED = "?event_deltas%5B%5D=agent.message&event_deltas[]=agent.thinking"


async def test_previews_go_to_those_who_asked_and_end_with_their_event(server: TestServer) -> None:
    session = await server.create()
    final, request = said("Hello"), agent_event("span.model_request_start")
    start, delta = start_of(final), delta_of(final, "Hel")
    async with (
        reading(server, session, ASKED) as asked,
        reading(server, session) as plain,
        harness(server, session) as leased,
    ):
        await leased.preview(start, delta)  # no request runs: left out
        await leased.emit(request)
        await leased.preview(delta, start, delta, start, delta)  # a delta before its start, a second start: left out
        assert [event["type"] for event in await asked.take(1)] == ["span.model_request_start"]
        assert await asked.take(3) == [start, delta, delta]
        await leased.preview({"type": "agent.message", "id": "forged"})
        await leased.emit(final)
        await leased.preview(delta, start)
        after = await send(server, session, "after")
        assert [event["id"] for event in await asked.take(2)] == [final["id"], after[0]["id"]]
        assert [event["id"] for event in await plain.take(3)] == [request["id"], final["id"], after[0]["id"]]
    assert [event["type"] for event in await listed(server, session)] == [
        "span.model_request_start",
        "agent.message",
        "user.message",
    ]


async def test_a_reader_gets_no_previews_of_a_request_that_was_in_flight_when_it_came(server: TestServer) -> None:
    session = await server.create()
    first, second, third = said("one"), said("two"), said("three")
    request = agent_event("span.model_request_start")
    async with reading(server, session, ASKED) as early, harness(server, session) as leased:
        await leased.emit(request)
        await leased.preview(start_of(first))
        assert len(await early.take(2)) == 2
        async with (
            reading(server, session, ASKED) as late,
            reading(server, session, ASKED, **{"Last-Event-ID": request["id"]}) as resumed,
        ):
            await resumed.caught_up()  # a request that starts before would show it no previews either
            await leased.preview(delta_of(first, "one"), start_of(second))
            assert await early.take(2) == [delta_of(first, "one"), start_of(second)]
            await leased.emit(
                first, second, agent_event("span.model_request_end", model_request_start_id=request["id"])
            )
            await leased.emit(agent_event("span.model_request_start"))
            await leased.preview(start_of(third))
            for reader in (late, resumed):
                shown = await reader.take(5)
                assert [event["type"] for event in shown[:2]] == ["agent.message", "agent.message"]
                assert shown[4] == start_of(third)


async def test_deltas_stay_a_prefix_of_the_text_and_their_indices_in_order(server: TestServer) -> None:
    session = await server.create()
    final, thinking = said("Hello"), agent_event("agent.thinking")
    async with reading(server, session, ASKED) as reader, harness(server, session) as leased:
        await leased.emit(agent_event("span.model_request_start"))
        await leased.preview(start_of(thinking), delta_of(thinking, "secret"))
        await leased.preview(
            start_of(final), delta_of(final, "Hel"), delta_of(final, "!", index=2), delta_of(final, "lo")
        )
        await leased.emit(final)
        shown = await reader.take(5)
        assert shown[1:4] == [start_of(thinking), start_of(final), delta_of(final, "Hel")]
        assert shown[4]["id"] == final["id"]


@pytest.mark.parametrize(
    "query", ["?event_deltas[]=agent.tool_use", "?event_deltas[]=", "?" + "event_deltas[]=agent.message&" * 101]
)
async def test_bad_event_deltas_are_refused(server: TestServer, query: str) -> None:
    session = await server.create()
    status, answer = await server.user("GET", f"/sessions/{session}/events/stream{query}")
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


@requirement("F25")
async def test_a_stalled_reader_is_dropped_and_others_are_not(server: TestServer) -> None:
    session = await server.create()
    assert server.running is not None
    streams = server.running.context.streams
    url = f"{server.public_url}/v1/sessions/{session}/events/stream"
    stalled = await server.http.get(url, headers={"Authorization": f"Bearer {USER_TOKEN}"}, read_bufsize=1024)
    async with reading(server, session) as reader:
        assert len(streams) == 2
        text, sent = "x" * 400_000, 0
        while len(streams) == 2:
            await send(server, session, text)
            assert (await reader.take(1))[0]["content"][0]["text"] == text
            sent += 1
            assert sent < 100
        assert len(streams) == 1
        await send(server, session, "still here")
        assert (await reader.take(1))[0]["content"][0]["text"] == "still here"
    stalled.close()
    async with server.http.get(server.public_url + "/metrics") as response:
        assert "managed_agents_server_dropped_streams_total 1.0" in await response.text()
