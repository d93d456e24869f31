"""Failing model requests and what stops a turn: retries, refusals, limits, budget (guarantees I15, F13, F14)."""

import pytest

from managed_agents.contracts.events import types
from managed_agents.harness.retry import ModelFailureError, failure_for
from managed_agents.harness.settings import Settings
from support.harness import QUICK, config_for, message, running
from support.models import Answer, text, tool

OVERLOADED = failure_for(529, {"type": "overloaded_error", "message": "Overloaded"}, {})
BAD_REQUEST = failure_for(400, {"type": "invalid_request_error", "message": "image too large"}, {})


async def test_overloaded_model_is_asked_again_and_the_session_says_so() -> None:
    async with running(Answer(text("Hi.")), failures={0: [OVERLOADED, OVERLOADED]}) as harness:
        idle = await harness.turn(message("hi"))

        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.platform.kinds() == [
            types.USER_MESSAGE,
            *(types.STATUS_RUNNING, types.THREAD_RUNNING, types.REQUEST_START),
            *(types.REQUEST_END, types.SESSION_ERROR, types.THREAD_RESCHEDULED, types.STATUS_RESCHEDULED),
            types.REQUEST_START,
            *(types.REQUEST_END, types.SESSION_ERROR),
            types.REQUEST_START,
            *(types.STATUS_RUNNING, types.THREAD_RUNNING, types.AGENT_MESSAGE, types.REQUEST_END),
            *(types.THREAD_IDLE, types.SESSION_USAGE, types.STATUS_IDLE),
        ]
        error = harness.platform.of(types.SESSION_ERROR)[0]
        assert error["error"] == {
            "type": "model_overloaded_error",
            "message": "Overloaded",
            "retry_status": {"type": "retrying"},
        }
        assert error["internal"]["reason"] == "ModelOverloaded"
        assert len({bytes(body) for body in harness.model.requests}) == 1


async def test_retries_end_and_the_next_message_works() -> None:
    settings = Settings(retry_base_seconds=0.001, retry_cap_seconds=0.001, model_retries_max=2)
    failures = {0: [OVERLOADED] * 3}
    async with running(Answer(text("Hi.")), failures=failures, settings=settings) as harness:
        idle = await harness.turn(message("hi"))
        assert idle["stop_reason"] == {"type": "retries_exhausted"}
        statuses = [event["error"]["retry_status"]["type"] for event in harness.platform.of(types.SESSION_ERROR)]
        assert statuses == ["retrying", "retrying", "exhausted"]

        idle = await harness.turn(message("again"))
        assert idle["stop_reason"] == {"type": "end_turn"}
        assert [block["text"] for block in harness.model.bodies()[-1]["messages"][0]["content"]] == ["hi", "again"]


async def test_queued_input_is_flushed_when_a_turn_fails_for_good() -> None:
    async def gate(point: str) -> None:
        if point.startswith("before request") and len(harness.platform.of(types.USER_MESSAGE)) == 1:
            await harness.platform.send(message("and this"))

    async with running(failures={0: [BAD_REQUEST]}, gate=gate) as harness:
        idle = await harness.turn(message("hi"))

        assert idle["stop_reason"] == {"type": "retries_exhausted"}
        assert all(event["processed_at"] for event in harness.platform.log())
        assert len(harness.model.requests) == 1


async def test_what_comes_after_the_turn_failed_is_a_new_prompt() -> None:
    async def gate(point: str) -> None:
        if point.startswith(f"before {types.THREAD_IDLE}") and len(harness.platform.of(types.USER_MESSAGE)) == 1:
            await harness.platform.send({"type": "user.interrupt"}, message("do this instead"))

    async with running(Answer(text("Hi.")), failures={0: [BAD_REQUEST]}, gate=gate) as harness:
        await harness.turn(message("poison"))

        reasons = [event["stop_reason"]["type"] for event in harness.platform.of(types.STATUS_IDLE)]
        assert reasons == ["retries_exhausted", "end_turn"]
        last = harness.model.bodies()[-1]["messages"][0]["content"]
        assert [block["text"] for block in last] == ["do this instead"]


async def test_input_that_the_model_refuses_leaves_the_conversation() -> None:
    async with running(Answer(text("Hi.")), failures={0: [BAD_REQUEST]}) as harness:
        await harness.turn(message("poison"))
        await harness.turn(message("hello"))

        assert [block["text"] for block in harness.model.bodies()[-1]["messages"][0]["content"]] == ["hello"]


@pytest.mark.parametrize(
    ("failure", "error_type", "reason"),
    [
        (BAD_REQUEST, "model_request_failed_error", "ModelRequestFailed"),
        (failure_for(401, {}, {}), "model_request_failed_error", "ModelAuthenticationFailed"),
        (failure_for(403, {}, {}), "model_request_failed_error", "ModelAuthenticationFailed"),
        (failure_for(402, {}, {}), "billing_error", "Billing"),
        (failure_for(429, {"message": "You hit your spend limit"}, {}), "billing_error", "Billing"),
    ],
)
async def test_failure_that_no_repeat_can_mend_ends_the_turn_at_once(
    failure: ModelFailureError, error_type: str, reason: str
) -> None:
    async with running(failures={0: [failure]}) as harness:
        await harness.turn(message("hi"))

        (event,) = harness.platform.of(types.SESSION_ERROR)
        assert event["error"]["type"] == error_type
        assert event["error"]["retry_status"] == {"type": "exhausted"}
        assert event["internal"]["reason"] == reason


