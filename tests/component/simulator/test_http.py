"""The HTTP surface: errors, queued scripts, recorded requests, and the process itself."""

import asyncio
import os
import signal
import sys
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession

from component.simulator.serving import Served, scripted

HEADERS = {"x-api-key": "key", "anthropic-version": "2023-06-01"}


def body(content: str, **fields: Any) -> dict[str, Any]:
    return {"model": "simulated", "max_tokens": 100, "messages": [{"role": "user", "content": content}], **fields}


async def post(served: Served, data: bytes, **headers: str) -> tuple[int, Any]:
    url = f"{served.url}/v1/messages"
    async with served.http.post(url, data=data, headers={**HEADERS, **headers}) as response:
        return response.status, await response.json()


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/nothing", 404, "not_found_error"),
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("GET", "/v1/models", 401, "authentication_error"),
        ("POST", "/v1/messages", 401, "authentication_error"),
    ],
)
async def test_every_failure_is_an_error_object(served: Served, method: str, path: str, status: int, kind: str) -> None:
    found, error = await served.send(method, path)

    assert (found, error["type"], error["error"]["type"]) == (status, "error", kind)
    assert error["request_id"]


@pytest.mark.parametrize(("key", "message"), [("invalid-x", "invalid x-api-key"), ("", "x-api-key header is required")])
async def test_bad_key_in_its_own_header_is_refused(served: Served, key: str, message: str) -> None:
    status, error = await post(served, orjson.dumps(body("hi")), **{"x-api-key": key})

    assert (status, error["error"]) == (401, {"type": "authentication_error", "message": message})


async def test_version_header_and_json_are_required(served: Served) -> None:
    async with served.http.post(f"{served.url}/v1/messages", headers={"x-api-key": "key"}, data=b"{}") as response:
        error = await response.json()
    assert error["error"]["message"] == "anthropic-version: header is required"

    status, error = await post(served, b"{not json")
    assert (status, error["error"]["type"]) == (400, "invalid_request_error")
    assert error["error"]["message"].startswith("The request body is not valid JSON: ")


async def test_bad_script_is_a_bad_request_naming_the_line(served: Served) -> None:
    request = {**body("x"), "messages": scripted("- {text: a}\n- {txt: b}")}

    status, error = await post(served, orjson.dumps(request))

    assert status == 400
    assert error["error"]["message"].startswith("messages: script: line 2: unknown key 'txt'; allowed are text")


async def test_queued_script_is_followed_until_it_is_deleted(served: Served) -> None:
    script = {"match": {"contains": "ticket 7"}, "steps": [{"text": "one"}, {"text": "two"}]}
    assert await served.send("POST", "/_simulator/scripts", script) == (
        201,
        {"id": "script_1", "contains": "ticket 7", "steps": 2},
    )

    matched = await post(served, orjson.dumps(body("about ticket 7")))
    other = await post(served, orjson.dumps(body("about ticket 8")))
    deleted = await served.send("DELETE", "/_simulator/scripts")
    after = await post(served, orjson.dumps(body("about ticket 7")))

    texts = [answer["content"][0]["text"] for _, answer in (matched, other, after)]
    assert texts == ["one", "You said: about ticket 8", "You said: about ticket 7"]
    assert deleted == (200, {"deleted": 1})


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ([], 'the body is {"match"'),
        ({"step": []}, 'the body is {"match"'),
        ({"match": {"regex": "x"}, "steps": []}, "match: the one thing"),
        ({"match": {"contains": 1}, "steps": []}, "match.contains: Input should be a valid string"),
        ({}, "steps: expected a list of steps"),
        ({"steps": [{"text": "a"}, {"foo": 1}]}, "steps: steps[1]: unknown key 'foo'"),
        ({"steps": "- {foo: 1}"}, "steps: line 1: unknown key 'foo'"),
    ],
)
async def test_bad_queued_script_is_refused(served: Served, script: Any, message: str) -> None:
    status, error = await served.send("POST", "/_simulator/scripts", script)

    assert status == 400
    assert error["error"]["message"].startswith(message)


async def test_requests_are_recorded_without_keys(served: Served) -> None:
    await post(served, orjson.dumps(body("hi")), authorization="Bearer secret-token")
    await post(served, b"{}")

    found = await served.get("/_simulator/requests?after=0")
    later = await served.get("/_simulator/requests?after=1&wait_seconds=1")

    assert found["last"] == 2
    assert [(r["n"], r["status"], r["outcome"]) for r in found["data"]] == [(1, 200, "complete"), (2, 400, "error")]
    assert found["data"][0]["body"] == body("hi")
    assert found["data"][1]["error"] == {"type": "invalid_request_error", "message": "model: Field required"}
    assert later["data"] == found["data"][1:]
    assert "secret-token" not in str(found)
    assert await served.send("DELETE", "/_simulator/requests") == (200, {"deleted": 2})


async def test_long_poll_wakes_for_the_next_request(served: Served) -> None:
    poll = asyncio.create_task(served.get("/_simulator/requests?after=0&wait_seconds=5&finished=true"))

    await post(served, orjson.dumps(body("hi")))

    assert [record["n"] for record in (await poll)["data"]] == [1]


async def test_bad_query_is_refused(served: Served) -> None:
    status, error = await served.send("GET", "/_simulator/requests?after=x")

    assert (status, error["error"]["message"]) == (400, "after: expected a number of at least 0; found 'x'")


async def test_process_says_where_it_listens_and_ends_answers_under_way_on_sigterm() -> None:
    command = [sys.executable, "-m", "managed_agents.simulator", "--port", "0", "--host", "127.0.0.1"]
    environment = {**os.environ, "SIMULATOR_API_KEY": "right"}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            listening = orjson.loads(await process.stdout.readline())
            url = f"http://127.0.0.1:{listening['port']}"
            async with ClientSession(headers={**HEADERS, "x-api-key": "right"}) as http:
                async with http.get(f"{url}/healthz") as response:
                    assert await response.json() == {"status": "ok"}
                request = {**body("x"), "messages": scripted("- {text: end, first_token_delay_seconds: 0.5}")}
                async with http.post(f"{url}/v1/messages", json={**request, "stream": True}) as response:
                    process.send_signal(signal.SIGTERM)
                    assert "event: message_stop" in await response.text()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        # Reading to the end lets the transport close before the loop does.
        await process.stdout.read()
