"""Lists by position, our addition: resume where a program stopped, rewind, read what led to an event."""

from typing import Any

import pytest

from support.server import TestServer, agent_event, message
from support.streams import harness, listed, said, send


async def positions(server: TestServer, session: str, **query: Any) -> list[int]:
    """Walk all pages; return the positions in the order they came."""
    found: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        params = query | ({"page": cursor} if cursor else {})
        status, answer = await server.user("GET", f"/sessions/{session}/events", params=params)
        assert status == 200, answer
        found += [event["position"] for event in answer["data"]]
        cursor = answer["next_page"]
    return found


async def ten(server: TestServer) -> str:
    """A session of ten events: every third is a tool use, the first is a client's."""
    session = await server.create()
    await send(server, session, "go")
    kinds = ["agent.tool_use" if number % 3 == 0 else "agent.message" for number in range(2, 11)]
    async with harness(server, session) as leased:
        await leased.emit(*(agent_event(kind, content=[], name="bash", input={}) for kind in kinds))
    return session


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ({"after_position": 0}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ({"after_position": 7}, [8, 9, 10]),
        ({"after_position": 10}, []),
        ({"after_position": 99}, []),
        ({"after_position": (1 << 32) - 1}, []),
        ({"before_position": 4}, [1, 2, 3]),
        ({"before_position": 0}, []),
        ({"before_position": 0, "types[]": "agent.message"}, []),
        ({"before_position": 1 << 31}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ({"after_position": 3, "before_position": 6}, [4, 5]),
        ({"after_position": 6, "before_position": 3}, []),
        ({"after_position": 3, "before_position": 8, "order": "desc", "limit": 2}, [7, 6, 5, 4]),
        ({"after_position": 3, "limit": 2}, [4, 5, 6, 7, 8, 9, 10]),
        ({"after_position": 3, "types[]": "agent.tool_use", "limit": 1}, [6, 9]),
        ({"before_position": 9, "types[]": "agent.tool_use", "order": "desc", "limit": 1}, [6, 3]),
        ({"around_position": 5, "limit": 4}, [3, 4, 5, 6]),
        ({"around_position": 5, "limit": 5}, [3, 4, 5, 6, 7]),
        ({"around_position": 5, "limit": 1}, [5]),
        ({"around_position": 5, "limit": 4, "order": "desc"}, [6, 5, 4, 3]),
        ({"around_position": 1, "limit": 4}, [1, 2]),
        ({"around_position": 10, "limit": 6}, [7, 8, 9, 10]),
        ({"around_position": 10}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ({"around_position": 7, "types[]": "agent.tool_use", "limit": 3}, [6, 9]),
        ({"around_position": 9, "types[]": "agent.tool_use", "limit": 4}, [3, 6, 9]),
    ],
)
async def test_slices(server: TestServer, query: dict[str, Any], expected: list[int]) -> None:
    assert await positions(server, await ten(server), **query) == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"after_position": "-1"}, "after_position"),
        ({"after_position": str(1 << 32)}, "after_position"),
        ({"before_position": "x"}, "before_position"),
        ({"before_position": "9" * 5000}, "before_position"),
        ({"around_position": "0"}, "around_position"),
        ({"around_position": "11"}, "around_position"),
        ({"around_position": "5", "after_position": "1"}, "after_position"),
        ({"around_position": "5", "before_position": "1"}, "before_position"),
        ({"around_position": "5", "page": "page_x"}, "page"),
        ({"limit": "9" * 5000}, "limit"),
        ({"created_at[gt]": "9999-12-31T23:59:59-14:00"}, "created_at[gt]"),
        ({"page": ""}, "page"),
    ],
)
async def test_a_bad_slice_is_refused_by_name(server: TestServer, query: dict[str, str], field: str) -> None:
    session = await ten(server)
    status, answer = await server.user("GET", f"/sessions/{session}/events", params=query)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert answer["error"]["message"].startswith(f"{field}: ")


async def test_a_filter_looks_through_a_long_log_piece_by_piece(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("managed_agents.server.services.listing.SCAN_EVENTS", 3)
    session = await ten(server)
    uses = {"types[]": "agent.tool_use"}
    for limit in (1, 2, 3, 4):
        assert await positions(server, session, **uses, limit=limit) == [3, 6, 9]
        assert await positions(server, session, **uses, limit=limit, order="desc") == [9, 6, 3]
    assert await positions(server, session, **{"types[]": "session.error"}) == []
    assert await positions(server, session, **{"created_at[gte]": "1969-01-01T00:00:00Z", "limit": 4}) == [
        *range(2, 11)
    ]


async def test_queued_events_stand_where_they_were_accepted(server: TestServer) -> None:
    session = await server.create()
    first, second = await send(server, session, "first", "second")
    async with harness(server, session) as leased:
        await leased.emit(said("a"))
        await leased.emit(said("b"), processed=[second["id"], first["id"]])
        (queued,) = await send(server, session, "queued")
        events = await listed(server, session)
    assert [event["position"] for event in events] == [1, 2, 3, 4, 5]
    assert events[4] == queued
    assert events[0]["processed_at"] == events[3]["processed_at"] > events[2]["processed_at"]
    since = {"created_at[gte]": events[3]["processed_at"]}
    assert await positions(server, session, **since) == [1, 2, 4]
    assert await positions(server, session, **since, **{"types[]": "user.message"}) == [1, 2]
    until = {"created_at[lte]": events[2]["processed_at"].replace("Z", " 00:00")}  # a `+` that was not encoded
    assert await positions(server, session, **until) == [3]


async def test_the_primary_threads_events_are_the_sessions(server: TestServer) -> None:
    session = await ten(server)
    thread = session.replace("sesn_", "sthr_")
    path = f"threads/{thread}/events"
    assert await listed(server, session, path) == await listed(server, session)
    found, query = [], {"limit": "4"}
    while True:
        _, answer = await server.user("GET", f"/sessions/{session}/{path}", params=query)
        found += [event["position"] for event in answer["data"]]
        if answer["next_page"] is None:
            break
        query["page"] = answer["next_page"]
    assert found == list(range(1, 11))
    status, _ = await server.user("GET", f"/sessions/{session}/events", params=query)
    assert status == 400  # a cursor of the thread's list is none of the session's
    for name, value in (("order", "desc"), ("types[]", "agent.message"), ("created_at[gt]", "x"), ("page", "page_x")):
        status, answer = await server.user("GET", f"/sessions/{session}/{path}", params={name: value})
        assert (status, answer["error"]["message"].startswith(name.removesuffix("[]"))) == (400, True)


async def test_a_thread_that_is_not_there_is_404_as_is_another_sessions(server: TestServer) -> None:
    session, other = await server.create("a"), await server.create("b")
    for thread in ("sthr_unknown0", other.replace("sesn_", "sthr_")):
        for path in ("events", "stream"):
            status, answer = await server.user("GET", f"/sessions/{session}/threads/{thread}/{path}")
            assert (status, answer["error"]["type"]) == (404, "not_found_error")
    server.kubernetes.allowed = lambda _: False
    hidden = await server.create("c")
    status, _ = await server.user("GET", f"/sessions/{hidden}/threads/{hidden.replace('sesn_', 'sthr_')}/events")
    assert status == 404


async def test_every_event_carries_its_position_wherever_it_is_shown(server: TestServer) -> None:
    session = await server.create()
    status, echoed = await server.user("POST", f"/sessions/{session}/events", {"events": [message("a"), message("b")]})
    assert (status, [event["position"] for event in echoed["data"]]) == (200, [1, 2])
    assert await listed(server, session) == echoed["data"]
