"""Sending and listing events through the public door."""

import io
from typing import Any

import pytest

from managed_agents.contracts.ids import primary_thread_id_for
from support.requirements import requirement
from support.server import TestServer, agent_event, message


async def emit(server: TestServer, session: str, *events: dict[str, Any], pod: str = "pod-1") -> None:
    """Append events as the session's harness, under an epoch taken for it."""
    assert server.running is not None
    epoch = (await server.running.context.log.take_epoch(session)).epoch
    await server.register(session, pod)
    body = {"epoch": epoch, "events": list(events)}
    status, answer = await server.harness(pod, "POST", f"/sessions/{session}/events", body)
    assert status == 200, answer


async def send(server: TestServer, session: str, *events: Any, **kwargs: Any) -> tuple[int, Any]:
    return await server.user("POST", f"/sessions/{session}/events", {"events": list(events)}, **kwargs)


async def test_sent_events_are_echoed_listed_and_make_the_session_wanted(server: TestServer) -> None:
    session = await server.create()
    status, answer = await send(server, session, message("hello"), {"type": "user.interrupt"})
    assert status == 200
    assert [(event["type"], event["processed_at"]) for event in answer["data"]] == [
        ("user.message", None),
        ("user.interrupt", None),
    ]
    assert await server.user("GET", f"/sessions/{session}/events") == (200, {"data": answer["data"], "next_page": None})
    summary = (await server.operator("GET", f"/sessions/{session}"))[1]
    assert (summary["wanted"], summary["head"], summary["client_head"], summary["status"]) == (True, 2, 2, "idle")


async def test_an_interrupt_of_an_idle_session_is_processed_on_receipt(server: TestServer) -> None:
    session = await server.create()
    _, answer = await send(server, session, {"type": "user.interrupt"}, message("go on"))
    assert [event["processed_at"] is None for event in answer["data"]] == [False, True]
    other = await server.create("other")
    await send(server, other, {"type": "user.interrupt"})
    assert (await server.operator("GET", f"/sessions/{other}"))[1]["wanted"] is False


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "user.message"}, "events.0.content: Field required"),
        ({"type": "user.message", "content": []}, "events.0.content: List should have at least 1 item"),
        (message("  "), "events.0.content: text blocks must contain non-whitespace text"),
        ({"type": "user.message", "content": [{"type": "text"}]}, "events.0.content.0.text: Field required"),
        ({"type": "user.message", "content": [{"type": "redacted"}]}, "events.0.content.0.type: redacted blocks"),
        (
            {
                "type": "user.message",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}],
            },
            "events.0.content.0.source.data: must be base64",
        ),
        ({"type": "user.message", "content": [{"type": "text", "text": "a"}], "x": 1}, "events.0.x: Extra inputs"),
        ({"type": "user.define_outcome"}, "events.0.type: user.define_outcome is not supported by this server yet"),
        ({"type": "system.message"}, "events.0.content: Field required"),
        ({"type": "user.tool_result"}, "events.0.tool_use_id: Field required"),
        ({"type": "agent.message"}, "events.0.type: must be one of"),
        ("text", "events.0.type: must be one of"),
        ({"type": "user.interrupt", "session_thread_id": "sthr_other"}, "events.0.session_thread_id: this session's"),
        (
            {"type": "user.tool_confirmation", "tool_use_id": "sevt_1", "result": "allow"},
            "events.0.tool_use_id: sevt_1",
        ),
        (
            {"type": "user.tool_confirmation", "tool_use_id": "x", "result": "allow", "deny_message": "y"},
            "events.0: deny_message is only allowed when result is deny",
        ),
        ({"type": "user.custom_tool_result", "custom_tool_use_id": "x"}, "events.0.custom_tool_use_id: x names no"),
    ],
)
async def test_a_bad_event_is_refused_with_its_path_and_nothing_is_stored(
    server: TestServer, event: Any, expected: str
) -> None:
    session = await server.create()
    status, answer = await send(server, session, event)
    assert (status, answer["type"], answer["error"]["type"]) == (400, "error", "invalid_request_error")
    assert answer["error"]["message"].startswith(expected), answer
    assert answer["request_id"].startswith("req_")
    assert (await server.user("GET", f"/sessions/{session}/events"))[1]["data"] == []


