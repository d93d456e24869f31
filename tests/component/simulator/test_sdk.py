"""The official SDK talks to the simulated model as to the real one."""

import asyncio
from typing import Any

import anthropic
import httpx2
import pytest

from component.simulator.serving import Served, scripted

BASH: Any = {"name": "bash", "input_schema": {"type": "object"}}


def ask(client: anthropic.AsyncAnthropic, messages: Any, **options: Any) -> Any:
    return client.messages.create(
        **{"model": "simulated", "max_tokens": 1000, "messages": messages, "tools": [BASH], **options}
    )


async def streamed(client: anthropic.AsyncAnthropic, messages: Any, **options: Any) -> Any:
    options = {"model": "simulated", "max_tokens": 1000, "tools": [BASH], "messages": messages, **options}
    async with client.messages.stream(**options) as stream:
        return await stream.get_final_message()


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_tool_loop_with_thinking_runs_to_its_end(served: Served, is_streamed: bool) -> None:
    script = """
- {thinking: I look first., text: Looking., tool: bash, input: {command: "ls {{i}}"}, repeat: 3}
- tools: [{name: bash, input: {command: a}}, {name: bash, input: {command: b}}]
- {text: "It said {{last_tool_result}}."}
"""
    messages, commands = scripted(script), []
    async with served.client() as client:
        while True:
            message = await streamed(client, messages) if is_streamed else await ask(client, messages)
            uses = [block for block in message.content if block.type == "tool_use"]
            if not uses:
                break
            assert message.stop_reason == "tool_use"
            commands += [use.input["command"] for use in uses]
            results = [{"type": "tool_result", "tool_use_id": u.id, "content": f"<{u.input['command']}>"} for u in uses]
            messages += [message.to_param(), {"role": "user", "content": results}]

    assert commands == ["ls 1", "ls 2", "ls 3", "a", "b"]
    assert message.content[0].text == "It said <b>."
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 100
    assert [record.step for record in served.simulator.records.after(0)] == [0, 1, 2, 3, 4]


async def test_stream_gives_text_in_pieces(served: Served) -> None:
    async with (
        served.client() as client,
        client.messages.stream(
            model="simulated", max_tokens=100, messages=[{"role": "user", "content": "a" * 50}]
        ) as stream,
    ):
        pieces = [text async for text in stream.text_stream]

    assert "".join(pieces) == "You said: " + "a" * 50
    assert len(pieces) == 4


async def test_equal_conversations_get_ids_of_their_own(served: Served) -> None:
    async with served.client() as client:
        first, second = [await ask(client, [{"role": "user", "content": "$ ls"}]) for _ in range(2)]

    assert first.id != second.id
    assert first.content[0].id != second.content[0].id
    assert first.content[0].input == second.content[0].input


async def test_stop_reasons_reach_the_client(served: Served) -> None:
    async with served.client() as client:
        cut = await ask(client, scripted("- {text: Half., stop_reason: max_tokens}"))
        refused = await streamed(client, scripted("- {stop_reason: refusal, category: cyber, explanation: No.}"))
        short = await ask(client, [{"role": "user", "content": "a" * 100}], max_tokens=5)

    assert (cut.stop_reason, short.stop_reason, len(short.content[0].text)) == ("max_tokens", "max_tokens", 20)
    assert (refused.stop_reason, refused.content) == ("refusal", [])
    assert refused.stop_details.category == "cyber"


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (401, "authentication_error", anthropic.AuthenticationError),
        (403, "permission_error", anthropic.PermissionDeniedError),
        (404, "not_found_error", anthropic.NotFoundError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (529, "overloaded_error", anthropic.InternalServerError),
    ],
)
async def test_scripted_error_is_the_exception_of_the_sdk(
    served: Served, status: int, kind: str, error: type[anthropic.APIStatusError]
) -> None:
    messages = scripted(f"- {{error: {{status: {status}, message: Told so., retry_after: 7}}}}")
    async with served.client() as client:
        with pytest.raises(error) as raised:
            await ask(client, messages)

    assert raised.value.status_code == status
    assert raised.value.body == {
        "type": "error",
        "error": {"type": kind, "message": "Told so."},
        "request_id": raised.value.request_id,
    }
    assert raised.value.response.headers["request-id"] == raised.value.request_id
    assert raised.value.response.headers["retry-after"] == "7"


async def test_sdk_retries_through_scripted_errors(served: Served) -> None:
    script = "- {error: {status: 529, retry_after: 0.01}, times: 2}\n- {text: at last}"
    async with served.client(max_retries=2) as client:
        message = await ask(client, scripted(script))

    assert message.content[0].text == "at last"
    assert [record.status for record in served.simulator.records.after(0)] == [529, 529, 200]


@pytest.mark.parametrize("key", ["invalid", "invalid-too"])
async def test_bad_key_is_refused(served: Served, key: str) -> None:
    async with served.client(api_key=key) as client:
        with pytest.raises(anthropic.AuthenticationError, match="Invalid bearer token"):
            await ask(client, [{"role": "user", "content": "hi"}])


