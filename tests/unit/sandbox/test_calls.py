"""The life of a call: once, joined, journaled, cancelled, lost."""

import asyncio
import resource
import signal
import time
from typing import Any

import pytest

from support.requirements import requirement
from support.sandbox_process import SECRET, WAIT_SECONDS, Answer, Sandbox

pytestmark = pytest.mark.slow  # real shells in real processes

HANG = "touch began; while [ ! -e go ]; do sleep 0.01; done; echo done"


async def begin(sandbox: Sandbox, call_id: str = "call_1", command: str = HANG) -> asyncio.Task[Answer]:
    """Start a call and wait until it runs."""
    call = asyncio.create_task(sandbox.bash(call_id, command))
    await sandbox.wait_file("began")
    return call


@requirement("I6")
async def test_a_finished_call_gives_its_journaled_result_and_runs_once(sandbox: Sandbox) -> None:
    first = await sandbox.bash("call_1", "echo x >>effects; cat effects")
    again = await sandbox.bash("call_1", "echo x >>effects; cat effects")
    assert first.body == again.body
    assert (sandbox.workdir / "effects").read_text() == "x\n"
    assert (await sandbox.lookup("call_1")).body == {"state": "finished", "result": first.body}


async def test_a_result_says_how_long_its_call_ran_also_from_the_journal(sandbox: Sandbox) -> None:
    slow, quick = await sandbox.bash("call_1", "sleep 0.3"), await sandbox.bash("call_2", "true")
    assert 300 <= slow.body["run_ms"] < 5000
    assert quick.body["run_ms"] < slow.body["run_ms"]
    assert (await sandbox.bash("call_1", "sleep 0.3")).body["run_ms"] == slow.body["run_ms"]


async def test_a_running_call_is_joined(sandbox: Sandbox) -> None:
    calls = [await begin(sandbox), *(asyncio.create_task(sandbox.bash("call_1", HANG)) for _ in range(3))]
    assert (await sandbox.lookup("call_1")).body == {"state": "running"}
    (sandbox.workdir / "go").touch()
    answers = await asyncio.gather(*calls)
    assert {answer.text for answer in answers} == {"done"}
    assert len({answer.body["finished_at"] for answer in answers}) == 1


@pytest.mark.parametrize("state", ["running", "finished"])
async def test_an_id_is_not_used_for_another_input(sandbox: Sandbox, state: str) -> None:
    call = await begin(sandbox)
    if state == "finished":
        (sandbox.workdir / "go").touch()
        await call
    answer = await sandbox.bash("call_1", "another")
    assert (answer.status, answer.error) == (409, "input_conflict")
    (sandbox.workdir / "go").touch()
    await call


async def test_equal_inputs_are_compared_as_json_values(sandbox: Sandbox) -> None:
    body = {"tool_use_id": "c", "name": "read", "input": {"file_path": "a", "view_range": [1, 2]}}
    same = {"input": {"view_range": [1, 2], "file_path": "a"}, "name": "read", "tool_use_id": "c"}
    answers = [
        await sandbox.post("/execute", each, Authorization=f"Bearer {SECRET}", X_Epoch="1") for each in (body, same)
    ]
    assert answers[0].body == answers[1].body


async def test_an_unknown_id_is_not_found(sandbox: Sandbox) -> None:
    for answer in (await sandbox.lookup("call_9"), await sandbox.cancel("call_9")):
        assert (answer.status, answer.error) == (404, "not_found_error")


MALFORMED: list[tuple[Any, str]] = [
    ([], "the body"),
    ({"name": "bash", "input": {}}, "tool_use_id"),
    ({"tool_use_id": "a/b", "name": "bash", "input": {}}, "tool_use_id"),
    ({"tool_use_id": "c", "input": {}}, "name"),
    ({"tool_use_id": "c", "name": "bash"}, "input"),
]


async def test_a_malformed_call_is_refused_by_name(sandbox: Sandbox) -> None:
    for body, field in MALFORMED:
        answer = await sandbox.post("/execute", body, Authorization=f"Bearer {SECRET}", X_Epoch="1")
        assert (body, answer.status, answer.error) == (body, 400, "invalid_request_error")
        assert answer.body["error"]["message"].startswith(field)


CALLS_WITH_BAD_INPUT: list[tuple[str, dict[str, Any]]] = [("nosuch", {}), ("read", {}), ("bash", {"command": 3})]