@pytest.mark.parametrize("body", [None, [], {"events": {}}, {"events": []}, {"events": [message("a")], "x": 1}])
async def test_a_bad_body_is_refused(server: TestServer, body: Any) -> None:
    session = await server.create()
    assert (await server.user("POST", f"/sessions/{session}/events", body))[0] == 400


async def test_confirmations_and_custom_results_need_a_pending_use(server: TestServer) -> None:
    session = await server.create()
    ask = agent_event("agent.tool_use", name="bash", input={}, evaluated_permission="ask")
    custom = agent_event("agent.custom_tool_use", name="deploy", input={"to": "prod"})
    stop = {"type": "requires_action", "event_ids": [ask["id"], custom["id"]]}
    await emit(server, session, ask, custom, agent_event("session.status_idle", stop_reason=stop))
    summary = (await server.operator("GET", f"/sessions/{session}"))[1]
    assert summary["requires_action"] == [
        {"event_id": ask["id"], "tool": "bash", "input_excerpt": "{}"},
        {"event_id": custom["id"], "tool": "deploy", "input_excerpt": '{"to":"prod"}'},
    ]
    confirm = {"type": "user.tool_confirmation", "tool_use_id": ask["id"], "result": "deny", "deny_message": "no"}
    result = {"type": "user.custom_tool_result", "custom_tool_use_id": custom["id"], "content": []}
    assert (await send(server, session, confirm | {"tool_use_id": custom["id"]}))[0] == 400
    status, answer = await send(server, session, confirm, result)
    assert status == 200
    assert [event["processed_at"] is None for event in answer["data"]] == [True, False]
    assert answer["data"][0] == {
        **confirm,
        "id": answer["data"][0]["id"],
        "session_thread_id": None,
        "processed_at": None,
        "position": 4,
    }
    assert (await send(server, session, confirm))[0] == 400
    assert (await server.operator("GET", f"/sessions/{session}"))[1]["wanted"] is True


@requirement("A4")
async def test_at_the_budget_only_what_settles_is_accepted(server: TestServer) -> None:
    session = await server.create(budget={"amount": "100", "currency": "USD"})
    await emit(server, session, agent_event("session.status_idle", stop_reason={"type": "budget_reached"}))
    status, answer = await send(server, session, message("more"))
    assert (status, "budget is reached" in answer["error"]["message"]) == (400, True)
    thread = primary_thread_id_for(session)  # type: ignore[arg-type] # an id from the server
    assert (await send(server, session, {"type": "user.interrupt", "session_thread_id": thread}))[0] == 200
    await server.create(budget={"amount": "200", "currency": "USD"})
    assert (await send(server, session, message("more")))[0] == 200


async def test_a_terminated_session_answers_400_not_409(server: TestServer) -> None:
    session = await server.create()
    body: dict[str, Any] = {"events": [], "archived": True}  # without a config the stored one stays
    assert (await server.operator("PUT", "/sessions/sesn_unknown0", body))[0] == 404
    assert (await server.operator("PUT", f"/sessions/{session}", body))[1]["status"] == "terminated"
    status, answer = await send(server, session, message("hello"))
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    summary = (
        await server.operator("PUT", f"/sessions/{session}", body | {"events": [{"name": "a", **message("x")}]})
    )[1]
    assert [entry["reason"] for entry in summary["rejected"]] == ["Terminated"]


