"""Pools of blank sandboxes: what every backend of the event log must do for them (design §7)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from managed_agents.contracts.errors import ConflictError, FencedError
from managed_agents.eventlog.records import Change, Sandbox
from managed_agents.eventlog.sqlite import open_event_log
from managed_agents.eventlog.store import EventLog
from managed_agents.eventlog.warm_sandboxes import PoolClaim, SandboxPool, WantedSandbox, WarmReport, WarmSandbox
from support.requirements import requirement

PLACE = {"namespace": "team-a", "environment": "env_1"}
CLAIM = PoolClaim(environment="env_1", generation=3)
PACKAGES = "0123456789abcdef" * 2


def on_fatal(error: BaseException) -> None:
    raise AssertionError(error)


@pytest.fixture(params=["memory", "file"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
    opened = open_event_log(None if request.param == "memory" else tmp_path, on_fatal=on_fatal)
    await opened.warm.put_pool(SandboxPool(**PLACE, generation=3, pool="p-1"))
    yield opened
    await opened.close()


async def session(log: EventLog, number: int = 1, namespace: str = "team-a") -> tuple[str, int]:
    """Make a session; return its id and its epoch."""

    def nothing(_: Mapping[str, Any], __: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return []

    name = f"sesn_{number:032}"
    config = {
        "id": name,
        "uid": f"uid-{number}",
        "namespace": namespace,
        "name": f"s-{number}",
        "created_at": "2026-01-02T00:00:00Z",
    }
    await log.put(config | {"agent": {"id": "agent_1", "version": 1}}, nothing)
    return name, (await log.take_epoch(name)).epoch


async def added(log: EventLog, name: str = "ma-python-1", **changes: Any) -> WarmSandbox:
    wanted: dict[str, Any] = {**PLACE, "pod_name": name, "pool": "p-1"}
    return await log.warm.add(WantedSandbox(**wanted | changes))


async def seen(log: EventLog, name: str = "ma-python-1", state: Any = "ready", **changes: Any) -> WarmSandbox | None:
    values: dict[str, Any] = {"pod_uid": f"uid-of-{name}", "address": "10.0.0.1:7400" if state == "ready" else None}
    return await log.warm.report(WarmReport(namespace="team-a", pod_name=name, state=state, **values | changes))


async def free(log: EventLog, name: str = "ma-python-1", **changes: Any) -> WarmSandbox:
    await added(log, name, **changes)
    found = await seen(log, name)
    assert found is not None
    return found


async def states(log: EventLog) -> list[tuple[str, str]]:
    return [(one.pod_name, one.state) for one in (await log.warm.find("team-a"))[1]]


@requirement("warm-sandbox-once")
async def test_a_claim_gets_a_free_sandbox_ready_and_takes_it_out_of_the_pool(log: EventLog) -> None:
    mine, epoch = await session(log)
    waiting = await free(log)
    heard: list[Change] = []
    log.listen(heard.append)
    taken = await log.claim_sandbox(mine, epoch, CLAIM)
    assert taken == Sandbox(
        namespace="team-a",
        pod_name="ma-python-1",
        generation=1,
        state="ready",
        bind_token=waiting.bind_token,
        binding_secret=taken.binding_secret,
        pod_uid="uid-of-ma-python-1",
        address="10.0.0.1:7400",
    )
    assert taken.token_sha256 == waiting.token_sha256
    assert taken.binding_secret not in ("", taken.bind_token)
    assert [change.session.sandbox for change in heard if change.session is not None] == [taken]
    assert await states(log) == []
    assert await log.claim_sandbox(mine, epoch, CLAIM) == taken
    with pytest.raises(FencedError):
        await log.claim_sandbox(mine, epoch + 1, CLAIM)


@requirement("warm-sandbox-once")
async def test_of_ten_claims_at_once_on_a_pool_of_one_each_gets_a_sandbox_of_its_own(log: EventLog) -> None:
    sessions = [await session(log, number) for number in range(10)]
    await free(log)
    claims = await asyncio.gather(*(log.claim_sandbox(mine, epoch, CLAIM) for mine, epoch in sessions))
    assert sorted(claim.state for claim in claims) == ["ready"] + ["wanted"] * 9
    assert len({claim.pod_name for claim in claims}) == 10
    assert len({claim.bind_token for claim in claims}) == 10


async def test_the_oldest_free_sandbox_goes_first(log: EventLog) -> None:
    for name in ("ma-c", "ma-a", "ma-b"):
        await free(log, name)
    taken = [(await log.claim_sandbox(*await session(log, number), CLAIM)).pod_name for number in range(3)]
    assert taken == ["ma-c", "ma-a", "ma-b"]


@pytest.mark.parametrize("state", ["wanted", "pending again", "gone", "without packages", "retired"])
async def test_only_a_ready_pod_with_its_packages_is_free(log: EventLog, state: str) -> None:
    mine, epoch = await session(log)
    await added(log, packages=PACKAGES if state == "without packages" else None)
    if state != "wanted":
        await seen(log)
    if state in ("pending again", "gone"):
        await seen(log, state=state.removesuffix(" again"))
    if state == "retired":
        assert await log.warm.retire("team-a", "ma-python-1") is False
    assert (await log.claim_sandbox(mine, epoch, CLAIM)).state == "wanted"


@pytest.mark.parametrize(
    ("claim", "namespace", "pool"),
    [
        (None, "team-a", "p-1"),
        (PoolClaim(environment="env_2", generation=3), "team-a", "p-1"),
        (PoolClaim(environment="env_1", generation=4), "team-a", "p-1"),
        (PoolClaim(environment="env_1", generation=2), "team-a", "p-1"),
        (CLAIM, "team-b", "p-1"),
        (CLAIM, "team-a", "p-0"),
    ],
    ids=["no pool", "another Environment", "newer", "older", "another namespace", "stale pool"],
)
async def test_a_claim_gets_nothing_of_another_pool(
    log: EventLog, claim: PoolClaim | None, namespace: str, pool: str
) -> None:
    mine, epoch = await session(log, namespace=namespace)
    await free(log, pool=pool)
    assert (await log.claim_sandbox(mine, epoch, claim)).state == "wanted"
    assert await states(log) == [("ma-python-1", "free")]


async def test_a_pool_that_changes_or_goes_serves_no_claim_with_what_was_made_before(log: EventLog) -> None:
    await free(log)
    await log.warm.put_pool(SandboxPool(**PLACE, generation=4, pool="p-2"))
    newer = PoolClaim(environment="env_1", generation=4)
    assert (await log.warm.find("team-a"))[0] == [SandboxPool(**PLACE, generation=4, pool="p-2")]
    for number, claim in enumerate((CLAIM, newer)):
        assert (await log.claim_sandbox(*await session(log, number), claim)).state == "wanted"
    await free(log, "ma-python-2", pool="p-2")
    await log.warm.drop_pool("team-a", "env_1")
    assert (await log.claim_sandbox(*await session(log, 5), newer)).state == "wanted"
    assert (await log.warm.find("team-a"))[0] == []
    assert await log.warm.namespaces() == ["team-a"]
    for name in ("ma-python-1", "ma-python-2"):
        await log.warm.retire("team-a", name)
    assert await log.warm.namespaces() == []


@requirement("warm-sandbox-packages")
async def test_packages_make_that_very_pod_free(log: EventLog) -> None:
    await added(log, packages=PACKAGES)
    assert await log.warm.without_packages() == []
    ready = await seen(log)
    assert ready is not None
    assert await log.warm.without_packages() == [ready]
    await log.warm.supplied("team-a", "ma-python-1", "another-uid")
    assert await states(log) == [("ma-python-1", "ready")]
    await log.warm.supplied("team-a", "ma-python-1", "uid-of-ma-python-1")
    await seen(log)
    assert await states(log) == [("ma-python-1", "free")]
    assert await log.warm.without_packages() == []
    await seen(log, state="pending")
    await log.warm.supplied("team-a", "ma-python-1", "uid-of-ma-python-1")
    assert await states(log) == [("ma-python-1", "wanted")]


async def test_another_pod_under_the_name_is_not_the_pools(log: EventLog) -> None:
    await free(log)
    assert await seen(log, pod_uid="another") is None
    assert await states(log) == []
    assert await seen(log, "ma-unknown") is None


@requirement("warm-sandbox-once")
async def test_a_pod_is_retired_or_claimed_and_never_both(log: EventLog) -> None:
    mine, epoch = await session(log)
    await free(log)

    async def retire() -> bool | str:
        try:
            return await log.warm.retire("team-a", "ma-python-1")
        except ConflictError:
            return "claimed"

    claimed, retired = await asyncio.gather(log.claim_sandbox(mine, epoch, CLAIM), retire())
    assert (claimed.state, retired) in (("ready", "claimed"), ("wanted", False))
    assert await log.warm.retire("team-b", "ma-python-1") is False
    await log.release(mine, epoch)
    assert await log.warm.retire("team-a", "ma-python-1") is False


@requirement("warm-sandbox-workspace")
async def test_a_workspace_comes_with_a_sessions_first_sandbox_only(log: EventLog) -> None:
    mine, epoch = await session(log)
    await free(log, has_claim=True)
    await log.claim_sandbox(mine, epoch, CLAIM)
    assert (await log.session(mine)).workspace == "ma-python-1"
    released = await log.release(mine, epoch)
    assert (released.sandbox, released.workspace) == (None, "ma-python-1")
    assert await log.warm.retire("team-a", "ma-python-1") is True
    await free(log, "ma-python-2", has_claim=True)
    epoch = (await log.take_epoch(mine)).epoch
    later = await log.claim_sandbox(mine, epoch, CLAIM)
    assert (later.generation, later.state) == (2, "wanted")
    assert await states(log) == [("ma-python-2", "free")]
    await log.delete(mine)
    assert await log.warm.retire("team-a", "ma-python-1") is False


async def test_a_sandbox_without_a_workspace_serves_a_session_again(log: EventLog) -> None:
    mine, epoch = await session(log)
    for number in (1, 2):
        await free(log, f"ma-python-{number}")
        taken = await log.claim_sandbox(mine, epoch, CLAIM)
        assert (taken.pod_name, taken.generation) == (f"ma-python-{number}", number)
        await log.release(mine, epoch)
        epoch = (await log.take_epoch(mine)).epoch
    assert (await log.session(mine)).workspace is None


@requirement("warm-sandbox-downtime")
async def test_pools_claims_and_workspaces_survive_a_restart(tmp_path: Path) -> None:
    first = open_event_log(tmp_path, on_fatal=on_fatal)
    await first.warm.put_pool(SandboxPool(**PLACE, generation=3, pool="p-1"))
    mine, epoch = await session(first)
    waiting = await free(first, has_claim=True)
    await free(first, "ma-python-2")
    taken = await first.claim_sandbox(mine, epoch, CLAIM)
    await first.close()
    second = open_event_log(tmp_path, on_fatal=on_fatal)
    found = await second.session(mine)
    assert (found.sandbox, found.workspace) == (taken, waiting.pod_name)
    assert await states(second) == [("ma-python-2", "free")]
    assert (await second.claim_sandbox(*await session(second, 2), CLAIM)).pod_name == "ma-python-2"
    await second.close()
