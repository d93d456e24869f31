"""Files as the official SDK sees them, and as harnesses use them."""

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import pytest

from support.clock import ManualClock
from support.requirements import requirement
from support.sdk_client import client_of
from support.server import OPERATOR_TOKEN, USER_TOKEN, TestServer, message, pod_token, server_in_process

TEAM = {"anthropic-workspace-id": "team-a"}


def contents(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "files").rglob("*") if path.is_file() and "sqlite" not in path.name]


async def put_output(server: TestServer, session: str, path: str, body: bytes, version: str = "1") -> tuple[int, Any]:
    url = f"{server.internal_url}/internal/v1/sessions/{session}/outputs"
    return await server.call("PUT", url, pod_token("pod-1"), data=body, params={"path": path, "version": version})


async def content_for(server: TestServer, session: str, file_id: str, pod: str = "pod-1") -> tuple[int, bytes, Any]:
    url = f"{server.internal_url}/internal/v1/sessions/{session}/files/{file_id}/content"
    async with server.http.get(url, headers={"Authorization": f"Bearer {pod_token(pod)}"}) as answer:
        return answer.status, await answer.read(), answer.headers


async def test_upload_look_list_and_delete(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    uploaded = await client.beta.files.upload(file=("data.csv", io.BytesIO(b"a,b\n"), "text/csv"))
    assert (uploaded.filename, uploaded.mime_type, uploaded.size_bytes, uploaded.type) == (
        "data.csv",
        "text/csv",
        4,
        "file",
    )
    assert (uploaded.downloadable, uploaded.expires_at, uploaded.scope) == (False, None, None)
    assert uploaded.id.startswith("file_")
    assert await client.beta.files.retrieve_metadata(uploaded.id) == uploaded
    assert (await client.files.retrieve_metadata(uploaded.id)).id == uploaded.id
    assert [file async for file in client.beta.files.list()] == [uploaded]
    deleted = await client.beta.files.delete(uploaded.id)
    assert (deleted.id, deleted.type) == (uploaded.id, "file_deleted")
    assert [file async for file in client.beta.files.list()] == []
    with pytest.raises(anthropic.NotFoundError):
        await client.beta.files.retrieve_metadata(uploaded.id)


async def test_pages_hold_every_file_once_newest_first(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    ids = [(await client.beta.files.upload(file=(f"{n}.txt", b"x"))).id for n in range(7)]
    assert [file.id async for file in client.beta.files.list(limit=3)] == ids[::-1]
    first = await client.beta.files.list(limit=3)
    assert first.next_page is not None
    assert first.next_page.startswith("page_")
    newer = await client.beta.files.upload(file=("new.txt", b"x"))
    second = await client.beta.files.list(limit=3, page=first.next_page)
    assert [file.id for file in second.data] == ids[3:0:-1]
    named = await client.beta.files.list(ids=[ids[2], newer.id, "file_unknown", ids[2]])
    assert ([file.id for file in named.data], named.next_page) == ([newer.id, ids[2]], None)


@pytest.mark.parametrize(
    ("query", "at_fault"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("page=page_nonsense", "page"),
        ("page=page_%C3%BC", "page"),
        ("ids[]=file_1&limit=3", "limit"),
        ("&".join(f"ids[]=file_{n}" for n in range(101)), "ids"),
    ],
)
async def test_a_wrong_query_is_refused_by_name(server: TestServer, query: str, at_fault: str) -> None:
    status, answer = await server.user("GET", f"/files?{query}", headers=TEAM)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert answer["error"]["message"].startswith(f"{at_fault}:")


async def test_uploads_are_not_downloadable_unless_a_setting_says_so(
    server: TestServer, client: anthropic.AsyncAnthropic, tmp_path: Path
) -> None:
    uploaded = await client.beta.files.upload(file=("a.txt", b"text"))
    with pytest.raises(anthropic.BadRequestError) as refused:
        await client.beta.files.download(uploaded.id)
    assert isinstance(refused.value, anthropic.types.FileNotDownloadableError)
    async with (
        server_in_process(tmp_path / "other", uploads_downloadable=True) as open_handed,
        client_of(open_handed) as theirs,
    ):
        again = await theirs.beta.files.upload(file=("ä b.txt", b"text"))
        assert again.downloadable is True
        answer = await theirs.beta.files.download(again.id)
        assert await answer.read() == b"text"
        assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A4%20b.txt"


async def test_an_expired_file_has_no_content_any_more(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        server_in_process(tmp_path, clock=clock, uploads_downloadable=True) as server,
        client_of(server) as client,
    ):
        lasting = await client.beta.files.upload(file=("b.txt", b"stays"))
        uploaded = await client.beta.files.upload(file=("a.txt", b"text"), expires_in_seconds=3600)
        assert uploaded.expires_at == uploaded.created_at + timedelta(hours=1)
        assert await (await client.beta.files.download(uploaded.id)).read() == b"text"
        clock.advance(3601)
        with pytest.raises(anthropic.types.FileExpiredError):
            await client.beta.files.download(uploaded.id)
        assert server.running is not None
        await server.running.context.files.expire()
        assert len(contents(tmp_path)) == 1
        with pytest.raises(anthropic.types.FileExpiredError):
            await client.beta.files.download(uploaded.id)
        assert (await client.beta.files.retrieve_metadata(uploaded.id)).expires_at == uploaded.expires_at
        clock.advance(31 * 24 * 3600)
        await server.running.context.files.expire()
        assert [file.id async for file in client.beta.files.list()] == [lasting.id]


def form(**fields: Any) -> aiohttp.FormData:
    made = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        made.add_field(name, value, **({"filename": "a.txt"} if name == "file" else {}))
    return made


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"expires_in_seconds": "3600"}, "file"),
        ({"file": b"x", "expires_in_seconds": "3599"}, "expires_in_seconds"),
        ({"file": b"x", "expires_in_seconds": "7776001"}, "expires_in_seconds"),
        ({"file": b"x", "expires_in_seconds": "9" * 5000}, "expires_in_seconds"),
        ({"file": b"x", "expires_in_seconds": "0" * 8 + "3600" + "0" * 100}, "expires_in_seconds"),
        ({"file": b"x", "purpose": "y"}, "purpose"),
    ],
)
async def test_a_wrong_form_is_refused_and_leaves_nothing(
    server: TestServer, tmp_path: Path, fields: dict[str, Any], at_fault: str
) -> None:
    url = f"{server.public_url}/v1/files"
    status, answer = await server.call("POST", url, USER_TOKEN, data=form(**fields), headers=TEAM)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert answer["error"]["message"].startswith(f"{at_fault}:")
    assert contents(tmp_path) == []


