"""The runner in its container's conditions: old Python, no memory, no processes, endless output."""

import asyncio
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from managed_agents.sandbox.runner import main as runner_main
from managed_agents.sandbox.runner.children import Children
from managed_agents.sandbox.runner.oom import OomCounter
from managed_agents.sandbox.runner.spill import SpillFolder
from managed_agents.sandbox.runner.tools.paths import Roots
from managed_agents.sandbox.runner.toolset import FILE_TOOLS, Toolset
from managed_agents.sandbox.supervisor.install import install_runner
from support.requirements import requirement
from support.sandbox_process import Sandbox, new_folder

pytestmark = pytest.mark.slow  # real shells in real processes


class Cgroup:
    """A cgroup folder as a container sees it."""

    def __init__(self, folder: Path) -> None:
        self.events = folder / "memory.events"
        self.strike(0)

    def strike(self, count: int) -> None:
        self.events.write_text(f"low 0\noom {count}\noom_kill {count}\n")


@pytest.fixture
def cgroup(tmp_path: Path) -> Cgroup:
    """A memory counter that a test can raise."""
    (tmp_path / "cgroup").mkdir()
    return Cgroup(tmp_path / "cgroup")


@pytest.fixture
async def toolset(tmp_path: Path, cgroup: Cgroup) -> AsyncIterator[Toolset]:
    """The tools without the socket."""
    (tmp_path / "work").mkdir()
    children = Children()
    toolset = Toolset(
        Roots(tmp_path / "work"), SpillFolder(tmp_path / "spill"), children, OomCounter(cgroup.events.parent)
    )
    try:
        yield toolset
    finally:
        await toolset.bash.close()
        children.close()


def text_of(result: dict[str, Any]) -> str:
    text: str = result["content"][0]["text"]
    return text