async def test_only_the_set_key_is_accepted(served: Served) -> None:
    served.simulator.api_key = "right"
    async with served.client() as client:
        with pytest.raises(anthropic.AuthenticationError):
            await ask(client, [{"role": "user", "content": "hi"}])
    async with served.client(api_key=None, auth_token="right") as client:
        assert (await ask(client, [{"role": "user", "content": "hi"}])).stop_reason == "end_turn"


async def test_unknown_model_is_not_found_and_a_longer_name_is_served(served: Served) -> None:
    async with served.client() as client:
        with pytest.raises(anthropic.NotFoundError, match="model: claude-nope"):
            await ask(client, [{"role": "user", "content": "hi"}], model="claude-nope")
        assert (await ask(client, [{"role": "user", "content": "hi"}], model="simulated-2")).model == "simulated-2"


async def test_models_and_token_counts(served: Served) -> None:
    async with served.client() as client:
        models = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("simulated")
        count = await client.messages.count_tokens(model="simulated", messages=[{"role": "user", "content": "a" * 400}])
        message = await ask(client, [{"role": "user", "content": "a" * 400}], tools=anthropic.NOT_GIVEN)

    assert models == ["simulated"]
    assert (one.lifecycle, one.max_tokens) == ("active", 128_000)
    assert count.input_tokens == message.usage.input_tokens >= 100


async def test_cached_prefix_is_read_by_the_next_request(served: Served) -> None:
    mark: Any = {"type": "ephemeral"}
    messages: Any = [{"role": "user", "content": "a" * 400}]
    async with served.client() as client:
        first = (await ask(client, messages, cache_control=mark)).usage
        messages += [{"role": "assistant", "content": "b" * 40}, {"role": "user", "content": "c" * 40}]
        second = (await streamed(client, messages, cache_control=mark)).usage

    assert first.cache_read_input_tokens == 0
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens > 100
    assert 0 < second.cache_creation_input_tokens < 50
    assert second.input_tokens == 0


async def test_connection_is_cut_inside_the_stream_and_the_next_request_is_whole(served: Served) -> None:
    messages: Any = scripted("- {text: abcdefghijklmnopqrstuvwxyz, cut: {after_chars: 10}}")
    seen: list[str] = []

    async def collect(client: anthropic.AsyncAnthropic) -> None:
        async with client.messages.stream(model="simulated", max_tokens=100, messages=messages) as stream:
            async for text in stream.text_stream:
                seen.append(text)  # noqa: PERF401 - the loop ends by an exception, and what came before it counts

    async with served.client() as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await collect(client)
        whole = await streamed(client, messages, tools=anthropic.NOT_GIVEN)

    assert "".join(seen) == "abcdefghij"
    assert whole.content[0].text == "abcdefghijklmnopqrstuvwxyz"
    assert [record.outcome for record in served.simulator.records.after(0)] == ["cut", "complete"]


async def test_object_is_cut_too(served: Served) -> None:
    async with served.client() as client:
        with pytest.raises(anthropic.APIConnectionError):
            await ask(client, scripted("- {text: abc, cut: {after_chars: 1}}"))


async def test_error_event_inside_the_stream(served: Served) -> None:
    script = "- {text: abcdef, cut: {after_chars: 2, error: {type: overloaded_error, message: Busy.}}}"
    async with served.client() as client:
        with pytest.raises(anthropic.APIStatusError, match=r"Busy\."):
            await streamed(client, scripted(script))


async def test_pace_is_kept_and_the_models_own_time_is_told(served: Served) -> None:
    script = "- {text: abcdefghijklmnopqrstuvwxyz, delay_seconds: 1, first_token_delay_seconds: 12}"
    async with served.client() as client:
        options: Any = {"model": "simulated", "max_tokens": 9, "messages": scripted(script)}
        async with client.messages.with_streaming_response.create(**options, stream=True) as response:
            header = response.headers["x-simulator-first-token-ms"]
            text = await response.text()

    assert served.clock.slept == [1.0, 5.0, 5.0, 2.0]
    assert text.count("event: ping") == 3
    assert float(header) == 13_000.0
    [record] = served.simulator.records.after(0)
    assert record.view()["first_token_ms"] == 13_000.0


async def test_silent_model_times_out_and_the_record_says_the_client_left(served: Served) -> None:
    served.clock.held = asyncio.Event()
    async with served.client(timeout=0.5) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await streamed(client, scripted("- {hang_seconds: 600}"))

    [record] = await served.simulator.records.wait_after(0, 5.0, finished_only=True)
    assert (record.status, record.outcome, record.first_token_monotonic) == (200, "disconnected", None)


async def test_client_that_leaves_does_not_disturb_others(served: Served) -> None:
    served.clock.held = asyncio.Event()
    async with served.client() as client:
        leaving = asyncio.create_task(streamed(client, scripted("- {text: a, delay_seconds: 9}")))
        await asyncio.wait_for(served.clock.sleeping.wait(), 5.0)
        assert (await ask(client, [{"role": "user", "content": "hi"}])).content[0].text == "You said: hi"
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving

    records = await served.simulator.records.wait_after(0, 5.0, finished_only=True)
    assert "complete" in {record.outcome for record in records}
