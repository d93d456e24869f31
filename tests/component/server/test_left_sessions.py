"""The check of the sessions that a cluster test leaves: what is a breach, and what only has no events to read yet."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import anthropic
import pytest

from managed_agents.contracts.events import types
from support.left_sessions import Left, left_session, left_sessions, newest_session, require_order
from support.public_sessions import HEADERS, HELLO, NAMESPACE, Shelf, apply, emit, session_spec
from support.requirements import requirement
from support.server import USER_TOKEN, TestServer, agent_event
from support.waiting import until

T = TypeVar("T")


async def asked(server: TestServer, ask: Callable[[anthropic.Anthropic], T]) -> T:
    """Let a synchronous client ask, as a cluster test does, beside the server's own loop."""

    def run() -> T:
        with anthropic.Anthropic(
            base_url=server.public_url, api_key=USER_TOKEN, default_headers=HEADERS, max_retries=0
        ) as client:
            return ask(client)

    return await asyncio.to_thread(run)


def left(client: anthropic.Anthropic) -> list[Left]:
    return list(left_sessions(client))


async def lease(server: TestServer, session: str) -> int:
    await server.register(session, f"pod-{session}")
    async with server.wake(f"pod-{session}") as socket:
        epoch: int = (await server.leased(socket))["epoch"]
        return epoch


def running() -> list[dict[str, Any]]:
    return [agent_event(types.STATUS_RUNNING), agent_event(types.THREAD_RUNNING)]


def idle() -> list[dict[str, Any]]:
    stop = {"stop_reason": {"type": "end_turn"}, "stop_details": None}
    usage = agent_event(types.SESSION_USAGE, usage={})
    return [agent_event(types.THREAD_IDLE, **stop), usage, agent_event(types.STATUS_IDLE, **stop)]


@requirement("order")
async def test_session_that_kept_the_order_is_clean_and_one_that_broke_it_is_named(server: TestServer) -> None:
    kept, broke = await server.create("kept"), await server.create("broke")
    await emit(server, kept, await lease(server, kept), *running(), *idle())
    await emit(server, broke, await lease(server, broke), *running(), *idle()[1:])
    found = {one.session: one for one in await asked(server, left)}
    assert found[kept] == Left(session=kept)
    assert "session.usage directly after session.thread_status_running" in found[broke].breaches[0]
    with pytest.raises(AssertionError, match=f"{broke}: position 3"):
        await asked(server, require_order)


@requirement("order")
async def test_session_at_work_is_held_to_what_it_did_so_far(server: TestServer) -> None:
    session = await server.create()
    await emit(server, session, await lease(server, session), *running())
    assert (await server.user("POST", f"/sessions/{session}/events", {"events": [HELLO]}))[0] == 200
    assert await asked(server, left) == [Left(session=session)]


@requirement("order")
async def test_only_sessions_since_a_moment_are_checked_archived_ones_too(server: TestServer) -> None:
    assert await asked(server, newest_session) is None
    await server.create("before", created_at="2026-01-02T00:00:00Z")
    since = await asked(server, newest_session)
    after = await server.create("after", created_at="2026-01-02T00:00:01Z")
    assert (await server.operator("PUT", f"/sessions/{after}", {"archived": True}))[0] == 200
    assert [one.session for one in await asked(server, lambda client: list(left_sessions(client, since)))] == [after]


@requirement("order")
async def test_session_without_events_yet_is_told_apart_from_a_breach(server: TestServer, shelf: Shelf) -> None:
    apply(server.kube, "sessions", "by-hand", session_spec())
    await until(lambda: any(True for _ in server.objects.sessions.reflector))
    (fresh,) = await asked(server, left)
    assert (fresh.breaches, fresh.without_events) == (
        (),
        f"session {fresh.session} was applied just now and takes events in a moment; try again",
    )
    waits = {"type": "Ready", "status": "False", "reason": "PackagesPending", "message": "pip is installing"}
    server.kube.set_status("sessions", NAMESPACE, "by-hand", conditions=[waits])
    await until(lambda: "status" in next(iter(server.objects.sessions.reflector)))
    (found,) = await asked(server, left)
    assert (found.breaches, found.without_events) == ((), f"session {fresh.session} is not accepted: pip is installing")
    gone = await asked(server, lambda client: left_session(client, "sesn_gone"))
    assert gone.without_events == "session sesn_gone not found"
    await asked(server, require_order)


@requirement("order")
async def test_any_other_refusal_is_a_failure(server: TestServer) -> None:
    session = await server.create()
    server.kubernetes.down = True
    with pytest.raises(anthropic.APIStatusError) as refused:
        await asked(server, lambda client: left_session(client.with_options(api_key="another"), session))
    assert refused.value.status_code == 503
    server.kubernetes.down = False
    with pytest.raises(anthropic.AuthenticationError):
        await asked(server, lambda client: left_session(client.with_options(api_key="another"), session))
