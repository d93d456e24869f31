"""Which files are moved, when, and what a failure leads to."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from yarl import URL

from managed_agents.proxy.bindings import Binding, MalformedError
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.files.outputs import CALLS_BYTES_MAX, UNANSWERED_MAX, Outputs
from managed_agents.proxy.files.plan import (
    Output,
    Upload,
    changes_for,
    outputs_from,
    path_for,
    present_from,
    stored_from,
    uploads_from,
)
from managed_agents.proxy.files.uploads import Uploads
from managed_agents.proxy.forward import UnreachableError
from managed_agents.proxy.hand_listener import with_notices

BINDING = Binding(
    session="sesn_1",
    name="default",
    epoch=1,
    pod_name="ma-1",
    generation=1,
    base=URL("http://127.0.0.1:1"),
    token="t",
    secret="s",
)
GONE = RefusedError(404, "not_found", "file file_1 not found")
DOWN = UnreachableError("reset")


class FakeTransfers:
    """A sandbox and a server as dictionaries; `problems` are raised, by the name of the call, first to last."""

    def __init__(self, **problems: list[Exception]) -> None:
        self.problems = problems
        self.there: dict[str, str] = {}
        self.left: dict[str, Output] = {}
        self.kept: dict[str, str] = {}
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        await self.gate.wait()
        if self.problems.get(name):
            raise self.problems[name].pop(0)

    async def present(self, binding: Binding) -> Mapping[str, str]:
        await self._called("present")
        return dict(self.there)

    async def place(self, binding: Binding, upload: Upload) -> None:
        await self._called("place")
        self.there[upload.path] = upload.file_id

    async def remove(self, binding: Binding, path: str) -> None:
        await self._called("remove")
        del self.there[path]

    async def outputs(self, binding: Binding) -> list[Output]:
        await self._called("outputs")
        return list(self.left.values())

    async def stored(self, session: str) -> dict[str, str]:
        await self._called("stored")
        return dict(self.kept)

    async def store(self, binding: Binding, output: Output) -> None:
        await self._called("store")
        self.kept[output.path] = output.version

    async def end_last_look(self, session: str, sandbox_name: str) -> None:
        await self._called(f"end {session} {sandbox_name}")

    def leave(self, path: str, version: str) -> None:
        self.left[path] = Output(path=path, size=1, version=version)


class FakeFinder:
    """Finds what it is told to."""

    def __init__(self, found: Binding | None = None, *, idle: bool = True) -> None:
        self.found, self.idle, self.asked = found, idle, 0

    async def is_idle(self) -> bool:
        return self.idle

    async def find(self) -> Binding | None:
        self.asked += 1
        return self.found


def outputs_of(transfers: FakeTransfers, finder: FakeFinder | None = None, *, again_seconds: float = 60.0) -> Outputs:
    return Outputs(transfers, finder or FakeFinder(), again_seconds=again_seconds, lease_seconds=0, calls_seconds=0)


def config(*files: tuple[str, str]) -> dict[str, Any]:
    return {
        "id": "sesn_1",
        "resources": [{"type": "file", "file_id": file_id, "mount_path": path} for path, file_id in files],
    }


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - of many tasks
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("mount_path", "path"),
    [
        (None, "file_1"),
        ("", "file_1"),
        ("a.txt", "a.txt"),
        ("/a/b.txt", "a/b.txt"),
        ("/mnt/session/uploads/a.txt", "a.txt"),
        ("/mnt/session/uploads", "file_1"),
        ("/mnt/session/uploads-of-others/a", "mnt/session/uploads-of-others/a"),
        ("a//./b", "a/b"),
    ],
)
def test_a_mount_path_lies_below_the_uploads_folder(mount_path: str | None, path: str) -> None:
    assert path_for("file_1", mount_path) == path


def test_a_config_s_files_are_read_and_nothing_else_of_it() -> None:
    resources = [
        {"type": "github_repository", "url": "x"},
        {"type": "file"},
        {"type": "file", "file_id": "file_1", "mount_path": "a"},
        {"type": "file", "file_id": "file_2", "mount_path": "/a"},
        {"type": "file", "file_id": "file_3"},
        "nonsense",
    ]
    assert uploads_from({"resources": resources}) == (
        Upload(path="a", file_id="file_2"),
        Upload(path="file_3", file_id="file_3"),
    )
    assert uploads_from({"resources": None}) == ()


def test_only_what_differs_is_moved() -> None:
    wanted = [Upload(path="a", file_id="file_1"), Upload(path="b", file_id="file_2")]
    changes = changes_for(wanted, {"a": "file_1", "b": "file_9", "c": "file_3"})
    assert (changes.remove, changes.place) == (["c"], [wanted[1]])


@pytest.mark.parametrize(
    "document", [None, [], {}, {"files": {}}, {"files": [1]}, {"files": [{}]}, {"files": [{"path": "a", "tag": 1}]}]
)
def test_a_malformed_listing_is_refused(document: object) -> None:
    for read in (present_from, outputs_from):
        with pytest.raises(MalformedError):
            read(document)
    with pytest.raises(MalformedError):
        stored_from({"outputs": [{"version": "1"}]})
    with pytest.raises(MalformedError):
        outputs_from({"files": [{"path": "a", "version": "1", "size": -1}]})


async def test_files_are_there_before_a_call_goes_on() -> None:
    transfers = FakeTransfers()
    transfers.gate.clear()
    uploads = Uploads(transfers)
    uploads.configure(config(("a", "file_1"), ("b", "file_2")))
    uploads.in_use(BINDING)
    settling = asyncio.create_task(uploads.settled())
    await until(lambda: transfers.calls == ["present"])
    assert not settling.done()
    transfers.gate.set()
    await settling
    assert transfers.there == {"a": "file_1", "b": "file_2"}
    for _ in range(3):
        uploads.in_use(BINDING)
        await uploads.settled()
    assert transfers.calls == ["present", "place", "place"]


async def test_a_later_config_and_a_later_sandbox_are_followed() -> None:
    transfers = FakeTransfers()
    uploads = Uploads(transfers)
    uploads.configure(config(("a", "file_1")))
    uploads.in_use(BINDING)
    await uploads.settled()
    uploads.configure(config(("b", "file_2")))
    await uploads.settled()
    assert transfers.there == {"b": "file_2"}
    transfers.there.clear()
    uploads.in_use(replace(BINDING, pod_name="ma-2", generation=2))
    await uploads.settled()
    assert transfers.there == {"b": "file_2"}
    calls = len(transfers.calls)
    uploads.in_use(BINDING)  # a late word of the one before
    await uploads.settled()
    assert len(transfers.calls) == calls


async def test_no_session_gets_another_one_s_files() -> None:
    transfers = FakeTransfers()
    uploads = Uploads(transfers)
    uploads.in_use(BINDING)
    uploads.configure({**config(("a", "file_1")), "id": "sesn_2"})
    await uploads.settled()
    assert transfers.calls == []
    uploads.in_use(replace(BINDING, session="sesn_2", epoch=2))
    await uploads.settled()
    assert transfers.there == {"a": "file_1"}


async def test_a_config_that_changes_on_the_way_is_reached() -> None:
    transfers = FakeTransfers()
    transfers.gate.clear()
    uploads = Uploads(transfers)
    uploads.configure(config(("a", "file_1")))
    uploads.in_use(BINDING)
    await until(lambda: bool(transfers.calls))
    uploads.configure(config(("b", "file_2")))
    transfers.gate.set()
    await uploads.settled()
    assert transfers.there == {"b": "file_2"}


async def test_a_file_that_is_gone_is_told_once_and_the_others_come() -> None:
    transfers = FakeTransfers(place=[GONE])
    uploads = Uploads(transfers)
    uploads.configure(config(("a", "file_1"), ("b", "file_2")))
    uploads.in_use(BINDING)
    await uploads.settled()
    assert transfers.there == {"b": "file_2"}
    [notice] = uploads.notices()
    assert notice == ("[/mnt/session/uploads/a is missing: file_1 could not be placed there: file file_1 not found]")
    assert uploads.notices() == []
    uploads.in_use(BINDING)
    await uploads.settled()
    assert transfers.calls.count("place") == 2


async def test_a_broken_transfer_is_tried_again_and_a_call_waits_for_it_only_once() -> None:
    transfers = FakeTransfers(place=[DOWN, DOWN, DOWN, DOWN])
    uploads = Uploads(transfers, pause_seconds=0)
    uploads.configure(config(("a", "file_1")))
    uploads.in_use(BINDING)
    await uploads.settled()
    assert len(uploads.notices()) == 1
    transfers.gate.clear()
    uploads.in_use(BINDING)
    await uploads.settled()  # does not wait: this failed before
    transfers.gate.set()
    await until(lambda: transfers.there == {"a": "file_1"})
    assert uploads.notices() == []
    await uploads.close()


async def test_a_sandbox_that_cannot_be_listed_is_asked_again_at_the_next_call() -> None:
    transfers = FakeTransfers(present=[DOWN])
    uploads = Uploads(transfers)
    uploads.configure(config(("a", "file_1")))
    uploads.in_use(BINDING)
    await uploads.settled()
    uploads.in_use(BINDING)
    await until(lambda: transfers.there == {"a": "file_1"})


def test_a_notice_stands_after_the_tool_s_own_result() -> None:
    result = {"content": [{"type": "text", "text": "x"}], "is_error": False}
    assert with_notices(result, []) is result
    told = with_notices(result, ["n"])
    assert told == {"content": [{"type": "text", "text": "x"}, {"type": "text", "text": "n"}], "is_error": False}


async def test_what_is_new_is_stored_at_idle_and_what_is_known_is_not_sent() -> None:
    transfers = FakeTransfers()
    transfers.kept = {"a": "1", "gone": "1"}
    transfers.leave("a", "1")
    transfers.leave("b", "1")
    outputs = outputs_of(transfers)
    outputs.idle()  # no sandbox yet
    await until(lambda: not outputs._tasks)
    outputs.in_use(BINDING)
    outputs.idle()
    await until(lambda: transfers.kept == {"a": "1", "b": "1", "gone": "1"})
    transfers.leave("a", "2")
    outputs.running()
    outputs.idle()
    await until(lambda: transfers.kept["a"] == "2")
    assert transfers.calls == ["outputs", "stored", "store", "outputs", "store"]
    await outputs.close()


async def test_an_idle_sandbox_is_looked_at_again_until_a_turn_begins() -> None:
    transfers = FakeTransfers()
    outputs = outputs_of(transfers, again_seconds=0.001)
    outputs.in_use(BINDING)
    outputs.idle()
    await until(lambda: transfers.calls.count("outputs") >= 3)
    transfers.leave("late", "1")
    await until(lambda: transfers.kept == {"late": "1"})
    outputs.running()
    await until(lambda: not outputs._tasks)
    await outputs.close()


async def test_a_sandbox_that_does_not_answer_is_left_alone_until_the_next_idle() -> None:
    transfers = FakeTransfers(outputs=[DOWN] * UNANSWERED_MAX)
    outputs = outputs_of(transfers, again_seconds=0.001)
    outputs.in_use(BINDING)
    outputs.idle()
    await until(lambda: not outputs._tasks)
    assert transfers.calls == ["outputs"] * UNANSWERED_MAX
    outputs.idle()
    await until(lambda: len(transfers.calls) > UNANSWERED_MAX + 1)
    await outputs.close()


async def test_a_server_that_restarts_delays_outputs_and_loses_none() -> None:
    transfers = FakeTransfers(stored=[DOWN, DOWN], store=[DOWN])
    transfers.leave("a", "1")
    outputs = outputs_of(transfers, again_seconds=0.001)
    outputs.in_use(BINDING)
    outputs.idle()
    await until(lambda: transfers.kept == {"a": "1"})
    await outputs.close()


async def test_a_refused_output_is_sent_again_at_the_next_idle_only() -> None:
    quota = RefusedError(400, "invalid_request", "quota")
    transfers = FakeTransfers(store=[quota])
    transfers.leave("a", "1")
    outputs = outputs_of(transfers, again_seconds=0.001)
    outputs.in_use(BINDING)
    outputs.idle()
    await until(lambda: transfers.calls.count("outputs") >= 3)
    assert transfers.kept == {}
    outputs.idle()
    await until(lambda: transfers.kept == {"a": "1"})
    await outputs.close()


async def test_a_release_waits_for_what_is_not_stored_yet() -> None:
    transfers = FakeTransfers()
    transfers.leave("a", "1")
    outputs = outputs_of(transfers)
    await outputs.last_look()
    outputs.in_use(BINDING)
    await outputs.last_look()
    assert transfers.kept == {"a": "1"}


async def test_a_sandbox_that_is_taken_away_is_looked_into_before_its_pod_may_go() -> None:
    transfers = FakeTransfers(outputs=[DOWN])
    transfers.leave("a", "1")
    outputs = outputs_of(transfers, again_seconds=0.001)
    outputs.in_use(BINDING)
    outputs.let_go("sesn_1", "ma-1")
    await until(lambda: not outputs._tasks)
    assert transfers.calls == ["outputs", "outputs", "stored", "store", "end sesn_1 ma-1"]
    assert transfers.kept == {"a": "1"}
    outputs.idle()  # of a later lease, which has no sandbox yet
    await until(lambda: not outputs._tasks)
    assert len(transfers.calls) == 5


async def test_what_was_refused_before_is_tried_again_by_the_last_look() -> None:
    transfers = FakeTransfers(store=[RefusedError(400, "invalid_request", "quota")])
    transfers.leave("a", "1")
    outputs = outputs_of(transfers)
    outputs.in_use(BINDING)
    outputs.called()
    await until(lambda: not outputs._tasks)
    assert transfers.kept == {}
    outputs.let_go("sesn_1", "ma-1")
    await until(lambda: not outputs._tasks)
    assert transfers.kept == {"a": "1"}


async def test_a_sandbox_that_was_never_used_may_go_at_once() -> None:
    transfers = FakeTransfers()
    outputs = outputs_of(transfers)
    outputs.in_use(BINDING)
    outputs.let_go("sesn_1", "ma-2")
    await until(lambda: not outputs._tasks)
    assert transfers.calls == ["end sesn_1 ma-2"]


async def test_calls_that_end_during_a_look_share_the_next_one() -> None:
    transfers = FakeTransfers()
    transfers.leave("a", "1")
    transfers.left["large"] = Output(path="large", size=CALLS_BYTES_MAX + 1, version="1")
    outputs = outputs_of(transfers)
    outputs.called()  # no sandbox yet
    await until(lambda: not outputs._tasks)
    outputs.in_use(BINDING)
    transfers.gate.clear()
    outputs.called()
    await until(lambda: transfers.calls == ["outputs"])
    for _ in range(3):
        outputs.called()
    transfers.gate.set()
    await until(lambda: not outputs._tasks)
    assert transfers.calls == ["outputs", "stored", "store", "outputs"]
    assert transfers.kept == {"a": "1"}, "what is large waits for the end of the turn"
    outputs.idle()
    await until(lambda: "large" in transfers.kept)
    await outputs.close()


async def test_a_new_proxy_looks_into_the_sandbox_that_is_there() -> None:
    transfers = FakeTransfers()
    transfers.leave("a", "1")
    outputs = outputs_of(transfers, FakeFinder(BINDING))
    outputs.leased()
    await until(lambda: transfers.kept == {"a": "1"})
    await outputs.close()


async def test_a_turn_that_ends_without_a_call_is_looked_at_too() -> None:
    transfers = FakeTransfers()
    transfers.leave("a", "1")
    outputs = outputs_of(transfers, FakeFinder(BINDING))
    outputs.idle()
    await until(lambda: transfers.kept == {"a": "1"})
    await outputs.close()


async def test_a_lease_that_begins_with_a_turn_or_without_a_sandbox_leads_to_nothing() -> None:
    for finder, turn, asked in (
        (FakeFinder(BINDING), True, 0),
        (FakeFinder(BINDING, idle=False), False, 0),
        (FakeFinder(None), False, 1),
    ):
        transfers = FakeTransfers()
        outputs = outputs_of(transfers, finder)
        outputs.leased()
        if turn:
            outputs.running()
        await until(lambda of=outputs: not of._tasks)  # type: ignore[misc] # mypy knows no default of a lambda
        assert (finder.asked, transfers.calls) == (asked, [])