async def test_an_idempotency_key_gives_the_first_answer(server: TestServer) -> None:
    session = await server.create()
    key = {"headers": {"Idempotency-Key": "k1"}}
    first = await send(server, session, message("once"), **key)
    for _ in range(3):
        assert await send(server, session, message("once"), **key) == first
    status, answer = await send(server, session, message("other"), **key)
    assert (status, answer["error"]["type"]) == (422, "invalid_request_error")
    assert len((await server.user("GET", f"/sessions/{session}/events"))[1]["data"]) == 1


async def test_spec_events_are_delivered_once_rejected_for_ever_and_later_ones_proceed(server: TestServer) -> None:
    bad = {"name": "bad", "type": "user.tool_confirmation", "tool_use_id": "none", "result": "allow"}
    events = [{"name": "one", **message("1")}, bad, {"name": "two", **message("2")}]
    session = await server.create("repair-42", *events)
    for _ in range(2):
        await server.create("repair-42", *events)
    summary = (await server.operator("GET", f"/sessions/{session}"))[1]
    assert (summary["delivered"], [entry["name"] for entry in summary["rejected"]]) == (["one", "two"], ["bad"])
    assert summary["rejected"][0]["reason"] == "NotPending"
    assert summary["head"] == 2
    await server.create("repair-42", {"name": "two", **message("2")}, {"name": "bad", **message("mended")})
    summary = (await server.operator("GET", f"/sessions/{session}"))[1]
    assert (summary["delivered"], len(summary["rejected"]), summary["head"]) == (["two"], 1, 2)


async def pages(server: TestServer, session: str, **query: Any) -> list[list[int]]:
    """Walk through all pages; return the numbers in the texts."""
    found, cursor = [], ""
    while cursor is not None:
        params = query | ({"page": cursor} if cursor else {})
        status, answer = await server.user("GET", f"/sessions/{session}/events", params=params)
        assert status == 200, answer
        found.append([int(event["content"][0]["text"]) for event in answer["data"]])
        cursor = answer["next_page"]
    return found


async def test_lists_page_both_ways_and_filter(server: TestServer) -> None:
    session = await server.create()
    for number in range(1, 6):
        await send(server, session, message(str(number)))
    assert await pages(server, session) == [[1, 2, 3, 4, 5]]
    assert await pages(server, session, limit=2) == [[1, 2], [3, 4], [5]]
    assert await pages(server, session, limit=2, order="desc") == [[5, 4], [3, 2], [1]]
    assert await pages(server, session, limit=5) == [[1, 2, 3, 4, 5]]
    assert await pages(server, session, after_position=1, before_position=4) == [[2, 3]]
    assert await pages(server, session, **{"types[]": "agent.message"}) == [[]]
    assert await pages(server, session, **{"types[]": "user.message", "limit": 4}) == [[1, 2, 3, 4], [5]]
    assert await pages(server, session, **{"created_at[gte]": "2020-01-01T00:00:00Z"}) == [[]]  # none is processed


async def test_created_at_filters_compare_with_processed_at(server: TestServer) -> None:
    session = await server.create()
    await emit(server, session, agent_event("agent.message", content=[{"type": "text", "text": "1"}]))
    await emit(server, session, agent_event("agent.message", content=[{"type": "text", "text": "2"}]))
    events = (await server.user("GET", f"/sessions/{session}/events"))[1]["data"]
    second = events[1]["processed_at"]
    assert await pages(server, session, **{"created_at[lt]": second}) == [[1]]
    assert await pages(server, session, **{"created_at[gte]": second}) == [[2]]
    assert await pages(server, session, **{"created_at[gt]": second}) == [[]]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "x"},
        {"order": "up"},
        {"page": "page_forged"},
        {"page": "x"},
        {"page": "page_é"},
        {"types[]": "session.deleted"},
        {"types[]": "nonsense"},
        {"created_at[gt]": "yesterday"},
        {"created_at[gt]": "2026-01-01T00:00:00"},
        {"after_position": "-1"},
    ],
)
async def test_a_bad_query_is_refused(server: TestServer, query: dict[str, str]) -> None:
    session = await server.create()
    status, answer = await server.user("GET", f"/sessions/{session}/events", params=query)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