async def test_bad_tool_input_is_a_result(sandbox: Sandbox) -> None:
    for name, arguments in CALLS_WITH_BAD_INPUT:
        answer = await sandbox.execute(f"call_{name}", name, **arguments)
        assert (answer.status, answer.body["is_error"], answer.body["outcome"]) == (200, True, "completed")


@requirement("F19")
async def test_a_cancelled_call_ends_within_two_seconds_though_it_ignores_sigterm(sandbox: Sandbox) -> None:
    call = await begin(sandbox, command="trap '' TERM; echo part; touch began; while :; do sleep 0.05; done")
    started = time.monotonic()
    state = await sandbox.cancel("call_1")
    assert time.monotonic() - started < 2
    assert state.body["state"] == "finished"
    assert state.body["result"] == (await call).body
    assert (await call).text == "bash: interrupted before completion\n[output until then follows]\npart"
    assert (await call).body["outcome"] == "interrupted"
    assert (await sandbox.bash("call_2", "echo next")).text.endswith("\nnext")


async def test_cancelling_an_ended_call_keeps_its_result(sandbox: Sandbox) -> None:
    result = await sandbox.bash("call_1", "echo hi")
    assert (await sandbox.cancel("call_1")).body == {"state": "finished", "result": result.body}


async def test_a_call_waiting_for_the_shell_can_be_cancelled(sandbox: Sandbox) -> None:
    first = await begin(sandbox)
    second = asyncio.create_task(sandbox.bash("call_2", "touch never"))
    async with asyncio.timeout(WAIT_SECONDS):
        while (await sandbox.lookup("call_2")).status != 200:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0)
    await sandbox.cancel("call_2")
    assert (await second).text.endswith("interrupted before it started")
    (sandbox.workdir / "go").touch()
    assert (await first).text == "done"
    assert not (sandbox.workdir / "never").exists()


async def test_file_tools_run_while_bash_runs(sandbox: Sandbox) -> None:
    call = await begin(sandbox)
    assert (await sandbox.execute("call_2", "write", file_path="go", content="")).body["is_error"] is False
    assert (await call).text == "done"


async def test_a_client_that_goes_away_cancels_nothing(sandbox: Sandbox) -> None:
    call = await begin(sandbox)
    call.cancel()
    await asyncio.wait({call})
    (sandbox.workdir / "go").touch()
    assert (await sandbox.bash("call_1", HANG)).text == "done"


async def test_a_call_goes_on_over_a_supervisor_restart(sandbox: Sandbox) -> None:
    call = await begin(sandbox)
    await sandbox.kill("supervisor")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await call
    await sandbox.start_supervisor()
    assert (await sandbox.lookup("call_1")).body == {"state": "running"}
    await sandbox.wait_runner(present=True)
    (sandbox.workdir / "go").touch()
    assert (await sandbox.bash("call_1", HANG)).text == "done"


async def test_a_call_that_ends_while_the_supervisor_is_away_keeps_its_result(sandbox: Sandbox) -> None:
    call = await begin(sandbox, command="touch began; while [ ! -e go ]; do sleep 0.01; done; echo done; touch ended")
    await sandbox.kill("supervisor")
    await asyncio.wait({call})
    call.exception()
    (sandbox.workdir / "go").touch()
    await sandbox.wait_file("ended")
    await sandbox.start_supervisor()
    await sandbox.wait_runner(present=True)
    state = await sandbox.cancel("call_1")
    assert state.body["result"]["content"][0]["text"] == "done"


async def test_a_killed_tools_container_makes_an_error_and_the_next_call_works(sandbox: Sandbox) -> None:
    call = await begin(sandbox)
    await sandbox.kill("runner")
    await sandbox.start_runner()
    assert "OOMKilled" in (await call).text
    assert ((await call).body["outcome"], (await call).body["is_error"]) == ("lost", True)
    assert (await sandbox.lookup("call_1")).body == {"state": "finished", "result": (await call).body}
    assert (await sandbox.bash("call_2", "echo next")).text == "next"


async def test_an_outcome_that_both_deaths_hide_is_told_as_lost(sandbox: Sandbox) -> None:
    call = await begin(sandbox)
    await sandbox.kill("supervisor")
    await sandbox.kill("runner")
    await asyncio.wait({call})
    call.exception()
    await sandbox.start_supervisor()
    await sandbox.start_runner()
    assert (await sandbox.bash("call_1", HANG)).body["outcome"] == "lost"


