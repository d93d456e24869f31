"""The whole process: kopf's watches and handlers, leader election, and an end in good order."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support.kube import FakeKube, kind_of
from support.operator_process import WAIT_SECONDS, OperatorProcess, image_environment, operator_process
from support.operator_world import World
from support.requirements import requirement

pytestmark = pytest.mark.slow


@pytest.fixture
async def process(operated: World, tmp_path: Path) -> AsyncIterator[OperatorProcess]:
    operated.deaf = True
    async with operator_process(
        tmp_path,
        kube_url=operated.api.url,
        server_url=operated.server.internal_url,
        token_path=Path(operated.settings.server_token_path),
    ) as started:
        yield started


async def until(kube: FakeKube, holds: Callable[[], bool]) -> None:
    """Wait for a change of the fake after which something holds."""
    changed = asyncio.Event()
    kube.listeners.append(lambda _: changed.set())
    async with asyncio.timeout(WAIT_SECONDS):
        while not holds():
            changed.clear()
            await changed.wait()


def idle_reason(world: World, name: str) -> str | None:
    session = world.kube.find("sessions", "team-a", name)
    conditions = ((session or {}).get("status") or {}).get("conditions") or []
    return next((item["reason"] for item in conditions if item["type"] == "Idle"), None)


async def test_process_brings_a_session_up_and_leaves_its_lease(operated: World, process: OperatorProcess) -> None:
    await operated.catalog()
    operated.session("repair", "Make it pass.")
    await until(operated.kube, lambda: idle_reason(operated, "repair") == "StartingHarness")
    await until(operated.kube, lambda: len(operated.names("pods")) == 1)

    assert operated.get("agents", "bot")["status"]["version"] == 1
    assert operated.condition("agents", "bot", "Ready")["reason"] == "ModelServed"
    assert operated.condition("environments", "python", "Ready")["status"] == "True"
    assert operated.condition("modelproviders", "simulated", "Ready")["reason"] == "Valid"

    policies = operated.names("networkpolicies")
    operated.kube.delete(kind_of("networkpolicies"), "team-a", policies[0])
    await until(operated.kube, lambda: operated.names("networkpolicies") == policies)

    assert await process.stop() == 0, process.lines
    lease = operated.kube.get("leases", "managed-agents-system", "managed-agents-operator")
    assert lease["spec"]["holderIdentity"] == ""


async def test_process_runs_under_a_uid_without_a_name(
    operated: World, process: OperatorProcess, tmp_path: Path
) -> None:
    ask = [sys.executable, "-c", "import getpass; getpass.getuser()"]
    environment = image_environment(tmp_path / "image")
    asked = await asyncio.create_subprocess_exec(*ask, env=environment, stderr=asyncio.subprocess.DEVNULL)
    assert await asked.wait() != 0  # kopf would ask just this
    await operated.catalog()
    await until(operated.kube, lambda: (operated.get("agents", "bot").get("status") or {}).get("version") == 1)


@requirement("F30")
async def test_process_keeps_annotations_small_and_survives_an_expired_watch(
    operated: World, process: OperatorProcess
) -> None:
    await operated.catalog()
    await until(operated.kube, lambda: (operated.get("agents", "bot").get("status") or {}).get("version") == 1)
    operated.change("agents", "bot", {"system": "x" * 100_000})
    await until(operated.kube, lambda: operated.get("agents", "bot")["status"]["version"] == 2)
    await until(operated.kube, lambda: bool(operated.get("agents", "bot")["metadata"].get("annotations")))
    annotations = operated.get("agents", "bot")["metadata"]["annotations"]
    assert sum(len(value) for value in annotations.values()) < 1000

    operated.api.end_watches()
    operated.kube.compact()
    operated.change("agents", "bot", {"system": "You repair again."})
    await until(operated.kube, lambda: operated.get("agents", "bot")["status"]["version"] == 3)


async def test_second_process_takes_over_from_the_first(
    operated: World, process: OperatorProcess, tmp_path: Path
) -> None:
    def holder() -> str | None:
        lease = operated.kube.find("leases", "managed-agents-system", "managed-agents-operator")
        return lease["spec"]["holderIdentity"] if lease else None

    await until(operated.kube, lambda: holder() == "operator-0")
    async with operator_process(
        tmp_path,
        kube_url=operated.api.url,
        server_url=operated.server.internal_url,
        token_path=Path(operated.settings.server_token_path),
        identity="operator-1",
    ) as second:
        await second.says("lease_held_by_another")
        await process.stop(signal.SIGTERM)
        await until(operated.kube, lambda: holder() == "operator-1")
