"""The official SDK, unmodified, against a running server: send, list, stream; and our shapes under its models."""

import asyncio
import typing

import anthropic
import pytest
from anthropic.types.beta.sessions.beta_managed_agents_session_event_type import BetaManagedAgentsSessionEventType

from managed_agents.contracts.events import types
from managed_agents.contracts.ids import primary_thread_id_for
from managed_agents.server.services.event_types import LISTED
from support.server import USER_TOKEN, WAIT_SECONDS, TestServer, agent_event, message


def turn(session: str) -> list[dict[str, object]]:
    """Return the events of one turn as a harness emits them."""
    thread = {"session_thread_id": primary_thread_id_for(session), "agent_name": "Repair bot"}  # type: ignore[arg-type] # an id from the server
    usage = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    start = agent_event(types.REQUEST_START)
    use = agent_event(
        types.AGENT_TOOL_USE, name="bash", input={"command": "ls"}, evaluated_permission="allow", session_thread_id=None
    )
    return [
        agent_event(types.STATUS_RUNNING),
        agent_event(types.THREAD_RUNNING, **thread),
        start,
        agent_event(types.AGENT_THINKING, internal={"signature": "secret"}),
        agent_event(types.AGENT_MESSAGE, content=[{"type": "text", "text": "Hello"}]),
        use,
        agent_event(types.REQUEST_END, model_request_start_id=start["id"], is_error=False, model_usage=usage),
        agent_event(types.AGENT_TOOL_RESULT, tool_use_id=use["id"], content=[], is_error=False),
        agent_event(types.THREAD_IDLE, **thread, stop_reason={"type": "end_turn"}, stop_details=None),
        agent_event(types.STATUS_IDLE, stop_reason={"type": "end_turn"}, stop_details=None),
    ]


async def test_send_stream_and_list_with_the_official_client(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    session = await server.create()
    await server.register(session)
    events = client.beta.sessions.events
    async with server.wake() as socket, await events.stream(session, event_deltas=["agent.message"]) as stream:
        epoch = (await server.leased(socket))["epoch"]
        sent = await events.send(
            session, events=[{"type": "user.message", "content": [{"type": "text", "text": "Hi"}]}]
        )
        assert sent.data is not None
        assert (sent.data[0].type, sent.data[0].processed_at) == ("user.message", None)
        emitted = turn(session)
        first = {"epoch": epoch, "events": emitted[:3], "processed": [sent.data[0].id]}
        assert (await server.harness("pod-1", "POST", f"/sessions/{session}/events", first))[0] == 200
        body = {"epoch": epoch, "events": emitted[3:]}
        start = {"type": "event_start", "event": {"type": "agent.message", "id": emitted[4]["id"]}}
        await socket.send_json({"type": "preview", "event": start})
        shown = []
        async with asyncio.timeout(WAIT_SECONDS):
            async for event in stream:
                shown.append(event.type)
                if event.type == "event_start":
                    status, answer = await server.harness("pod-1", "POST", f"/sessions/{session}/events", body)
                    assert status == 200, answer
                if event.type == types.STATUS_IDLE:
                    break
    kinds = [str(event["type"]) for event in emitted]
    assert shown == ["user.message", "user.message", *kinds[:3], "event_start", *kinds[3:]]
    listed = [event async for event in events.list(session, limit=4)]
    assert [event.type for event in listed] == ["user.message", *[event["type"] for event in emitted]]
    assert all(event.processed_at is not None for event in listed)
    assert "secret" not in "".join(event.to_json() for event in listed)
    filtered = [event async for event in events.list(session, types=["agent.message"], order="desc", limit=1)]
    assert [event.id for event in filtered] == [emitted[4]["id"]]


async def test_errors_reach_the_clients_own_classes(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    session = await server.create()
    with pytest.raises(anthropic.NotFoundError):
        await client.beta.sessions.events.list("sesn_unknown0")
    with pytest.raises(anthropic.BadRequestError) as raised:
        await client.beta.sessions.events.send(session, events=[{"type": "user.message", "content": []}])
    assert "events.0.content" in raised.value.message
    assert (raised.value.request_id or "").startswith("req_")
    with pytest.raises(anthropic.NotFoundError, match="not built into this server yet"):
        await client.beta.memory_stores.list()
    denied = anthropic.AsyncAnthropic(base_url=server.public_url, api_key="nobody", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        await denied.beta.sessions.events.list(session)
    await denied.close()


async def test_an_older_client_that_sends_its_key_as_x_api_key_and_beta_true(server: TestServer) -> None:
    session = await server.create()
    url = f"{server.public_url}/v1/sessions/{session}/events?beta=true"
    headers = {"X-Api-Key": USER_TOKEN, "anthropic-version": "2023-06-01", "Accept": "application/json"}
    async with server.http.post(url, headers=headers, json={"events": [message("hi")]}) as response:
        assert response.status == 200


def test_the_list_knows_every_type_of_the_official_client() -> None:
    assert set(typing.get_args(BetaManagedAgentsSessionEventType)) == LISTED
