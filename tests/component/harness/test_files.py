"""Files in and out of a session's sandbox, through the real server, proxy and supervisor."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from managed_agents.proxy.app import running as proxy_running
from support.requirements import requirement
from support.server import USER_TOKEN, pod_token, session_config
from support.stack import POD, Stack, script, stack_running
from support.stack import _proxy_settings as proxy_settings
from support.stack import _settings_for as settings_for

pytestmark = pytest.mark.slow  # whole processes

TEAM = {"anthropic-workspace-id": "team-a"}


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack_running(tmp_path) as made:
        yield made


async def upload(stack: Stack, name: str, content: bytes) -> str:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(content), filename=name)
    url = f"{stack.server.public_url}/v1/files"
    status, answer = await stack.server.call("POST", url, USER_TOKEN, data=form, headers=TEAM)
    assert status == 200, answer
    return str(answer["id"])


async def give(stack: Stack, *resources: dict[str, Any]) -> None:
    """Set the session's resources as the operator does."""
    given = [
        {"type": "file", "id": f"sesrsc_{resource['file_id']}", "source_file_id": resource["file_id"], **resource}
        for resource in resources
    ]
    body = {"config": session_config("repair-42", resources=given), "events": []}
    status, answer = await stack.server.operator("PUT", f"/sessions/{stack.session}", body)
    assert status == 200, answer


async def run(stack: Stack, command: str) -> str:
    """Let the agent run a command; return what it says, which is the tool's result."""
    call = {"tool": "bash", "input": {"command": command}}
    summary = await stack.turn(script(call, {"text": "{{last_tool_result}}"}))
    return str(summary["last_message"]["text"]).strip()


async def files_of(stack: Stack, count: int) -> list[dict[str, Any]]:
    """Return the session's files once there are that many."""
    async with asyncio.timeout(5):
        while True:
            status, answer = await stack.server.user("GET", f"/files?scope_id={stack.session}", headers=TEAM)
            assert status == 200, answer
            if len(answer["data"]) == count:
                files: list[dict[str, Any]] = answer["data"]
                return files
            await asyncio.sleep(0.02)


async def content_of(stack: Stack, file_id: str) -> bytes:
    headers = {"Authorization": f"Bearer {USER_TOKEN}"}
    async with stack.server.http.get(
        f"{stack.server.public_url}/v1/files/{file_id}/content", headers=headers
    ) as answer:
        assert answer.status == 200
        return await answer.read()


@requirement("files-in")
async def test_files_given_are_there_before_the_first_call_and_follow_the_config(stack: Stack) -> None:
    first, second = await upload(stack, "a.txt", b"first"), await upload(stack, "b.txt", b"second")
    kept = {"file_id": second, "mount_path": "b.txt"}
    await give(stack, {"file_id": first, "mount_path": "/mnt/session/uploads/data/a.txt"}, kept)
    stack.start_worker()
    assert await run(stack, "cat ../uploads/data/a.txt ../uploads/b.txt") == "firstsecond"

    third = await upload(stack, "c.txt", b"third" * 1_000_000)
    await give(stack, kept, {"file_id": third, "mount_path": "c.txt"})
    assert await run(stack, "cd ../uploads; find . -type f | sort; wc -c < c.txt") == "./b.txt\n./c.txt\n5000000"
    await give(stack)
    uploads = stack.sandboxes[0].folder / "uploads"
    async with asyncio.timeout(5):
        while any(uploads.iterdir()):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)


async def test_a_new_worker_finds_the_files_in_place(stack: Stack) -> None:
    file_id = await upload(stack, "a.txt", b"first")
    await give(stack, {"file_id": file_id, "mount_path": "a.txt"})
    stack.start_worker()
    await run(stack, "true")
    placed = (stack.sandboxes[0].folder / "uploads" / "a.txt").stat().st_ino
    await stack.stop_worker()
    stack.start_worker()
    assert await run(stack, "cat ../uploads/a.txt") == "first"
    assert (stack.sandboxes[0].folder / "uploads" / "a.txt").stat().st_ino == placed


@requirement("files-missing")
async def test_a_file_that_is_gone_breaks_nothing_and_the_model_is_told(stack: Stack) -> None:
    kept, gone = await upload(stack, "a.txt", b"kept"), await upload(stack, "gone.txt", b"gone")
    await give(stack, {"file_id": gone, "mount_path": "gone.txt"}, {"file_id": kept, "mount_path": "a.txt"})
    _, answer = await stack.server.harness(POD, "GET", f"/sessions/{stack.session}")
    [copy] = [entry["file_id"] for entry in answer["config"]["resources"] if entry["mount_path"] == "gone.txt"]
    assert (await stack.server.user("DELETE", f"/files/{copy}"))[0] == 200
    stack.start_worker()
    first = await run(stack, "cat ../uploads/a.txt")
    assert first.startswith("kept")
    assert (
        f"[/mnt/session/uploads/gone.txt is missing: {copy} could not be placed there: file {copy} not found]" in first
    )
    assert await run(stack, "cat ../uploads/a.txt") == "kept"


