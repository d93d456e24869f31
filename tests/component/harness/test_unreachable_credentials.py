"""An environment credential for hosts that the Environment does not allow: a typed event, and the session goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from support.injection import credential, everywhere
from support.ordering import violations
from support.requirements import requirement
from support.sdk_client import client_of
from support.stack import Stack, script, stack_running

pytestmark = pytest.mark.slow  # whole processes

CALL = {"tool": "bash", "input": {"command": "curl -sS https://two.example/ 2>&1 || true"}}


@asynccontextmanager
async def _stack(folder: Path, hosts: list[str], *entries: Any) -> AsyncIterator[Stack]:
    """Run a session of an Environment that allows these hosts, with these credentials mounted."""
    networking = {"type": "limited", "allowed_hosts": hosts}
    environment = {
        "id": "env_0123456789ab",
        "name": "python",
        "config": {"type": "cloud", "networking": networking, "packages": {}},
    }
    async with stack_running(folder, environment=environment, vault_ids=["vlt_1"]) as stack:
        _mount(stack, *entries)
        stack.start_worker()
        yield stack


def _mount(stack: Stack, *entries: Any) -> None:
    document = {"session_id": stack.session, "generation": 1, "credentials": list(entries)}
    fresh = stack.folder / "credentials.new"
    fresh.write_bytes(orjson.dumps(document))
    fresh.replace(stack.folder / "credentials.json")


async def _told(stack: Stack) -> list[Any]:
    return [event["error"] for event in await stack.events() if event["type"] == "session.error"]


@requirement("injection-unreachable", "credentials-fail")
async def test_a_credential_of_which_no_host_is_allowed_is_told_once_a_wake(tmp_path: Path) -> None:
    async with _stack(tmp_path, ["other.example"], credential(hosts=["one.example", "*.two.example"])) as stack:
        summary = await stack.turn(script(CALL, CALL, {"text": "went on"}))
        assert summary["last_message"]["text"] == "went on"
        (error,) = await _told(stack)
        assert error["type"] == "credential_host_unreachable_error"
        assert (error["credential_id"], error["vault_id"]) == ("vcrd_token", "vlt_1")
        assert "*.two.example, one.example" in error["message"]
        async with client_of(stack.server) as client:
            found = [event async for event in client.beta.sessions.events.list(stack.session)]
            (event,) = [event for event in found if event.type == "session.error"]
            assert event.error.type == "credential_host_unreachable_error"
        await stack.turn(script(CALL, {"text": "again"}))
        assert len(await _told(stack)) == 1

        await stack.stop_worker()
        stack.start_worker()
        await stack.turn(script(CALL, {"text": "another wake"}))
        assert len(await _told(stack)) == 2

        _mount(stack, credential(hosts=["other.example"]))
        await stack.stop_worker()
        stack.start_worker()
        summary = await stack.turn(script(CALL, {"text": "mended"}))
        assert (summary["last_message"]["text"], len(await _told(stack))) == ("mended", 2)
        assert violations(await stack.events()) == []


@requirement("injection-unreachable", "credentials-fail")
async def test_a_host_that_a_tool_is_refused_is_told_where_a_credential_names_it(tmp_path: Path) -> None:
    hosts = ["one.example", "two.example"]
    async with _stack(tmp_path, ["one.example"], credential(hosts=hosts), everywhere("OTHER")) as stack:
        idle = {"tool": "bash", "input": {"command": "true"}}
        await stack.turn(script(idle, {"text": "nothing yet"}))
        assert await _told(stack) == []
        await stack.turn(script(CALL, CALL, {"text": "went on"}))
        (error,) = await _told(stack)
        assert (error["type"], error["credential_id"]) == ("credential_host_unreachable_error", "vcrd_token")
        assert "is for two.example, which" in error["message"]