async def test_a_call_waits_for_the_tools_container(sandbox: Sandbox) -> None:
    await sandbox.kill("runner")
    await sandbox.wait_runner(present=False)
    call = asyncio.create_task(sandbox.bash("call_1", "echo hi"))
    await sandbox.start_runner()
    assert (await call).text == "hi"


async def test_a_call_that_waits_for_the_tools_container_can_be_cancelled(sandbox: Sandbox) -> None:
    await sandbox.kill("runner")
    await sandbox.wait_runner(present=False)
    call = asyncio.create_task(sandbox.bash("call_1", "touch ran"))
    async with asyncio.timeout(WAIT_SECONDS):
        while (await sandbox.lookup("call_1")).status != 200:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0)
    assert (await sandbox.cancel("call_1")).body["result"]["outcome"] == "interrupted"
    assert (await call).text == "interrupted before it started"
    await sandbox.start_runner()
    assert (await sandbox.bash("call_1", "touch ran")).body["outcome"] == "interrupted"
    assert not (sandbox.workdir / "ran").exists()


@pytest.mark.parametrize("arguments", [("--runner-wait-seconds", "0.05")])
async def test_without_a_tools_container_nothing_runs_and_the_error_says_so(sandbox: Sandbox) -> None:
    await sandbox.kill("runner")
    await sandbox.wait_runner(present=False)
    answer = await sandbox.bash("call_1", "true")
    assert (answer.status, answer.error) == (503, "runner_unavailable")
    assert (await sandbox.lookup("call_1")).status == 404


async def test_too_many_calls_are_refused(sandbox: Sandbox) -> None:
    first = await begin(sandbox)
    waiting = [asyncio.create_task(sandbox.bash(f"queued_{n}", "true")) for n in range(31)]
    async with asyncio.timeout(WAIT_SECONDS):
        while (await sandbox.lookup("queued_30")).status != 200:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0)
    assert (await sandbox.bash("one_more", "true")).error == "too_many_calls"
    (sandbox.workdir / "go").touch()
    assert {answer.status for answer in await asyncio.gather(first, *waiting)} == {200}


async def test_sigterm_ends_the_runner_and_its_shell(sandbox: Sandbox) -> None:
    await begin(sandbox, command="echo $$ >pid; touch began; sleep 300")
    pid = (sandbox.workdir / "pid").read_text().strip()
    runner = sandbox.runner
    await sandbox.kill("runner", signal.SIGTERM)
    assert not _alive(pid)
    assert runner is not None
    assert runner.returncode == 143  # exiting 0, an evicted Pod would have succeeded, its reason lost


def _alive(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - of this machine, not a path of ours
            return ") Z " not in stat.read()
    except FileNotFoundError:
        return False


def full_volume(sandbox: Sandbox) -> tuple[int, int]:
    """Let the supervisor write no byte more to its journal, as on a full volume; returns the limit before."""
    assert sandbox.supervisor is not None
    size = (sandbox.folder / "journal" / "journal.jsonl").stat().st_size
    return resource.prlimit(sandbox.supervisor.pid, resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))


def room_again(sandbox: Sandbox, limit: tuple[int, int]) -> None:
    assert sandbox.supervisor is not None
    resource.prlimit(sandbox.supervisor.pid, resource.RLIMIT_FSIZE, limit)


async def test_without_a_journal_nothing_runs_and_room_mends_it(sandbox: Sandbox) -> None:
    limit = full_volume(sandbox)
    refused = await sandbox.bash("call_1", "echo x >>effects; cat effects")
    assert (refused.status, refused.error) == (507, "journal_unavailable")
    assert (await sandbox.lookup("call_1")).status == 404
    assert (await sandbox.lookup("call_1", epoch=2)).error == "journal_unavailable"  # an epoch must be durable too
    room_again(sandbox, limit)
    assert (await sandbox.bash("call_1", "echo x >>effects; cat effects", epoch=2)).text == "x"


async def test_a_result_that_cannot_be_journaled_is_told_and_unknown_after_a_restart(sandbox: Sandbox) -> None:
    call = await begin(sandbox)
    limit = full_volume(sandbox)
    (sandbox.workdir / "go").touch()
    assert (await call).text == "done"
    room_again(sandbox, limit)
    await sandbox.kill("runner")
    await sandbox.kill("supervisor")
    await sandbox.start_supervisor()
    await sandbox.start_runner()
    assert (await sandbox.bash("call_1", HANG)).body["is_error"] is True