async def test_cut_stream_leaves_no_event_and_no_tool_of_it_runs() -> None:
    cut = Answer(text("Let me"), tool("bash", command="ls"), cut=True)
    async with running(cut) as harness:
        harness.model.answers.append(Answer(text("unused")))
        original = harness.model.index_of
        attempts = iter([0, 5])
        harness.model.index_of = lambda body: next(attempts, original(body))  # type: ignore[method-assign] # a stand-in
        await harness.turn(message("hi"))

        assert harness.platform.of(types.AGENT_TOOL_USE) == []
        assert harness.sandbox.effects == []
        assert [end["is_error"] for end in harness.platform.of(types.REQUEST_END)] == [True, False]
        assert harness.model.requests[0] == harness.model.requests[1]


async def test_refusal_ends_the_turn_and_is_not_sent_back() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "no"}
    refusal = Answer(text("I cannot"), tool("bash", command="x"), stop_reason="refusal", details=details)
    async with running(refusal) as harness:
        idle = await harness.turn(message("bad"))
        assert idle["stop_reason"] == {"type": "refusal"}
        assert idle["stop_details"] == details
        assert harness.sandbox.effects == []

        await harness.turn(message("good"))
        assert [block["text"] for block in harness.model.bodies()[-1]["messages"][0]["content"]] == ["good"]


async def test_refusal_that_nobody_explains_has_details_all_the_same() -> None:
    async with running(Answer(stop_reason="refusal")) as harness:
        idle = await harness.turn(message("bad"))

        assert idle["stop_details"] == {"type": "refusal", "category": None, "explanation": None}


async def test_usage_tells_the_speed_at_which_the_model_ran() -> None:
    async with running(Answer(text("Quick."), usage={"speed": "fast"})) as harness:
        await harness.turn(message("hi"))

        (end,) = harness.platform.of(types.REQUEST_END)
        assert end["model_usage"]["speed"] == "fast"


async def test_response_cut_by_the_output_limit_goes_on_and_its_open_call_never_runs() -> None:
    cut = Answer(text("First half"), tool("bash", command="rm"), stop_reason="max_tokens")
    async with running(cut, Answer(text("second half."))) as harness:
        idle = await harness.turn(message("write"))

        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.platform.of(types.AGENT_TOOL_USE) == []
        messages = harness.model.bodies()[-1]["messages"]
        assert messages[1]["content"] == [{"type": "text", "text": "First half"}]
        assert "cut off" in messages[2]["content"][0]["text"]


async def test_response_that_is_always_cut_ends_the_turn() -> None:
    cut = Answer(text("More"), stop_reason="max_tokens")
    async with running(*[cut] * 9) as harness:
        idle = await harness.turn(message("write"))

        assert idle["stop_reason"] == {"type": "end_turn"}
        assert len(harness.model.requests) == 4


async def test_tool_input_that_is_no_object_is_refused() -> None:
    broken = {"type": "tool_use", "name": "bash", "input": {}, "raw": '{"command": '}
    async with running(Answer(broken), Answer(text("Sorry."))) as harness:
        await harness.turn(message("go"))

        (result,) = harness.platform.of(types.AGENT_TOOL_RESULT)
        assert result["is_error"]
        assert harness.sandbox.effects == []


async def test_runaway_tool_loop_meets_its_limit() -> None:
    settings = Settings(tool_rounds_max=3)
    async with running(*[Answer(tool("bash", command="ls"))] * 9, settings=settings) as harness:
        idle = await harness.turn(message("go"))

        assert idle["stop_reason"] == {"type": "retries_exhausted"}
        (error,) = harness.platform.of(types.SESSION_ERROR)
        assert error["error"]["type"] == "tool_use_limit_reached_error"
        assert len(harness.model.requests) == 3
        harness.model.answers = []
        assert (await harness.turn(message("again")))["stop_reason"] == {"type": "end_turn"}


BUDGET = {"type": "limit", "max_list_cost": {"amount": "1", "currency": "USD"}}
COSTLY = {"currency": "USD", "per_million_tokens": {"input": "1000", "output": "1000"}}


async def test_budget_is_checked_before_each_request() -> None:
    config = config_for(budget=BUDGET, model_provider={"name": "simulated", "list_price": COSTLY})
    async with running(Answer(tool("bash", command="ls")), Answer(text("Done.")), config=config) as harness:
        idle = await harness.turn(message("go"))

        assert idle["stop_reason"] == {"type": "budget_reached"}
        assert len(harness.model.requests) == 1
        assert harness.platform.of(types.SESSION_USAGE)[-1]["budget"] == BUDGET

        raised = {"type": "limit", "max_list_cost": {"amount": "1000", "currency": "USD"}}
        await harness.platform.configure(budget=raised)
        await harness.platform.until(lambda: harness.platform.kinds().count(types.STATUS_IDLE) == 2)
        assert harness.platform.of(types.STATUS_IDLE)[-1]["stop_reason"] == {"type": "end_turn"}


async def test_turn_that_ends_with_the_request_that_crosses_the_budget_ended_by_itself() -> None:
    config = config_for(budget=BUDGET, model_provider={"name": "simulated", "list_price": COSTLY})
    async with running(Answer(text("Done.")), config=config, settings=QUICK) as harness:
        idle = await harness.turn(message("go"))

        assert idle["stop_reason"] == {"type": "budget_reached"}
        assert harness.platform.of(types.THREAD_IDLE)[-1]["stop_reason"] == {"type": "end_turn"}
