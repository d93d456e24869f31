"""A sandbox hand that has the session's repositories: when it clones, what it reports, and what it leaves alone."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from managed_agents.contracts import causes
from managed_agents.harness.history.repositories import repository_hint
from managed_agents.harness.tools.hand import Call, HandUnavailableError, ToolResult
from managed_agents.harness.tools.repositories import Repository, RepositoryFailure, RepositoryHand, repositories_of
from managed_agents.sandbox.runner.repository import kind_of
from support.hands import FakeHand, FakeSandbox, text_result
from support.requirements import requirement

REPOSITORY = Repository(id="sesrsc_1", url="https://github.com/team/tool", path="/workspace/tool")


class World:
    """A hand under test, the sandbox behind it, and what it reported."""

    def __init__(self, *repositories: Repository, said: Any = None) -> None:
        self.sandbox = FakeSandbox()
        self.failures: list[RepositoryFailure] = []
        self.said = said or {"state": "ready"}
        self.repositories = list(repositories)
        self.turn, self.seconds, self.clone_seconds = "first", 0.0, 0.0

    def hand(self, epoch: int = 1, gate: Any = None) -> RepositoryHand:
        async def report(failures: Any) -> None:
            self.failures += failures

        self.sandbox.results["repository"] = text_result(
            self.said if isinstance(self.said, str) else orjson.dumps(self.said).decode()
        )
        inner = FakeHand(self.sandbox) if gate is None else FakeHand(self.sandbox, gate)
        return RepositoryHand(
            inner,
            epoch=epoch,
            repositories=lambda: self.repositories,
            report=report,
            turn=lambda: self.turn,
            monotonic=self.monotonic,
        )

    def monotonic(self) -> float:
        """A clock that moves by itself while something is cloned: it is read before and after each attempt."""
        self.seconds += self.clone_seconds
        return self.seconds


async def test_each_repository_is_cloned_once_per_sandbox_and_lease() -> None:
    world = World(REPOSITORY, Repository(id="sesrsc_2", url="https://x.example/y", path="y"))
    hand = world.hand()
    assert await hand.provision() == await hand.provision() == 1
    assert world.sandbox.effects == ["clone.sesrsc_1.1.1", "clone.sesrsc_2.1.1"]
    await world.hand(epoch=2).provision()
    assert world.sandbox.effects[2:] == ["clone.sesrsc_1.2.1", "clone.sesrsc_2.2.1"]
    assert world.failures == []


async def test_a_repository_added_to_a_living_session_is_cloned_before_the_next_call() -> None:
    world = World()
    hand = world.hand()
    await hand.provision()
    world.repositories.append(REPOSITORY)
    await hand.provision()
    assert world.sandbox.effects == ["clone.sesrsc_1.1.1"]


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ({"state": "failed", "kind": "not_found", "message": "gone"}, causes.REPOSITORY_NOT_FOUND),
        ({"state": "failed", "kind": "other", "message": "odd"}, causes.REPOSITORY_CLONE),
        ("no JSON", causes.REPOSITORY_CLONE),
        ("[]", causes.REPOSITORY_CLONE),
    ],
)
async def test_whatever_a_sandbox_answers_is_a_failure_with_a_type(said: Any, cause: causes.Cause) -> None:
    world = World(REPOSITORY, said=said)
    await world.hand().provision()
    (failure,) = world.failures
    assert (failure.cause, failure.url) == (cause, REPOSITORY.url)
    assert failure.message.startswith("https://github.com/team/tool is not at /workspace/tool: ")


@requirement("repositories-retry")
async def test_a_failed_clone_is_tried_again_once_in_each_turn_until_it_is_there() -> None:
    world = World(REPOSITORY, said={"state": "failed", "kind": "not_found", "message": "gone"})
    hand = world.hand()
    for world.turn in ("first", "first", "second", "second"):
        await hand.provision()
        world.seconds += 3600
    assert world.sandbox.effects == ["clone.sesrsc_1.1.1", "clone.sesrsc_1.1.1.2"]
    assert [failure.cause for failure in world.failures] == [causes.REPOSITORY_NOT_FOUND] * 2
    world.sandbox.results["repository"] = text_result(orjson.dumps({"state": "ready"}).decode())
    for world.turn in ("third", "third", "fourth"):
        await hand.provision()
    assert world.sandbox.effects[2:] == ["clone.sesrsc_1.1.1.3"]
    assert len(world.failures) == 2


@requirement("repositories-retry")
async def test_a_broken_connection_is_tried_again_within_a_turn_with_growing_pauses_and_told_once() -> None:
    world = World(REPOSITORY, said={"state": "failed", "kind": "clone", "message": "reset"})
    hand = world.hand()
    tried = []
    for second in range(0, 200, 5):
        world.seconds = float(second)
        before = len(world.sandbox.effects)
        await hand.provision()
        tried += [second] * (len(world.sandbox.effects) - before)
    assert tried == [0, 15, 45, 105]
    assert len(world.failures) == 1


@requirement("repositories-token")
async def test_a_repository_that_gets_its_first_token_is_told_to_git_at_the_next_call() -> None:
    world = World(REPOSITORY)
    hand = world.hand()
    await hand.provision()
    world.repositories = [replace(REPOSITORY, remote="http://git.session.internal/github.com/team/tool")]
    await hand.provision()
    await hand.provision()
    assert world.sandbox.effects == ["clone.sesrsc_1.1.1", "clone.sesrsc_1.1.1.2"]


async def test_an_attempt_that_took_long_is_not_repeated_at_once() -> None:
    world = World(REPOSITORY, said={"state": "failed", "kind": "clone", "message": "600 s were not enough"})
    world.clone_seconds = 600.0
    hand = world.hand()
    await hand.provision()
    world.clone_seconds = 0.0
    world.turn = "second"
    await hand.provision()
    assert len(world.sandbox.effects) == 1
    world.seconds += 600
    await hand.provision()
    assert len(world.sandbox.effects) == 2


async def test_a_proxy_that_forgot_its_sandbox_in_between_is_asked_again() -> None:
    world = World(REPOSITORY)
    forgets = [True]

    async def gate(point: str) -> None:
        if point == "before execute" and forgets.pop() if forgets else False:
            world.sandbox.replace_harness_pod()

    assert await world.hand(gate=gate).provision() == 1
    assert world.sandbox.effects == ["clone.sesrsc_1.1.1"]


async def test_a_proxy_that_forgets_for_ever_makes_the_hand_unavailable() -> None:
    world = World(REPOSITORY)

    async def gate(point: str) -> None:
        if point == "before execute":
            world.sandbox.replace_harness_pod()

    with pytest.raises(HandUnavailableError):
        await world.hand(gate=gate).provision()


async def test_an_interrupt_ends_the_clone() -> None:
    world = World(REPOSITORY)
    reached = asyncio.Event()

    async def gate(point: str) -> None:
        if point == "during execute":
            reached.set()
            await asyncio.Event().wait()

    provisioning = asyncio.ensure_future(world.hand(gate=gate).provision())
    async with asyncio.timeout(5):
        await reached.wait()
        provisioning.cancel()
        await asyncio.gather(provisioning, return_exceptions=True)
    assert world.sandbox.cancelled == ["clone.sesrsc_1.1.1"]


async def test_other_calls_pass_through() -> None:
    world = World()
    hand = world.hand()
    await hand.provision()
    result = await hand.execute(Call(id="sevt_1", name="bash", input={"command": "ls"}))
    assert isinstance(result, ToolResult)
    await hand.cancel("sevt_1")
    assert (world.sandbox.effects, world.sandbox.cancelled) == (["sevt_1"], ["sevt_1"])


def test_a_repository_lies_under_its_own_name_by_default() -> None:
    resources = [
        {"type": "file", "id": "sesrsc_0", "file_id": "file_1"},
        {"type": "github_repository", "id": "sesrsc_1", "url": "https://x.example/team/tool.git"},
        {"type": "github_repository", "id": "sesrsc_2", "url": "https://x.example/team/other", "mount_path": "/a"},
    ]
    assert [one.path for one in repositories_of({"resources": resources})] == ["tool", "/a"]
    assert repositories_of({}) == ()


@requirement("repositories-token", "repositories-api")
def test_the_model_is_told_how_it_reaches_a_repository_with_a_token() -> None:
    resource = {"type": "github_repository", "id": "sesrsc_1", "url": "https://github.com/team/tool"}
    own = {**resource, "url": "https://git.example/team/tool.git", "has_token": True, "push_refs": []}
    some = {**resource, "has_token": True, "push_refs": ["refs/heads/agent/*"]}
    public, github, other = repositories_of({"resources": [resource, some, own]})
    assert (public.remote, repository_hint(public)) == (None, "")
    assert github.remote == "http://git.session.internal/github.com/team/tool"
    assert "http://api.session.internal/github.com/repos/team/tool, with curl" in repository_hint(github)
    assert "Only these refs may be pushed: refs/heads/agent/*." in repository_hint(github)
    assert other.remote == "http://git.session.internal/git.example/team/tool.git"
    assert "http://api.session.internal/git.example/api/v4/projects/team%2Ftool (GitLab)" in repository_hint(other)
    assert "Nothing may be pushed there." in repository_hint(other)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("fatal: unable to access 'https://x/': CONNECT tunnel failed, response 403", "forbidden"),
        ("fatal: unable to access 'https://x/': Received HTTP code 403 from proxy after CONNECT", "forbidden"),
        ("fatal: unable to access 'http://x/y/': The requested URL returned error: 403", "forbidden"),
        ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", "authentication"),
        ("fatal: repository 'https://x.example/y/' not found", "not_found"),
        ("warning: Could not find remote branch b\nfatal: Remote branch b not found in upstream origin", "checkout"),
        ("fatal: the remote end hung up unexpectedly", "clone"),
        (
            "remote: repository_authentication_error: it is wrong\nfatal: The requested URL returned error: 403",
            "authentication",
        ),
    ],
)
def test_gits_words_become_a_kind(said: str, kind: str) -> None:
    assert kind_of(said, "clone") == kind