BOUNDARY = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        ("multipart/mixed; boundary=b", PART + b"\r\n--b--\r\n"),
        (BOUNDARY, b""),
        (BOUNDARY, b"nonsense"),
        (BOUNDARY, PART),
        (BOUNDARY, b"--b\r\nbroken header\r\n\r\nabc\r\n--b--\r\n"),
        (BOUNDARY, b"--b\r\n" + b"X: " + b"y" * 20_000 + b"\r\n\r\nabc\r\n--b--\r\n"),
        (BOUNDARY, b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n"),
        (BOUNDARY, b'--b\r\nContent-Disposition: form-data; name="file"; filename="a?b"\r\n\r\nabc\r\n--b--\r\n'),
        (BOUNDARY, PART + b"\r\n" + PART + b"\r\n--b--\r\n"),
    ],
)
async def test_a_broken_form_is_400(server: TestServer, tmp_path: Path, content_type: str, body: bytes) -> None:
    headers = {**TEAM, "Content-Type": content_type}
    status, answer = await server.call("POST", f"{server.public_url}/v1/files", USER_TOKEN, data=body, headers=headers)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert contents(tmp_path) == []


@pytest.mark.parametrize(
    ("disposition", "content_type", "filename", "mime_type"),
    [
        ('filename="../../etc/passwd"', "text/plain", "passwd", "text/plain"),
        ('filename="C:\\\\dir\\\\report.pdf"', None, "report.pdf", "application/pdf"),
        ('filename=""', "text/csv; charset=utf-8", "unnamed.csv", "text/csv"),
        ('filename="x"', "not a type", "x", "application/octet-stream"),
    ],
)
async def test_only_the_last_component_of_a_filename_is_kept(
    server: TestServer, disposition: str, content_type: str | None, filename: str, mime_type: str
) -> None:
    declared = "" if content_type is None else f"Content-Type: {content_type}\r\n"
    part = f'--b\r\nContent-Disposition: form-data; name="file"; {disposition}\r\n{declared}\r\nabc\r\n--b--\r\n'
    headers = {**TEAM, "Content-Type": BOUNDARY}
    url = f"{server.public_url}/v1/files"
    status, answer = await server.call("POST", url, USER_TOKEN, data=part.encode(), headers=headers)
    assert (status, answer.get("filename"), answer.get("mime_type")) == (200, filename, mime_type), answer


