"""Repositories of a session, from a Git server over HTTP through relay and proxy into the sandbox."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from managed_agents.contracts.egress import EgressRules
from support.git_server import GitServer, git_server
from support.requirements import requirement
from support.stack import Stack, script, stack_running

LOOK = {"tool": "bash", "input": {"command": "cat repo/README; git -C repo status --porcelain --branch | head -1"}}
TELL = {"text": "{{last_tool_result}}"}


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with git_server(tmp_path / "forge") as made:
        yield made


@asynccontextmanager
async def _stack(folder: Path, forge: GitServer, *repositories: dict[str, Any], **rules: Any) -> AsyncIterator[Stack]:
    resources = [
        {"type": "github_repository", "id": f"sesrsc_{index}", "mount_path": "repo", "checkout": None, **repository}
        for index, repository in enumerate(repositories)
    ]
    egress = EgressRules(**{"hosts": {"localhost": forge.port}, **rules})
    config = {"type": "cloud", "networking": {"type": "unrestricted"}, "packages": {}}
    environment = {"id": "env_0123456789ab", "name": "python", "config": config}
    async with stack_running(folder, egress=egress, resources=resources, environment=environment) as stack:
        stack.start_worker()
        yield stack


async def _errors(stack: Stack) -> list[dict[str, Any]]:
    return [event["error"] for event in await stack.events() if event["type"] == "session.error"]


@requirement("repositories")
async def test_a_repository_is_there_before_the_first_call_and_is_not_cloned_again(
    tmp_path: Path, forge: GitServer
) -> None:
    forge.make("team/tool")
    async with _stack(tmp_path, forge, {"url": forge.url("team/tool")}) as stack:
        summary = await stack.turn(script(LOOK, TELL))
        assert summary["last_message"]["text"].strip() == "second\n## main...origin/main"
        assert await _errors(stack) == []
        fetched = len(forge.requests)
        assert fetched > 0
        await stack.stop_worker()
        stack.start_worker()
        again = await stack.turn(script(LOOK, TELL))
        assert again["last_message"]["text"].strip() == "second\n## main...origin/main"
        assert len(forge.requests) == fetched
        kinds = [event["type"] for event in await stack.events()]
        assert kinds.count("agent.tool_use") == kinds.count("agent.tool_result") == 2


async def test_branch_and_commit_are_checked_out(tmp_path: Path, forge: GitServer) -> None:
    first = forge.make("team/tool")
    branch = {"url": forge.url("team/tool"), "checkout": {"type": "branch", "name": "other"}, "mount_path": "branch"}
    commit = {
        "url": forge.url("team/tool"),
        "checkout": {"type": "commit", "sha": first[:10]},
        "mount_path": "a/commit",
    }
    look = "cat branch/README a/commit/README; git -C branch branch --show-current; git -C a/commit rev-parse HEAD"
    async with _stack(tmp_path, forge, branch, commit) as stack:
        summary = await stack.turn(script({"tool": "bash", "input": {"command": look}}, TELL))
        assert summary["last_message"]["text"].split() == ["first", "first", "other", first]


@requirement("repositories-fail")
@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"url": "team/absent"}, "repository_not_found_error"),
        ({"url": "private/tool"}, "repository_authentication_error"),
        ({"url": "forbidden/tool"}, "repository_forbidden_error"),
        ({"checkout": {"type": "branch", "name": "absent"}}, "repository_checkout_error"),
        ({"checkout": {"type": "commit", "sha": "0" * 40}}, "repository_checkout_error"),
        ({"mount_path": "/proc/repo"}, "repository_clone_error"),
    ],
)
async def test_a_failure_has_its_type_and_the_session_runs_on(
    tmp_path: Path, forge: GitServer, changes: dict[str, Any], kind: str
) -> None:
    forge.make("team/tool")
    repository = {**changes, "url": forge.url(changes.get("url", "team/tool"))}
    async with _stack(tmp_path, forge, repository) as stack:
        run = {"tool": "bash", "input": {"command": "ls -A"}}
        summary = await stack.turn(script(run, {"text": "Went on."}))
        assert summary["last_message"]["text"] == "Went on."
        (error,) = await _errors(stack)
        assert error["type"] == kind
        assert error["repository_url"] == repository["url"]
        assert error["retry_status"] == {"type": "retrying"}
        assert summary["status"] == "idle"
        (result,) = [event for event in await stack.events() if event["type"] == "agent.tool_result"]
        assert result["content"][0]["text"].strip() == "(no output)"


async def test_a_host_that_the_environment_refuses_is_named(tmp_path: Path, forge: GitServer) -> None:
    forge.make("team/tool")
    async with _stack(tmp_path, forge, {"url": forge.url("team/tool")}, hosts={}) as stack:
        await stack.turn(script({"tool": "bash", "input": {"command": "true"}}, {"text": "Went on."}))
        (error,) = await _errors(stack)
        assert error["type"] == "repository_forbidden_error"
        assert "localhost" in error["message"]
        assert forge.requests == []


@requirement("repositories-retry")
@pytest.mark.parametrize("restarts", [False, True])
async def test_a_failed_clone_is_tried_again_in_the_next_turn(tmp_path: Path, forge: GitServer, restarts: bool) -> None:
    async with _stack(tmp_path, forge, {"url": forge.url("team/tool")}) as stack:
        run = {"tool": "bash", "input": {"command": "true"}}
        await stack.turn(script(run, run, {"text": "Went on."}))
        assert [error["type"] for error in await _errors(stack)] == ["repository_not_found_error"]
        forge.make("team/tool")
        if restarts:
            await stack.stop_worker()
            stack.start_worker()
        summary = await stack.turn(script(LOOK, TELL))
        assert summary["last_message"]["text"].startswith("second")
        assert summary["last_error"] is None
        assert len(await _errors(stack)) == 1


@requirement("repositories-token", "repositories-fail", "credentials-fail")
async def test_a_private_repository_is_cloned_pushed_and_mended_and_its_token_seen_by_nobody(tmp_path: Path) -> None:
    token = "canary-71fe"
    async with git_server(tmp_path / "forge", tls="localhost") as forge:
        forge.make("private/tool")
        forge.tokens.add("another")
        url = forge.url("private/tool")
        repository = {"url": url, "has_token": True, "push_refs": ["refs/heads/agent/*"]}
        async with _stack(tmp_path, forge, repository, authorities=(forge.certificate,)) as stack:
            credentials = stack.folder / "credentials.json"
            entry = {"id": "sesrsc_0", "url": url, "token": token, "push_refs": ["refs/heads/agent/*"]}
            credentials.write_bytes(orjson.dumps({"credentials": [], "repositories": [entry]}))
            run = {"tool": "bash", "input": {"command": "ls"}}
            await stack.turn(script(run, {"text": "Went on."}))
            (error,) = await _errors(stack)
            assert (error["type"], error["repository_url"]) == ("repository_authentication_error", url)
            assert "does not accept the session's token (401)" in error["message"]
            forge.tokens.add(token)
            work = (
                "cd repo && git config user.name a && git config user.email a@example.com && git checkout -q -b agent/x"
                " && echo third > README && git commit -q -a -m third && git push -q origin agent/x"
                "; git push -q origin HEAD:main 2>&1 | grep -o 'not allowed by this session'"
                "; env | grep -c canary; grep -rc canary ~/.gitconfig .git/config"
            )
            async with asyncio.timeout(20):  # an attempt that took long is repeated only after as long a pause
                while "repo" not in (await stack.turn(script(run, TELL)))["last_message"]["text"]:
                    pass
            summary = await stack.turn(script({"tool": "bash", "input": {"command": work}}, TELL))
            said = summary["last_message"]["text"]
            assert "not allowed by this session" in said
            assert forge.head("private/tool", "refs/heads/agent/x") == "third"
            assert forge.head("private/tool", "refs/heads/main") == "second"
            assert len(await _errors(stack)) == 1
            assert token not in orjson.dumps(await stack.events()).decode()
            assert b"Plain git fetches and pushes there" in stack.simulator.records.after(0)[0].body


@requirement("repositories-token-condition", "repositories-fail", "F23", "credentials-fail")
async def test_a_token_whose_secret_goes_in_the_middle_is_told_once_and_mended(tmp_path: Path) -> None:
    token = "canary-71fe"
    fetch = {"tool": "bash", "input": {"command": "git -C repo fetch -q 2>&1 | grep -o repository_.*_error; echo done"}}
    async with git_server(tmp_path / "forge", tls="localhost") as forge:
        forge.make("private/tool")
        forge.tokens.add(token)
        url = forge.url("private/tool")
        async with _stack(tmp_path, forge, {"url": url, "has_token": True}, authorities=(forge.certificate,)) as stack:

            def keep(**entry: str) -> None:
                document = {"credentials": [], "repositories": [{"id": "sesrsc_0", "url": url, **entry}]}
                fresh = stack.folder / "credentials.new"
                fresh.write_bytes(orjson.dumps(document))
                fresh.replace(stack.folder / "credentials.json")

            gone = 'spec.resources[0].authorizationToken.secretKeyRef.name: Secret "forge" not found'
            keep(token=token)
            await stack.turn(script(fetch, TELL))
            assert await _errors(stack) == []
            keep(problem=gone)
            summary = await stack.turn(script(fetch, fetch, TELL))
            assert "repository_authentication_error" in summary["last_message"]["text"]
            (error,) = await _errors(stack)
            assert (error["type"], error["repository_url"]) == ("repository_authentication_error", url)
            assert error["message"].endswith(gone)
            keep(token=token)
            summary = await stack.turn(script(fetch, TELL))
            assert summary["last_message"]["text"].strip() == "done"
            keep(problem=gone)
            await stack.turn(script(fetch, TELL))
            assert len(await _errors(stack)) == 2


@requirement("repositories-fail", "F23", "credentials-fail")
async def test_a_clone_without_its_token_is_told_once_and_mended(tmp_path: Path) -> None:
    async with git_server(tmp_path / "forge", tls="localhost") as forge:
        forge.make("private/tool")
        forge.tokens.add("canary-71fe")
        url = forge.url("private/tool")
        async with _stack(tmp_path, forge, {"url": url, "has_token": True}, authorities=(forge.certificate,)) as stack:
            entry = {"id": "sesrsc_0", "url": url}
            file, run = stack.folder / "credentials.json", {"tool": "bash", "input": {"command": "ls"}}
            file.write_bytes(orjson.dumps({"credentials": [], "repositories": [{**entry, "problem": "it is gone"}]}))
            await stack.turn(script(run, {"text": "Went on."}))
            (error,) = await _errors(stack)
            assert error["type"] == "repository_authentication_error"
            assert "it is gone" in error["message"]
            fresh = stack.folder / "credentials.new"
            fresh.write_bytes(orjson.dumps({"credentials": [], "repositories": [{**entry, "token": "canary-71fe"}]}))
            fresh.replace(file)
            async with asyncio.timeout(20):  # an attempt that took long is repeated only after as long a pause
                while "repo" not in (await stack.turn(script(run, TELL)))["last_message"]["text"]:
                    pass
            assert len(await _errors(stack)) == 1