def python_39() -> str | None:
    """Return a Python 3.9 that runs; a version manager's shim may stand for none."""
    found = [shutil.which("python3.9"), *map(str, Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"))]
    runs = (
        python
        for python in found
        if python and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    )
    return next(runs, None)


EVERY_TOOL: list[tuple[str, dict[str, Any]]] = [
    ("write", {"file_path": "f", "content": "one\ntwo\n"}),
    ("read", {"file_path": "f", "view_range": [1, 1]}),
    ("edit", {"file_path": "f", "old_string": "two", "new_string": "2"}),
    ("glob", {"pattern": "**/*"}),
    ("grep", {"pattern": "on."}),
    ("bash", {"command": "cat f"}),
    ("bash", {"restart": True}),
]


@pytest.mark.skipif(python_39() is None, reason="no Python 3.9 on this machine")
async def test_every_tool_runs_on_python_3_9() -> None:
    sandbox = Sandbox(new_folder(), runner_python=python_39() or "")
    try:
        await sandbox.start_supervisor()
        await sandbox.start_runner()
        await sandbox.bind()
        for number, (name, arguments) in enumerate(EVERY_TOOL):
            answer = await sandbox.execute(f"call_{number}", name, **arguments)
            assert (answer.status, answer.body["is_error"]) == (200, False), answer
        assert (await sandbox.bash("slow", "sleep 300", timeout_ms=50)).body["is_error"] is True
    finally:
        await sandbox.close()
        shutil.rmtree(sandbox.folder)


def test_the_archive_holds_the_runner_and_nothing_else_of_ours(tmp_path: Path) -> None:
    target = tmp_path / "code" / "runner.pyz"
    install_runner(target)
    first = target.stat().st_mtime_ns
    install_runner(target)
    assert target.stat().st_mtime_ns == first  # unchanged: a starting runner is not disturbed
    with zipfile.ZipFile(target) as archive:
        names = archive.namelist()
    assert not any("supervisor" in name for name in names)
    probe = [sys.executable, "-IS", "-c", "import managed_agents"]
    assert subprocess.run(probe, capture_output=True, cwd=target.parent, check=False).returncode != 0
    shown = subprocess.run([sys.executable, "-IS", str(target), "--help"], capture_output=True, check=True)
    assert b"--read-only-root" in shown.stdout


@requirement("F16")
async def test_a_process_killed_for_memory_says_so(toolset: Toolset, cgroup: Cgroup) -> None:
    command = f"printf 'oom_kill 1\\n' >{cgroup.events}; sh -c 'kill -9 $$'"
    result = await toolset.call("call_1", "bash", {"command": command})
    assert "OOMKilled" in text_of(result)
    assert result["is_error"] is True
    assert text_of(await toolset.call("call_2", "bash", {"command": "echo next"})) == "next"


async def test_a_shell_killed_for_memory_says_so(toolset: Toolset, cgroup: Cgroup) -> None:
    command = f"printf 'oom_kill 1\\n' >{cgroup.events}; kill -9 $$"
    assert "OOMKilled" in text_of(await toolset.call("call_1", "bash", {"command": command}))
    assert text_of(await toolset.call("call_2", "bash", {"command": "echo next"})).endswith("\nnext")


async def test_a_file_tool_killed_for_memory_says_so(
    toolset: Toolset, cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> str:
        cgroup.strike(1)
        os.kill(os.getpid(), 9)
        return ""

    monkeypatch.setitem(FILE_TOOLS, "read", killed)
    result = await toolset.call("call_1", "read", {"file_path": "f"})
    assert (result["is_error"], "OOMKilled" in text_of(result)) == (True, True)


@pytest.mark.parametrize("file", ["memory.events", "memory/memory.oom_control"])
def test_both_cgroup_versions_are_read(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert OomCounter(tmp_path).read() == 3
    assert OomCounter(tmp_path / "none").read() == 0


async def test_without_a_process_to_spare_every_tool_says_so(toolset: Toolset, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    monkeypatch.setattr(subprocess, "Popen", refused)
    for name, arguments in (("read", {"file_path": "f"}), ("bash", {"command": "true"})):
        result = await toolset.call("call_1", name, arguments)
        assert result["is_error"] is True
        assert "no process can be started" in text_of(result)
        assert "restart: true" in text_of(result)


async def test_endless_output_stays_bounded_in_memory_and_on_disk(toolset: Toolset, tmp_path: Path) -> None:
    result = await toolset.call("call_1", "bash", {"command": "head -c 50000000 /dev/zero | tr '\\0' 'x'"})
    assert len(text_of(result)) < 31_000
    assert "50000000 bytes in all" in text_of(result)
    assert (tmp_path / "spill" / "call_1.txt").stat().st_size == 32 * 1024 * 1024


async def test_a_chatty_background_job_never_blocks(toolset: Toolset, tmp_path: Path) -> None:
    command = "(seq 1 200000; touch ended) & echo started"
    assert "started" in text_of(await toolset.call("call_1", "bash", {"command": command}))
    async with asyncio.timeout(5):
        while not (tmp_path / "work" / "ended").exists():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.005)
    assert text_of(await toolset.call("call_2", "bash", {"command": "echo next"})).endswith("next")


async def test_a_command_larger_than_a_pipe_runs(toolset: Toolset) -> None:
    text = "y" * 500_000
    assert text_of(await toolset.call("call_1", "bash", {"command": f"x='{text}'; echo ${{#x}}"})) == "500000"


async def test_the_environment_has_no_credential_of_the_platform(
    toolset: Toolset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "KUBERNETES_SERVICE_HOST", "MANAGED_AGENTS_SECRET"):
        monkeypatch.setenv(name, "canary")
    result = await toolset.call("call_1", "bash", {"command": "env"})
    assert "canary" not in text_of(result)
    assert "PATH=" in text_of(result)


def test_kept_outputs_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SpillFolder(tmp_path)
    monkeypatch.setattr("managed_agents.sandbox.runner.spill.SPILL_FILE_BYTES_MAX", 100)
    monkeypatch.setattr("managed_agents.sandbox.runner.spill.SPILL_TOTAL_BYTES_MAX", 300)
    for number in range(10):
        file = folder.open(f"call_{number}")
        file.write(b"x" * 500)
        file.close()
        os.utime(tmp_path / f"call_{number}.txt", (number, number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["call_7.txt", "call_8.txt", "call_9.txt"]


def test_default_roots_are_the_hosted_sandboxes() -> None:
    roots = runner_main.roots_of(runner_main.parser().parse_args([]))
    assert roots.workdir == Path("/workspace")
    assert set(map(str, roots.others)) == {
        "/mnt/session/outputs",
        "/mnt/session/uploads",
        "/mnt/memory",
        "/tmp/tool-output",
    }
    assert set(map(str, roots.read_only)) == {"/mnt/session/uploads", "/tmp/tool-output"}
