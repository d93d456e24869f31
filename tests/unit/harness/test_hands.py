"""One contract for all hands, and what each adapter adds (design §6)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from managed_agents.harness.history.fold import fold
from managed_agents.harness.history.state import State
from managed_agents.harness.settings import Settings
from managed_agents.harness.tools.client import ClientHand
from managed_agents.harness.tools.hand import (
    Call,
    Finished,
    Hand,
    HandLostError,
    HandNotProvisionedError,
    HandUnavailableError,
    HandUnreachableError,
    Lookup,
    NeverSeen,
    Running,
)
from managed_agents.harness.tools.sandbox import SandboxHand
from managed_agents.harness.tools.web import WebHand
from support.hands import FakeHand, FakeSandbox

CALL = Call(id="sevt_call0001", name="bash", input={"command": "ls"})
HELD = Call(id="sevt_call0002", name="bash", input={"command": "sleep"})


class Proxy:
    """The hand listener of docs/internal-api.md over a sandbox in memory."""

    def __init__(self, sandbox: FakeSandbox) -> None:
        self.sandbox = sandbox
        self.answers: list[web.Response] = []
        self.provisions: list[Any] = []
        self.configs: list[Any] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/hands/sandbox/provision", self._provision)
        app.router.add_post("/v1/hands/sandbox/execute", self._guarded(self._execute))
        app.router.add_get("/v1/hands/sandbox/calls/{id}", self._guarded(self._lookup))
        app.router.add_post("/v1/hands/sandbox/calls/{id}/cancel", self._guarded(self._cancel))
        app.router.add_post("/v1/hands/web/execute", self._reached(self._execute))
        app.router.add_get("/v1/hands/web/calls/{id}", self._reached(self._lookup))
        app.router.add_post("/v1/hands/web/calls/{id}/cancel", self._reached(self._cancel))
        return app

    async def _provision(self, request: web.Request) -> web.Response:
        self.provisions.append(await request.json())
        if self.answers:
            return self.answers.pop(0)
        generation = self.sandbox.claim()
        return web.json_response({"state": "ready", "pod_name": f"ma-{generation}", "generation": generation})

    async def _execute(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.configs.append(body.get("config"))
        call = Call(id=body["tool_use_id"], name=body["name"], input=body["input"])
        self.sandbox.begin(call)
        result = self.sandbox.finish(call)
        return web.json_response({"content": list(result.content), "is_error": result.is_error})

    async def _lookup(self, request: web.Request) -> web.Response:
        call_id = request.match_info["id"]
        if call_id not in self.sandbox.journal:
            return refusal(404, "not_found_error")
        result = self.sandbox.journal[call_id]
        if result is None:
            return web.json_response({"state": "running"})
        found = {"content": list(result.content), "is_error": result.is_error}
        return web.json_response({"state": "finished", "result": found})

    async def _cancel(self, request: web.Request) -> web.Response:
        self.sandbox.cancelled.append(request.match_info["id"])
        return web.json_response({"state": "running"})

    def _reached(self, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Any:
        """Serve what needs no sandbox: the proxy answers, or nobody does."""

        async def reached(request: web.Request) -> web.Response:
            if self.sandbox.unreachable:
                assert request.transport is not None
                request.transport.abort()
            return self.answers.pop(0) if self.answers else await handler(request)

        return reached

    def _guarded(self, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Any:
        async def guarded(request: web.Request) -> web.Response:
            try:
                self.sandbox.check()
            except HandNotProvisionedError:
                return refusal(409, "not_provisioned")
            except HandLostError as error:
                return refusal(410, "sandbox_lost", reason=error.reason)
            except HandUnreachableError:
                return refusal(502, "unreachable")
            return self.answers.pop(0) if self.answers else await handler(request)

        return guarded


def refusal(status: int, kind: str, **fields: str) -> web.Response:
    return web.json_response({"error": {"type": kind, "message": f"it is {kind}", **fields}}, status=status)


@pytest.fixture
def sandbox() -> FakeSandbox:
    return FakeSandbox()


@pytest.fixture
async def proxy(sandbox: FakeSandbox) -> Proxy:
    return Proxy(sandbox)


@pytest.fixture
async def connected(proxy: Proxy) -> AsyncIterator[tuple[aiohttp.ClientSession, Settings]]:
    runner = web.AppRunner(proxy.app(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = Settings(
        hand_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
        sandbox_wait_seconds=0.5,
        sandbox_stuck_seconds=0.0,
        provision_poll_seconds=0.0,
    )
    async with aiohttp.ClientSession() as http:
        yield http, settings
    await runner.cleanup()


@pytest.fixture
def real(connected: tuple[aiohttp.ClientSession, Settings]) -> SandboxHand:
    return SandboxHand(*connected, session="sesn_1", epoch=7)


@pytest.fixture
def web_hand(connected: tuple[aiohttp.ClientSession, Settings]) -> WebHand:
    return WebHand(*connected, lambda tool: {"name": tool})


@pytest.fixture(params=["sandbox", "fake", "web"])
def hand(request: pytest.FixtureRequest, sandbox: FakeSandbox, real: SandboxHand, web_hand: WebHand) -> Hand:
    """Every hand that runs something itself."""
    hands: dict[str, Hand] = {"sandbox": real, "fake": FakeHand(sandbox), "web": web_hand}
    return hands[request.param]


@pytest.fixture(params=["sandbox", "fake"])
def lossy(request: pytest.FixtureRequest, sandbox: FakeSandbox, real: SandboxHand) -> Hand:
    """The hands that must be provisioned and may be lost."""
    return real if request.param == "sandbox" else FakeHand(sandbox)


async def test_call_runs_once_however_often_it_is_asked_for(hand: Hand, sandbox: FakeSandbox) -> None:
    assert await hand.provision() == 1
    first, second = await hand.execute(CALL), await hand.execute(CALL)

    assert first == second
    assert first.content == [{"type": "text", "text": "ran ls"}]
    assert sandbox.effects == [CALL.id]


async def test_lookup_runs_nothing(hand: Hand, sandbox: FakeSandbox) -> None:
    await hand.provision()
    assert await hand.lookup(CALL.id) == NeverSeen()
    sandbox.begin(HELD)
    assert await hand.lookup(HELD.id) == Running()
    result = await hand.execute(CALL)
    assert await hand.lookup(CALL.id) == Finished(result=result)
    assert sandbox.effects == [HELD.id, CALL.id]


async def test_hand_that_is_not_provisioned_says_so(lossy: Hand) -> None:
    with pytest.raises(HandNotProvisionedError):
        await lossy.lookup(CALL.id)
    with pytest.raises(HandNotProvisionedError):
        await lossy.execute(CALL)


async def test_lost_hand_says_why_and_the_next_provision_makes_another(lossy: Hand, sandbox: FakeSandbox) -> None:
    await lossy.provision()
    sandbox.lose("OOMKilled")
    with pytest.raises(HandLostError) as caught:
        await lossy.execute(CALL)

    assert caught.value.reason == "OOMKilled"
    assert lossy.generation is None
    assert await lossy.provision() == 2


async def test_web_tools_are_ready_at_once_and_carry_their_configuration(web_hand: WebHand, proxy: Proxy) -> None:
    assert await web_hand.provision() == web_hand.generation == 1
    await web_hand.execute(CALL)
    assert (proxy.configs, proxy.provisions) == ([{"name": "bash"}], [])


async def test_a_web_call_that_the_proxy_refuses_did_not_run(web_hand: WebHand, proxy: Proxy) -> None:
    proxy.answers = [refusal(429, "too_many_calls")]
    with pytest.raises(HandUnavailableError) as caught:
        await web_hand.execute(CALL)

    assert caught.value.message == "too_many_calls: it is too_many_calls"


async def test_unreachable_hand_leaves_the_outcome_open(hand: Hand, sandbox: FakeSandbox) -> None:
    await hand.provision()
    sandbox.unreachable = True
    with pytest.raises(HandUnreachableError):
        await hand.execute(CALL)


async def test_cancel_reaches_the_call(hand: Hand, sandbox: FakeSandbox) -> None:
    await hand.provision()
    sandbox.begin(HELD)
    await hand.cancel(HELD.id)

    assert sandbox.cancelled == [HELD.id]


async def test_provision_asks_again_while_the_sandbox_is_pending(real: SandboxHand, proxy: Proxy) -> None:
    proxy.answers = [
        web.json_response({"state": "pending", "reason": "Unschedulable", "message": "no node"}),
        refusal(503, "unavailable"),
        refusal(410, "sandbox_lost", reason="Evicted"),
    ]
    assert await real.provision() == 1
    assert proxy.provisions[0] == {"session_id": "sesn_1", "epoch": 7, "name": "default", "wait_seconds": 0.0}
    assert len(proxy.provisions) == 4


async def test_sandbox_that_never_comes_is_named_with_its_reason(real: SandboxHand, proxy: Proxy) -> None:
    pending = {"state": "pending", "reason": "Unschedulable", "message": "no node fits"}
    proxy.answers = [web.json_response(pending) for _ in range(100)]
    with pytest.raises(HandUnavailableError) as caught:
        await real.provision()

    assert caught.value.message == "Unschedulable: no node fits"


async def test_image_that_cannot_be_pulled_is_not_waited_for_to_the_end(real: SandboxHand, proxy: Proxy) -> None:
    pending = {"state": "pending", "reason": "ImagePullFailed", "message": 'no image "none:1"'}
    proxy.answers = [web.json_response(pending) for _ in range(1000)]
    with pytest.raises(HandUnavailableError) as caught:
        await real.provision()

    assert caught.value.message == 'ImagePullFailed: no image "none:1"'
    assert len(proxy.provisions) < 5


@pytest.mark.parametrize("status", [400, 409, 429, 503, 507])
async def test_refusals_that_promise_that_nothing_ran_say_so(real: SandboxHand, proxy: Proxy, status: int) -> None:
    await real.provision()
    proxy.answers = [refusal(status, "too_many_calls")]
    with pytest.raises(HandUnavailableError):
        await real.execute(CALL)


async def test_call_without_an_answer_is_cancelled(proxy: Proxy, sandbox: FakeSandbox) -> None:
    async def silent(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application()
    app.router.add_post("/v1/hands/sandbox/execute", silent)
    app.router.add_post("/v1/hands/sandbox/calls/{id}/cancel", proxy._cancel)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = Settings(hand_url=f"http://127.0.0.1:{runner.addresses[0][1]}", tool_seconds_max=0.05)
    async with aiohttp.ClientSession() as http:
        hand = SandboxHand(http, settings, session="sesn_1", epoch=7)
        with pytest.raises(HandUnreachableError):
            await hand.execute(CALL)
    await runner.cleanup()

    assert sandbox.cancelled == [CALL.id]


async def test_client_knows_what_the_log_says() -> None:
    start = {"id": "s", "type": "span.model_request_start", "position": 1, "processed_at": None}
    use = {"id": CALL.id, "type": "agent.custom_tool_use", "name": "x", "input": {}, "position": 2}
    end = {"id": "e", "type": "span.model_request_end", "position": 3}
    state = fold(State(), [start, use, end])
    hand = ClientHand(state)

    assert await hand.provision() == hand.generation
    assert await _lookup(hand) == Running()
    with pytest.raises(HandUnavailableError):
        await hand.execute(CALL)
    result = {"id": "r", "type": "user.custom_tool_result", "custom_tool_use_id": CALL.id, "content": [], "position": 4}
    fold(state, [result])
    assert await _lookup(hand) == NeverSeen()


async def _lookup(hand: Hand) -> Lookup:
    return await hand.lookup(CALL.id)
