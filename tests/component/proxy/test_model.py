"""The model listener between a harness and a provider."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientPayloadError, web
from structlog.testing import capture_logs

from support.requirements import requirement

BODY = {"model": "m", "messages": [{"role": "user", "content": "body-canary"}]}


async def test_a_request_reaches_the_provider_with_its_key_and_without_the_caller_s(bench: Any) -> None:
    bench.provider.replies({"id": "msg_1"}, **{"request-id": "req_1"})
    async with bench.http.post(
        bench.model("/v1/messages?beta=true"),
        json=BODY,
        headers={"Authorization": "Bearer x", "X-Api-Key": "x", "Cookie": "a=b", "anthropic-beta": "b1"},
    ) as answer:
        assert (answer.status, await answer.json()) == (200, {"id": "msg_1"})
        assert answer.headers["request-id"] == "req_1"
    (seen,) = bench.provider.seen
    assert (seen.method, seen.path) == ("POST", "/v1/messages?beta=true")
    assert (seen.headers["x-api-key"], seen.headers["anthropic-version"]) == ("key-canary", "2023-06-01")
    assert seen.headers["anthropic-beta"] == "b1"
    assert not {"authorization", "cookie"} & seen.headers.keys()
    assert b"body-canary" in seen.body


async def test_a_stream_passes_as_it_comes(bench: Any) -> None:
    second = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: one\n\n")
        await second.wait()
        await response.write(b"event: two\n\n")
        await response.write_eof()
        return response

    bench.provider.handler = stream
    async with bench.http.post(bench.model(), json=BODY) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert await answer.content.readany() == b"event: one\n\n"
        second.set()
        assert await answer.content.read() == b"event: two\n\n"


async def test_an_answer_that_breaks_off_never_looks_complete(bench: Any) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    bench.provider.handler = broken
    with pytest.raises(ClientPayloadError):
        async with bench.http.post(bench.model(), json=BODY) as answer:
            await answer.read()


async def test_a_caller_that_leaves_ends_the_request_to_the_provider(bench: Any) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(_request: web.Request) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    bench.provider.handler = endless
    call = asyncio.create_task(bench.http.post(bench.model(), json=BODY))
    async with asyncio.timeout(5):
        await begun.wait()
        call.cancel()
        await ended.wait()


@requirement("F23")
async def test_a_rotated_key_is_used_by_the_next_request(bench: Any) -> None:
    for key in ("one", "two"):
        bench.provide(bench.provider_entry(api_key=key))
        async with bench.http.post(bench.model(), json=BODY):
            pass
    assert [seen.headers["x-api-key"] for seen in bench.provider.seen] == ["one", "two"]


@pytest.mark.parametrize(
    ("change", "status", "kind", "words"),
    [
        ({"api_key": ""}, 401, "authentication_error", 'ModelProvider "fake"'),
        ({"default": False}, 404, "not_found_error", 'model "m"'),
        ({"endpoint": "http://127.0.0.1:1"}, 502, "api_error", "provider fake unreachable: Connection refused"),
        ({"endpoint": "nonsense"}, 500, "api_error", "providers[0].endpoint"),
    ],
)
async def test_a_provider_that_cannot_be_used_is_a_typed_error(
    bench: Any, change: dict[str, object], status: int, kind: str, words: str
) -> None:
    bench.provide(bench.provider_entry(**change))
    async with bench.http.post(bench.model(), json=BODY) as answer:
        document = await answer.json()
    assert (answer.status, document["type"], document["error"]["type"]) == (status, "error", kind)
    assert words in document["error"]["message"]
    assert bench.provider.seen == []


@requirement("F23")
async def test_a_secret_that_is_deleted_is_no_provider_and_its_return_heals(bench: Any) -> None:
    bench.providers_file.unlink()
    async with bench.http.post(bench.model(), json=BODY) as answer:
        assert answer.status == 404
    bench.provide(bench.provider_entry())
    async with bench.http.post(bench.model(), json=BODY) as answer:
        assert answer.status == 200


async def test_a_provider_s_error_passes_with_its_retry_after(bench: Any) -> None:
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}
    bench.provider.replies(error, status=429, **{"retry-after": "7"})
    async with bench.http.post(bench.model(), json=BODY) as answer:
        assert (answer.status, answer.headers["retry-after"], await answer.json()) == (429, "7", error)


@requirement("A18")
async def test_a_redirect_is_not_followed_with_the_key(bench: Any) -> None:
    bench.provider.replies({}, status=307, Location=str(bench.server.url / "v1/messages"))
    async with bench.http.post(bench.model(), json=BODY, allow_redirects=False) as answer:
        assert answer.status == 502
        assert "redirect (307)" in (await answer.json())["error"]["message"]
    assert bench.server.seen == []


async def test_models_are_read_from_the_default_provider(bench: Any) -> None:
    async with bench.http.get(bench.model("/v1/models?limit=2")) as answer:
        assert answer.status == 200
    async with bench.http.get(bench.model("/v1/models/m")) as answer:
        assert answer.status == 200
    assert [seen.path for seen in bench.provider.seen] == ["/v1/models?limit=2", "/v1/models/m"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/complete"), ("DELETE", "/v1/messages"), ("GET", "/v1/files"), ("POST", "/v1/messages/../files")],
)
async def test_every_other_path_is_denied(bench: Any, method: str, path: str) -> None:
    async with bench.http.request(method, bench.model(path), json=BODY) as answer:
        assert answer.status in {404, 405}
        assert (await answer.json())["type"] == "error"
    assert bench.provider.seen == []


async def test_the_audit_line_is_metadata_only(bench: Any) -> None:
    bench.provider.replies({"id": "answer-canary"})
    with capture_logs() as lines:
        async with bench.http.post(bench.model("/v1/messages?q=query-canary"), json=BODY):
            pass
        async with bench.http.post(bench.model("/v1/nothing"), json=BODY):
            pass
    first, second = lines
    assert first["listener"] == "model"
    assert (first["method"], first["path"], first["status"], first["provider"]) == ("POST", "/v1/messages", 200, "fake")
    assert first["bytes_out"] == len(b'{"id": "answer-canary"}')
    assert first["bytes_in"] > 0
    assert second["status"] == 404
    assert "canary" not in repr(lines)