async def test_a_file_above_the_limit_is_413_and_the_quota_400(tmp_path: Path) -> None:
    async with (
        server_in_process(tmp_path, file_bytes_max=3_000_000, files_bytes_max=4_000_000) as server,
        client_of(server) as client,
        client_of(server, "team-b") as other,
    ):
        for size in (3_000_001, 3_100_000):
            with pytest.raises(anthropic.RequestTooLargeError):
                await client.beta.files.upload(file=("a", b"x" * size))
        first = await client.beta.files.upload(file=("a", b"x" * 3_000_000))
        with pytest.raises(anthropic.types.StorageQuotaExceededError):
            await client.beta.files.upload(file=("b", b"x" * 2_500_000))
        assert len(contents(tmp_path)) == 1
        await other.beta.files.upload(file=("b", b"x" * 2_500_000))
        await client.beta.files.delete(first.id)
        await client.beta.files.upload(file=("b", b"x" * 2_500_000))


async def test_a_large_upload_is_not_held_in_memory(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    size = 40 * 1024 * 1024  # more than a JSON body may have
    uploaded = await client.beta.files.upload(file=("large.bin", b"\xff" * size))
    assert uploaded.size_bytes == size


@requirement("files-apart")
async def test_another_namespaces_file_is_404(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    uploaded = await client.beta.files.upload(file=("a.txt", b"text"))
    server.kubernetes.allowed = lambda spec: spec["resourceAttributes"]["namespace"] == "team-b"
    async with client_of(server, "team-b") as other:
        assert [file async for file in other.beta.files.list()] == []
        assert (await other.beta.files.list(ids=[uploaded.id])).data == []
        for refused in (
            other.beta.files.retrieve_metadata(uploaded.id),
            other.beta.files.download(uploaded.id),
            other.beta.files.delete(uploaded.id),
        ):
            with pytest.raises(anthropic.NotFoundError):
                await refused


async def test_who_may_only_get_may_not_upload_or_delete(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    uploaded = await client.beta.files.upload(file=("a.txt", b"text"))
    server.kubernetes.allowed = lambda spec: spec["resourceAttributes"]["verb"] in ("get", "list")
    server.running.context.authenticator._accesses._verdicts.clear()  # type: ignore[union-attr] # the fixture sets it
    assert await client.beta.files.retrieve_metadata(uploaded.id) == uploaded
    with pytest.raises(anthropic.PermissionDeniedError):
        await client.beta.files.delete(uploaded.id)
    with pytest.raises(anthropic.PermissionDeniedError):
        await client.beta.files.upload(file=("a.txt", b"text"))
    status, _ = await server.call("GET", f"{server.public_url}/v1/files/file_unknown", "wrong")
    assert status == 401


async def test_outputs_become_files_of_their_session(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    session = await server.create("a")
    await server.register(session)
    await client.beta.files.upload(file=("other.txt", b"text"))
    status, answer = await put_output(server, session, "reports/q1 ü.csv", b"a,b\n", "v1")
    assert status == 200
    [file] = [file async for file in client.beta.files.list(scope_id=session)]
    assert (file.id, file.filename, file.mime_type, file.downloadable) == (
        answer["file_id"],
        "reports/q1 ü.csv",
        "text/csv",
        True,
    )
    assert file.scope is not None
    assert (file.scope.type, file.scope.id) == ("session", session)
    assert await (await client.beta.files.download(file.id)).read() == b"a,b\n"

    status, same = await put_output(server, session, "reports/q1 ü.csv", b"a,b\n", "v2")
    assert (same["file_id"], same["version"]) == (file.id, "v2")
    status, changed = await put_output(server, session, "reports/q1 ü.csv", b"c\n", "v3")
    assert changed["file_id"] != file.id
    [replaced] = [file async for file in client.beta.files.list(scope_id=session)]
    assert (replaced.id, replaced.size_bytes) == (changed["file_id"], 2)
    status, listed = await server.harness("pod-1", "GET", f"/sessions/{session}/outputs")
    assert listed == {"outputs": [changed]}


@requirement("files-last")
async def test_what_a_released_pod_copies_late_takes_no_later_output_s_place(server: TestServer) -> None:
    session = await server.create("a")
    await server.register(session)
    async with server.wake() as socket:
        epoch = (await server.leased(socket))["epoch"]
        await put_output(server, session, "kept.txt", b"before")
        claim = {"epoch": epoch, "name": "default", "wait_seconds": 0}
        pod = (await server.harness("pod-1", "POST", f"/sessions/{session}/sandbox", claim))[1]["pod_name"]
        ready = {"session_id": session, "pod_uid": "box-1", "state": "ready", "address": "10.0.0.1:7400"}
        await server.operator("PUT", f"/sandboxes/team-a/{pod}", ready)
        _, summary = await server.operator("POST", f"/sessions/{session}/release", {"epoch": epoch})
        assert summary["collecting"] == pod
        assert await socket.receive_json() == {"type": "released", "sandbox": pod}
    assert (await server.harness("pod-1", "GET", f"/sessions/{session}"))[0] == 403, "it may copy, and nothing else"
    await server.register(session, "pod-2")
    url = f"{server.internal_url}/internal/v1/sessions/{session}/outputs"
    later = await server.call("PUT", url, pod_token("pod-2"), data=b"new", params={"path": "a.txt", "version": "1"})
    assert later[0] == 200
    assert (await put_output(server, session, "a.txt", b"old"))[0] == 409
    assert (await put_output(server, session, "kept.txt", b"after"))[0] == 200
    assert (await put_output(server, session, "b.txt", b"late"))[0] == 200
    assert await server.harness("pod-1", "POST", f"/sessions/{session}/sandbox/{pod}/collected", {}) == (200, {})
    assert (await server.operator("GET", f"/sessions/{session}"))[1]["collecting"] is None
    assert (await put_output(server, session, "c.txt", b"later"))[0] == 403


@pytest.mark.parametrize("path", ["", "/a", "a/../b", "a//b", ".", "a/", "x" * 1025, "a\0b"])
async def test_an_output_outside_its_folder_is_refused(server: TestServer, path: str) -> None:
    session = await server.create("a")
    await server.register(session)
    status, answer = await put_output(server, session, path, b"x")
    assert (status, answer["error"]["type"], answer["error"]["field"]) == (400, "invalid_request", "path")


@requirement("files-end")
async def test_deleting_a_session_removes_its_files_and_no_upload(
    server: TestServer, client: anthropic.AsyncAnthropic, tmp_path: Path
) -> None:
    session = await server.create("a")
    await server.register(session)
    uploaded = await client.beta.files.upload(file=("a.txt", b"text"))
    assert server.running is not None
    store = server.running.context.files
    copy = await store.copy_for_session(uploaded.id, session, namespace="team-a")
    await put_output(server, session, "out.txt", b"x")
    assert len(contents(tmp_path)) == 2
    assert {file.id async for file in client.beta.files.list(scope_id=session)} >= {copy.id}
    assert (await server.operator("DELETE", f"/sessions/{session}"))[0] == 204
    assert [file.id async for file in client.beta.files.list()] == [uploaded.id]
    assert len(contents(tmp_path)) == 1


async def test_a_copy_outlives_its_upload(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    session = await server.create("a")
    await server.register(session)
    uploaded = await client.beta.files.upload(file=("a.txt", b"text", "text/plain"))
    assert server.running is not None
    copy = await server.running.context.files.copy_for_session(uploaded.id, session, namespace="team-a")
    await client.beta.files.delete(uploaded.id)
    status, body, headers = await content_for(server, session, copy.id)
    assert (status, body, headers["Content-Type"], headers["X-Filename"]) == (200, b"text", "text/plain", "a.txt")
    shown = await client.beta.files.retrieve_metadata(copy.id)
    assert (shown.scope and shown.scope.id, shown.downloadable) == (session, False)


async def test_a_claim_of_the_sandbox_that_is_there_makes_none(server: TestServer) -> None:
    session = await server.create("a", {"name": "first", **message("hello")})
    await server.register(session)
    async with server.wake() as socket:
        await server.leased(socket)
        claim = {"epoch": 1, "name": "default", "wait_seconds": 0, "existing": True}
        status, answer = await server.harness("pod-1", "POST", f"/sessions/{session}/sandbox", claim)
        assert (status, answer["state"], answer["pod_name"]) == (200, "pending", None)
        assert (await server.operator("GET", f"/sessions/{session}"))[1]["sandbox"] is None


@requirement("files-apart")
async def test_a_harness_reads_its_sessions_files_only(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    mine, other = await server.create("a"), await server.create("b")
    await server.register(mine)
    uploaded = await client.beta.files.upload(file=("a.txt", b"text"))
    assert (await content_for(server, mine, uploaded.id))[:2] == (200, b"text")
    assert (await content_for(server, mine, "file_unknown"))[0] == 404
    assert (await content_for(server, other, uploaded.id))[0] == 403
    async with client_of(server, "team-b") as theirs:
        foreign = await theirs.beta.files.upload(file=("a.txt", b"text"))
    assert (await content_for(server, mine, foreign.id))[0] == 404
    assert server.running is not None
    theirs_copy = await server.running.context.files.copy_for_session(uploaded.id, other, namespace="team-a")
    assert (await content_for(server, mine, theirs_copy.id))[0] == 404
    document = {"type": "document", "source": {"type": "file", "file_id": theirs_copy.id}}
    said = {**message("look"), "content": [{"type": "text", "text": "look"}, document]}
    status, answer = await server.user("POST", f"/sessions/{mine}/events", {"events": [said]})
    assert status == 200, answer
    assert (await content_for(server, mine, theirs_copy.id))[:2] == (200, b"text")
    url = f"{server.internal_url}/internal/v1/sessions/{mine}/files/{uploaded.id}/content"
    assert (await server.call("GET", url, OPERATOR_TOKEN))[0] == 403


async def test_an_upload_that_pauses_is_refused(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("managed_agents.server.routes.files.SILENCE_SECONDS", 0.05)
    going = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'
        await going.wait()

    headers = TEAM | {"Content-Type": "multipart/form-data; boundary=b"}
    try:
        status, answer = await server.user("POST", "/files", None, headers=headers, data=body())
    finally:
        going.set()
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert "paused" in answer["error"]["message"]


async def test_one_file_more_than_a_namespace_may_have_is_400_and_says_so(tmp_path: Path) -> None:
    async with server_in_process(tmp_path, files_max=1) as server, client_of(server) as client:
        first = await client.beta.files.upload(file=("a.txt", b"x"))
        with pytest.raises(anthropic.types.StorageQuotaExceededError, match=r"has 1 files.*FILES_MAX"):
            await client.beta.files.upload(file=("b.txt", b"x"))
        await client.beta.files.delete(first.id)
        await client.beta.files.upload(file=("b.txt", b"x"))
