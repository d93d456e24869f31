"""An Environment's packages on their way from the Job's upload over server and proxy into a sandbox's tools."""

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from yarl import URL

from managed_agents.proxy.package_job.upload import Upload, UploadError, archive_of, upload
from support.requirements import requirement
from support.server import TestServer, pod_token, server_in_process
from support.stack import Stack, script, stack_running

DIGEST = "0123456789abcdef" * 2


def _installed(folder: Path) -> Path:
    """Make what an installer would have left, and things that must not come along."""
    (folder / "pip" / "bin").mkdir(parents=True)
    (folder / "pip" / "greeting.py").write_text("WORDS = 'from a package'\n")
    program = folder / "pip" / "bin" / "greet"
    program.write_text("#!/usr/bin/env python3\nimport greeting\nprint(greeting.WORDS)\n")
    program.chmod(0o755)
    (folder / "pip" / "bin" / "hello").symlink_to("greet")
    (folder / "pip" / "stolen").symlink_to("/etc/passwd")
    (folder / "pip" / "climbing").symlink_to("../../../etc/passwd")
    return folder


def _wanted(server: TestServer, folder: Path, token_file: Path, *, attempts_max: int = 3) -> Upload:
    return Upload(
        server_url=URL(server.internal_url),
        token_file=token_file,
        namespace="team-a",
        digest=DIGEST,
        folder=folder,
        pause_seconds=0.01,
        attempts_max=attempts_max,
    )


async def _bring(stack: Stack, folder: Path) -> None:
    token_file = folder.parent / "package-token"
    token_file.write_text(pod_token("pod-install"))
    body = {"namespace": "team-a", "digest": DIGEST}
    status, _ = await stack.server.operator("PUT", "/package-pods/pod-install", body)
    assert status == 204
    await upload(_wanted(stack.server, folder, token_file))


@requirement("packages")
async def test_packages_are_there_before_the_first_call(tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    async with stack_running(tmp_path) as stack:
        stack.sandbox_arguments = ("--packages", str(unpacked), "--packages-digest", DIGEST)
        stack.sandbox_variables = {"MANAGED_AGENTS_PATH": f"{unpacked}/pip/bin", "PYTHONPATH": f"{unpacked}/pip"}
        await _bring(stack, _installed(tmp_path / "installed"))
        stack.start_worker()
        run = {"tool": "bash", "input": {"command": "greet; hello; echo ${MANAGED_AGENTS_PATH:-unset}"}}
        summary = await stack.turn(script(run, {"text": "{{last_tool_result}}"}))
        assert summary["last_message"]["text"].split("\n") == ["from a package", "from a package", "unset"]
    left = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*")}
    assert left == {"pip", "pip/bin", "pip/bin/greet", "pip/bin/hello", "pip/greeting.py", ".digest"} | {
        name for name in left if "__pycache__" in name
    }


async def test_a_call_without_its_packages_says_what_it_waits_for(tmp_path: Path) -> None:
    async with stack_running(tmp_path) as stack:
        stack.sandbox_arguments = ("--packages", str(tmp_path), "--packages-digest", DIGEST)
        stack.settings = replace(stack.settings, sandbox_wait_seconds=3.0)
        stack.start_worker()
        run = {"tool": "bash", "input": {"command": "true"}}
        summary = await stack.turn(script(run, {"text": "{{last_tool_result}}"}))
        text = summary["last_message"]["text"]
        assert "sandbox not ready: PackagesPending" in text
        assert f"no packages {DIGEST} in namespace team-a" in text


async def test_an_upload_of_a_pod_that_nobody_knows_gives_up_with_the_reason(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(pod_token("pod-stranger"))
    folder = _installed(tmp_path / "installed")
    async with server_in_process(tmp_path / "data") as server:
        with pytest.raises(UploadError, match="not registered for these packages"):
            await upload(_wanted(server, folder, token_file, attempts_max=2))


@requirement("packages-quota")
async def test_an_upload_beyond_the_quota_ends_at_once_and_names_it(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(pod_token("pod-install"))
    folder = _installed(tmp_path / "installed")
    (folder / "large").write_bytes(os.urandom(24_000_000))
    async with server_in_process(tmp_path / "data", packages_bytes_max=2_000_000) as server:
        await server.operator("PUT", "/package-pods/pod-install", {"namespace": "team-a", "digest": DIGEST})
        with pytest.raises(UploadError) as refused:
            await upload(_wanted(server, folder, token_file))
    named = "the packages of namespace team-a exceed their quota of 2000000 bytes"
    assert str(refused.value).startswith(f"the server refuses the archive: status 400: {named}")


async def test_an_archive_is_the_same_for_the_same_files_and_names_nobody(tmp_path: Path) -> None:
    folder = _installed(tmp_path / "installed")
    first, second = [b"".join([chunk async for chunk in archive_of(folder)]) for _ in range(2)]
    with tarfile.open(fileobj=io.BytesIO(first), mode="r:gz") as archive:
        members = archive.getmembers()
        assert {(member.uid, member.uname, member.mtime) for member in members} == {(0, "", 0)}
    assert first == second