@requirement("files-out")
async def test_what_tools_leave_is_there_to_download_soon_after_idle(stack: Stack) -> None:
    stack.start_worker()
    await run(stack, "cd ../outputs; mkdir -p reports; printf one > reports/a.csv; ln -s /etc/passwd link; mkfifo pipe")
    [file] = await files_of(stack, 1)
    assert (file["filename"], file["mime_type"], file["downloadable"]) == ("reports/a.csv", "text/csv", True)
    assert file["scope"] == {"type": "session", "id": stack.session}
    assert await content_of(stack, file["id"]) == b"one"

    await run(stack, "cd ../outputs; printf two > reports/a.csv; head -c 3000000 /dev/zero > zero.bin; rm link pipe")
    changed, zero = sorted(await files_of(stack, 2), key=lambda found: str(found["filename"]))
    assert changed["id"] != file["id"]
    assert (await content_of(stack, changed["id"]), zero["size_bytes"]) == (b"two", 3_000_000)

    await run(stack, "cd ../outputs; touch reports/a.csv; rm zero.bin; printf new > b.txt")
    after = {found["filename"]: found["id"] for found in await files_of(stack, 3)}
    assert (after["reports/a.csv"], after["zero.bin"]) == (changed["id"], zero["id"])


async def copied(stack: Stack) -> None:
    """Wait until the operator may take the sandbox's Pod."""
    async with asyncio.timeout(5):
        while (await stack.summary())["collecting"] is not None:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)


@requirement("files-last")
@pytest.mark.parametrize("ending", ["release", "archive"])
async def test_what_lies_there_when_the_session_is_taken_becomes_a_file(stack: Stack, ending: str) -> None:
    stack.start_worker()
    await run(stack, "true")
    (stack.sandboxes[0].folder / "outputs" / "late.txt").write_text("x")  # a background job, after the last look
    epoch = (await stack.summary())["epoch"]
    if ending == "release":
        status, summary = await stack.server.operator("POST", f"/sessions/{stack.session}/release", {"epoch": epoch})
    else:
        status, summary = await stack.server.operator(
            "PUT", f"/sessions/{stack.session}", {"events": [], "archived": True}
        )
    assert (status, summary["leased"]) == (200, False)
    assert summary["collecting"] is not None, "its Pods stay for now"
    await copied(stack)
    [file] = await files_of(stack, 1)
    assert (file["filename"], await content_of(stack, file["id"])) == ("late.txt", b"x")
    if ending == "release":
        outputs = f"{stack.server.internal_url}/internal/v1/sessions/{stack.session}/outputs"
        assert (await stack.server.call("GET", outputs, pod_token(POD)))[0] == 403


@requirement("files-last")
async def test_what_a_call_left_is_a_file_before_the_turn_ends(stack: Stack) -> None:
    stack.start_worker()
    await stack.send(
        script(
            {"tool": "bash", "input": {"command": "printf x > ../outputs/a.txt"}},
            {"tool": "bash", "input": {"command": "touch started; until [ -e go ]; do sleep 0.05; done"}},
            {"text": "done"},
        )
    )
    await stack.started("started")
    [file] = await files_of(stack, 1)
    assert file["filename"] == "a.txt"
    assert (await stack.summary())["status"] == "running"
    (stack.sandboxes[0].folder / "workspace" / "go").touch()
    await stack.until(wanted=False)


async def test_a_new_proxy_finds_what_the_one_before_left(stack: Stack, tmp_path: Path) -> None:
    stack.start_worker()
    await run(stack, "true")
    await stack.stop_worker()
    (stack.sandboxes[0].folder / "outputs" / "late.txt").write_text("x")
    (tmp_path / "new").mkdir()
    settings = proxy_settings(tmp_path / "new", stack.server.internal_url, "http://127.0.0.1:1")
    async with proxy_running(settings) as ports:
        stack.settings = settings_for(ports)
        stack.start_worker()
        [file] = await files_of(stack, 1)
        assert file["filename"] == "late.txt"
        await stack.stop_worker()


async def test_an_output_larger_than_a_file_may_be_is_left_and_others_come(stack: Stack) -> None:
    assert stack.server.running is not None
    stack.server.running.context.files._file_bytes_max = 1_000
    stack.start_worker()
    await run(stack, "cd ../outputs; head -c 2000000 /dev/zero > a.bin; printf x > b.txt")
    [file] = await files_of(stack, 1)
    assert file["filename"] == "b.txt"


async def test_a_harness_reads_files_through_its_proxy(stack: Stack) -> None:
    file_id = await upload(stack, "a.txt", b"text")
    url = f"{stack.settings.session_url}/internal/v1/sessions/{stack.session}/files/{file_id}/content"
    async with stack.server.http.get(url) as answer:
        assert (answer.status, await answer.read()) == (200, b"text")
        assert (answer.headers["Content-Type"], answer.headers["X-Filename"]) == ("application/octet-stream", "a.txt")
    direct = f"{stack.server.internal_url}/internal/v1/sessions/{stack.session}/outputs"
    assert (await stack.server.call("GET", direct, pod_token(POD)))[0] == 200
