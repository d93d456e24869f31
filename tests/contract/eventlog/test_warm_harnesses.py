"""Warm harnesses in the log: given to one session in one commit, for good (design §3)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from managed_agents.contracts.errors import ConflictError
from managed_agents.eventlog.records import HarnessPod, WarmHarness
from managed_agents.eventlog.sqlite import open_event_log
from managed_agents.eventlog.store import Append, EventLog
from support.requirements import requirement

SESSION = "sesn_00000000000000000000000000000001"
OTHER = "sesn_00000000000000000000000000000002"
WARM = WarmHarness(
    pod_uid="pod-1",
    namespace="team-a",
    image="",
    pod_name="ma-warm-a-1-x",
    deployment_name="ma-warm-a-1",
    deployment_uid="deployment-1",
)


def on_fatal(error: BaseException) -> None:
    raise AssertionError(error)


@pytest.fixture(params=["memory", "file"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
    opened = open_event_log(None if request.param == "memory" else tmp_path, on_fatal=on_fatal)
    yield opened
    await opened.close()


async def wanted(log: EventLog, session: str = SESSION, **changes: Any) -> None:
    """Make a session with a message that waits."""
    config = {"id": session, "uid": f"uid-{session}", "namespace": "team-a", "name": "s", **changes}
    await log.put(config, lambda _, __: [])
    event = {"type": "user.message", "content": []}
    await log.append(Append(session=session, events=[event], admit=lambda _, __, ___: False))


@requirement("warm-harness", "I4")
async def test_a_lease_binds_pod_and_deployment_under_the_next_epoch(log: EventLog) -> None:
    await wanted(log)
    await log.take_epoch(SESSION)
    await log.offer_harness(WARM)
    session = await log.lease_harness(SESSION, "pod-1")
    assert session is not None
    assert session.harness is not None
    assert (session.epoch, session.harness.epoch, session.harness.deployment_name) == (2, 2, "ma-warm-a-1")
    assert await log.warm_harness("pod-1") is None
    pod = await log.harness_pod("pod-1")
    assert pod == HarnessPod(
        pod_uid="pod-1",
        namespace="team-a",
        pod_name="ma-warm-a-1-x",
        deployment_uid="deployment-1",
        session_id=SESSION,
    )


@requirement("warm-harness", "F8")
async def test_a_harness_is_given_once(log: EventLog) -> None:
    await wanted(log)
    await wanted(log, OTHER)
    await log.offer_harness(WARM)
    assert await log.lease_harness(SESSION, "pod-1") is not None
    assert await log.lease_harness(OTHER, "pod-1") is None
    with pytest.raises(ConflictError):
        await log.offer_harness(replace(WARM, pod_uid="pod-2"))
    with pytest.raises(ConflictError):
        await log.withdraw_harness("deployment-1", None)


@requirement("warm-harness", "A1")
async def test_a_session_that_wants_none_or_of_another_namespace_gets_none(log: EventLog) -> None:
    await log.put({"id": SESSION, "uid": "u", "namespace": "team-a", "name": "s"}, lambda _, __: [])
    await wanted(log, OTHER, namespace="team-b")
    await log.offer_harness(WARM)
    for session in (SESSION, OTHER):
        with pytest.raises(ConflictError):
            await log.lease_harness(session, "pod-1")
    assert await log.warm_harness("pod-1") == WARM


@requirement("warm-harness")
async def test_what_is_withdrawn_is_gone_and_the_others_stay(log: EventLog) -> None:
    second = replace(WARM, pod_uid="pod-2", deployment_uid="deployment-2")
    for warm in (WARM, second):
        await log.offer_harness(warm)
    assert await log.withdraw_harness("deployment-1", None) == ("pod-1",)
    assert await log.withdraw_harness("deployment-1", None) == ()
    assert await log.warm_harness("pod-1") is None
    assert await log.withdraw_harness("deployment-2", "another") == ()
    assert await log.warm_harness("pod-2") == second
