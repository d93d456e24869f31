"""Who may use a sandbox: the first to bind, and the newest harness of that session."""

import asyncio
from typing import Any

import pytest

from support.sandbox_process import SECRET, TOKEN, Sandbox

pytestmark = pytest.mark.slow  # whole processes


async def test_nothing_executes_before_the_bind(blank: Sandbox) -> None:
    answer = await blank.bash("call_1", "touch ran")
    assert (answer.status, answer.error) == (409, "not_bound")
    assert not (blank.workdir / "ran").exists()
    assert (await blank.lookup("call_1")).error == "not_bound"


async def test_the_first_bind_wins_and_may_be_repeated_with_the_secret(blank: Sandbox) -> None:
    first = await blank.bind()
    assert (first.status, first.body) == (200, {"session": "sesn_1", "name": "default", "epoch": 1})
    assert (await blank.bind(bearer=SECRET)).status == 200
    assert (await blank.bind(bearer=SECRET, epoch=7)).body["epoch"] == 7
    assert (await blank.bind(bearer=SECRET, epoch=6)).error == "stale_epoch"


async def test_another_session_name_or_secret_cannot_bind(sandbox: Sandbox) -> None:
    for other in ({"session": "sesn_2"}, {"name": "other"}, {"secret": "another-secret-of-16"}):
        answer = await sandbox.bind(**other)
        assert (other, answer.status, answer.error) == (other, 409, "already_bound")


async def test_a_wrong_token_cannot_bind(blank: Sandbox) -> None:
    for bearer in ("wrong", SECRET):
        assert (await blank.bind(bearer=bearer)).status == 403
    assert (await blank.post("/bind", {})).error == "authentication_error"
    assert (await blank.get("/healthz")).body == {"runner": True, "bound": False}


MALFORMED: list[tuple[str, Any]] = [
    ("session", ""),
    ("session", None),
    ("session", "s" * 257),
    ("name", 3),
    ("secret", "short"),
    ("epoch", 0),
    ("epoch", "1"),
    ("epoch", True),
    ("resources", []),
]


async def test_a_malformed_bind_is_refused_by_name(blank: Sandbox) -> None:
    for field, value in MALFORMED:
        answer = await blank.bind(**{field: value})
        assert (field, answer.status, answer.error) == (field, 400, "invalid_request_error")
        assert answer.body["error"]["message"].startswith(f"{field}:")


async def test_of_two_concurrent_binds_one_wins(blank: Sandbox) -> None:
    answers = await asyncio.gather(*(blank.bind(session=f"sesn_{n}") for n in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]


async def test_a_lower_epoch_is_refused_on_every_request(sandbox: Sandbox) -> None:
    assert (await sandbox.lookup("none", epoch=5)).status == 404  # a read raises the epoch too
    for answer in (
        await sandbox.bash("call_1", "touch ran", epoch=4),
        await sandbox.lookup("call_1", epoch=4),
        await sandbox.cancel("call_1", epoch=4),
    ):
        assert (answer.status, answer.error, answer.body["error"]["epoch"]) == (409, "stale_epoch", 5)
    assert not (sandbox.workdir / "ran").exists()


async def test_a_call_in_flight_answers_only_the_newest_harness(sandbox: Sandbox) -> None:
    command = "touch began; while [ ! -e go ]; do sleep 0.01; done; echo done"
    old = asyncio.create_task(sandbox.bash("call_1", command))
    await sandbox.wait_file("began")
    new = asyncio.create_task(sandbox.bash("call_1", command, epoch=2))
    assert (await sandbox.lookup("call_1", epoch=2)).body == {"state": "running"}  # raises the epoch, as does `new`
    (sandbox.workdir / "go").touch()
    assert (await old).error == "stale_epoch"
    assert (await new).text == "done"


async def test_binding_and_epoch_survive_a_supervisor_restart(sandbox: Sandbox) -> None:
    await sandbox.lookup("none", epoch=9)
    await sandbox.kill("supervisor")
    await sandbox.start_supervisor()
    await sandbox.wait_runner(present=True)
    assert (await sandbox.bind(bearer=TOKEN, session="sesn_2", epoch=10)).error == "already_bound"
    assert (await sandbox.bash("call_1", "true", epoch=8)).error == "stale_epoch"
    assert (await sandbox.bash("call_1", "echo hi", epoch=9)).text == "hi"


async def test_a_wrong_secret_or_no_epoch_is_refused(sandbox: Sandbox) -> None:
    assert (await sandbox.execute("call_1", "bash", secret="wrong", command="true")).status == 403
    no_epoch = await sandbox.post("/execute", {}, Authorization=f"Bearer {SECRET}")
    assert (no_epoch.status, no_epoch.error) == (400, "invalid_request_error")
    assert (await sandbox.post("/execute", {}, Authorization="Basic x", X_Epoch="1")).status == 401


async def test_neither_secret_nor_token_is_logged_or_journaled(sandbox: Sandbox) -> None:
    await sandbox.bash("call_1", "true")
    journal = (sandbox.folder / "journal" / "journal.jsonl").read_text()
    for canary in (SECRET, TOKEN):
        assert canary not in journal
        assert canary not in str(sandbox.log)