async def test_a_cursor_belongs_to_one_session_and_order(server: TestServer) -> None:
    session, other = await server.create("a"), await server.create("b")
    for name in (session, other):
        await send(server, name, message("1"), message("2"))
    cursor = (await server.user("GET", f"/sessions/{session}/events?limit=1"))[1]["next_page"]
    assert (await server.user("GET", f"/sessions/{session}/events", params={"page": cursor}))[0] == 200
    for path, query in ((other, {}), (session, {"order": "desc"})):
        status, _ = await server.user("GET", f"/sessions/{path}/events", params={"page": cursor, **query})
        assert status == 400


@requirement("A28")
async def test_who_may_not_read_gets_404_and_who_may_only_read_gets_403(server: TestServer) -> None:
    session = await server.create()
    server.kubernetes.allowed = lambda _: False
    for method, body in (("GET", None), ("POST", {"events": [message("x")]})):
        status, hidden = await server.user(method, f"/sessions/{session}/events", body)
        status_unknown, unknown = await server.user(method, "/sessions/sesn_unknown0/events", body)
        assert (status, status_unknown) == (404, 404)
        assert hidden["error"]["message"].replace(session, "sesn_unknown0") == unknown["error"]["message"]
    server.kubernetes.allowed = lambda spec: bool(spec["resourceAttributes"]["verb"] == "get")
    reader = await server.create("other")
    assert (await server.user("GET", f"/sessions/{reader}/events"))[0] == 200
    status, answer = await send(server, reader, message("x"))
    assert (status, answer["error"]["type"]) == (403, "permission_error")
    asked = server.kubernetes.reviews[-1]["spec"]
    assert asked["resourceAttributes"] | {"verb": ""} == {
        "group": "managedagents.dev",
        "resource": "sessions",
        "verb": "",
        "namespace": "team-a",
        "name": "other",
    }


async def test_credentials_come_either_way_and_are_needed(server: TestServer) -> None:
    session = await server.create()
    url = f"{server.public_url}/v1/sessions/{session}/events"
    async with server.http.get(url, headers={"X-Api-Key": "user-token"}) as response:
        assert response.status == 200
        assert response.headers["request-id"].startswith("req_")
    for headers in ({}, {"Authorization": "Bearer nobody"}, {"Authorization": "Basic user-token"}):
        async with server.http.get(url, headers=headers) as response:
            answer = await response.json()
            assert (response.status, answer["error"]["type"]) == (401, "authentication_error")
            assert answer["request_id"] == response.headers["request-id"]


async def test_other_routes_answer_404_in_the_apis_form(server: TestServer) -> None:
    for method, path in (("POST", "/deployments"), ("GET", "/memory_stores"), ("DELETE", "/sessions/x/events")):
        status, answer = await server.user(method, path)
        assert (status, answer["error"]["type"]) == (404, "not_found_error")
        assert "not built into this server yet" in answer["error"]["message"]


async def test_a_body_above_the_limit_is_413(server: TestServer) -> None:
    session = await server.create()
    url = f"{server.public_url}/v1/sessions/{session}/events"
    headers = {"Authorization": "Bearer user-token", "Content-Type": "application/json"}
    async with server.http.post(url, headers=headers, data=io.BytesIO(b" " * (32 * 1024 * 1024 + 1))) as response:
        assert (response.status, (await response.json())["error"]["type"]) == (413, "request_too_large")


async def test_probes_and_metrics_answer(server: TestServer) -> None:
    session = await server.create()
    await send(server, session, message("x"))
    for path in ("/healthz", "/readyz", "/metrics"):
        async with server.http.get(server.public_url + path) as response:
            text = await response.text()
            assert response.status == 200
    assert "managed_agents_server_append_seconds_count 1.0" in text
    assert 'managed_agents_server_events_total{door="client"} 1.0' in text
