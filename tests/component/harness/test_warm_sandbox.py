"""A session on a warm sandbox: claimed by a commit, bound over HTTP, its packages unpacked before anybody asked."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from managed_agents.proxy.package_job.upload import archive_of
from managed_agents.server.services import warm_packages
from managed_agents.server.services.packages import Archive
from support.public_sessions import apply
from support.requirements import requirement
from support.sandbox_process import Sandbox, new_folder
from support.stack import Stack, script, stack_running
from support.waiting import until

DIGEST = "0123456789abcdef" * 2
ENVIRONMENT = "env_0123456789ab"


@dataclass
class Pool:
    """A pool of one Pod, whose processes run here."""

    stack: Stack
    pod_name: str
    sandbox: Sandbox

    async def states(self) -> list[str]:
        _, answer = await self.stack.server.operator("GET", "/warm-sandboxes/team-a")
        return [one["state"] for one in answer["sandboxes"]]

    async def becomes(self, *expected: str) -> None:
        async with asyncio.timeout(10):
            while await self.states() != list(expected):  # noqa: ASYNC110 - it is the server's to change
                await asyncio.sleep(0.01)

    async def report_ready(self) -> None:
        body = {"state": "ready", "pod_uid": "uid-1", "address": f"127.0.0.1:{self.sandbox.port}"}
        status, answer = await self.stack.server.operator("PUT", f"/warm-sandboxes/team-a/{self.pod_name}", body)
        assert status == 204, answer


@asynccontextmanager
async def pool_of_one(stack: Stack, *arguments: str, packages: str | None = None) -> AsyncIterator[Pool]:
    """Make a record with its Pod, started and not reported."""
    server = stack.server
    spec = {"config": {"type": "cloud"}}
    apply(server.kube, "environments", "python", spec, annotations={"managedagents.dev/id": ENVIRONMENT})
    await until(lambda: server.objects.environments.find(ENVIRONMENT) is not None)
    await server.operator("PUT", f"/sandbox-pools/team-a/{ENVIRONMENT}", {"generation": 1, "pool": "p-1"})
    wanted = {"namespace": "team-a", "environment": ENVIRONMENT, "name": "python", "pool": "p-1", "packages": packages}
    _, made = await server.operator("POST", "/warm-sandboxes", wanted)
    token = ("--token-sha256", made["token_sha256"])
    sandbox = Sandbox(new_folder(), arguments=(*token, *arguments), variables=stack.sandbox_variables)
    try:
        await sandbox.start_supervisor()
        await sandbox.start_runner()
        pool = Pool(stack, made["pod_name"], sandbox)
        assert await pool.states() == ["wanted"]
        yield pool
    finally:
        await sandbox.close()
        shutil.rmtree(sandbox.folder)


async def store_archive(stack: Stack, installed: Path) -> None:
    """Keep an archive of a folder as the package Job's upload does."""
    assert stack.server.running is not None
    place = Archive(namespace="team-a", digest=DIGEST)
    await stack.server.running.context.packages.receive(place, "pod-install", archive_of(installed))


def run(command: str) -> Any:
    return script({"tool": "bash", "input": {"command": command}}, {"text": "{{last_tool_result}}"})


@requirement("warm-sandbox-once", "warm-sandbox-downtime")
async def test_the_first_call_runs_on_the_warm_sandbox_and_nobody_makes_a_pod(tmp_path: Path) -> None:
    async with stack_running(tmp_path) as stack, pool_of_one(stack) as pool:
        await pool.report_ready()
        await pool.becomes("free")
        stack.start_worker()
        summary = await stack.turn(run("echo warm"))
        assert summary["last_message"]["text"].strip() == "warm"
        assert (summary["sandbox"]["pod_name"], summary["sandbox"]["state"]) == (pool.pod_name, "ready")
        assert await pool.states() == []
        assert stack.sandboxes == []


@requirement("warm-sandbox-packages")
async def test_packages_are_brought_by_the_server_before_the_sandbox_is_free(tmp_path: Path) -> None:
    installed, unpacked = tmp_path / "installed", tmp_path / "unpacked"
    (installed / "pip").mkdir(parents=True)
    unpacked.mkdir()
    (installed / "pip" / "greeting.py").write_text("WORDS = 'from a package'\n")
    async with stack_running(tmp_path) as stack:
        stack.sandbox_variables = {"PYTHONPATH": f"{unpacked}/pip"}
        await store_archive(stack, installed)
        arguments = ("--packages", str(unpacked), "--packages-digest", DIGEST)
        async with pool_of_one(stack, *arguments, packages=DIGEST) as pool:
            await pool.report_ready()
            await pool.becomes("free")
            assert (unpacked / "pip" / "greeting.py").exists()
            stack.start_worker()
            summary = await stack.turn(run("python3 -c 'import greeting; print(greeting.WORDS)'"))
            assert summary["last_message"]["text"].strip() == "from a package"
            assert summary["sandbox"]["pod_name"] == pool.pod_name


@requirement("warm-sandbox-packages")
async def test_packages_that_cannot_be_brought_yet_are_tried_again_and_hold_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_packages, "RETRY_SECONDS", 0.02)
    installed = tmp_path / "installed"
    installed.mkdir()
    async with stack_running(tmp_path) as stack:
        arguments = ("--packages", str(tmp_path / "unpacked"), "--packages-digest", DIGEST)
        (tmp_path / "unpacked").mkdir()
        async with pool_of_one(stack, *arguments, packages=DIGEST) as pool:
            await pool.report_ready()
            await pool.becomes("ready")
            stack.start_worker()
            summary = await stack.turn(run("echo cold"))
            assert (summary["last_message"]["text"].strip(), len(stack.sandboxes)) == ("cold", 1)
            await store_archive(stack, installed)
            await pool.becomes("free")
