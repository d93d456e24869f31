"""A session's repositories: cloned in the sandbox before the first call that runs there (API reference §4.5, §9).

A hand around a hand: whoever provisions it gets a sandbox in which each repository is, or has been reported missing.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from managed_agents.contracts import causes
from managed_agents.contracts.repositories import git_address
from managed_agents.harness.tools.hand import (
    Call,
    Hand,
    HandNotProvisionedError,
    HandUnavailableError,
    HandUnreachableError,
    MissingToken,
    ToolResult,
    UnreachableCredential,
)
from managed_agents.harness.tools.wrapped import WrappedHand

TOOL = "repository"
"""The sandbox's own name of the call. No toolset offers it."""

ATTEMPTS_MAX = 3
"""How often a sandbox is provisioned anew because the proxy forgot it."""

CANCEL_SECONDS = 1.5
"""How long an interrupt waits for a clone to be ended."""

RETRY_SECONDS = 15.0
RETRY_SECONDS_MAX = 600.0
"""First and longest pause before a clone that a broken connection may have failed is tried again within a turn."""

_CAUSES = {
    "authentication": causes.REPOSITORY_AUTHENTICATION,
    "checkout": causes.REPOSITORY_CHECKOUT,
    "forbidden": causes.REPOSITORY_FORBIDDEN,
    "not_found": causes.REPOSITORY_NOT_FOUND,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A `github_repository` resource. `path` is relative to `/workspace`, or absolute."""

    id: str
    url: str
    path: str
    checkout: Mapping[str, Any] | None = None
    remote: str | None = None
    """What git uses in the place of the URL where the session has a token (docs/repositories.md)."""
    push_refs: tuple[str, ...] | None = None
    """Patterns of what may be pushed there; None: whatever the token allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryFailure:
    """A repository is not in the sandbox; the session runs on without it."""

    cause: causes.Cause
    url: str
    message: str


Report = Callable[[Sequence[RepositoryFailure]], Awaitable[None]]


def repositories_of(config: Mapping[str, Any]) -> tuple[Repository, ...]:
    """Return the repositories of a session config, by default each under its own name."""
    return tuple(
        Repository(
            id=str(resource["id"]),
            url=str(resource["url"]),
            path=resource.get("mount_path") or _name_of(str(resource["url"])),
            checkout=resource.get("checkout"),
            remote=git_address(str(resource["url"])) if resource.get("has_token") else None,
            push_refs=tuple(resource["push_refs"]) if "push_refs" in resource else None,
        )
        for resource in config.get("resources") or ()
        if resource.get("type") == "github_repository"
    )


def _name_of(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2].removesuffix(".git")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """The last attempt on a repository in a sandbox: how it ended, and when it was and may be made, monotonic."""

    remote: str | None
    attempts: int
    failure: RepositoryFailure | None
    turn: str
    retries: int
    """Attempts after the first one of this turn."""
    next_turn_at: float
    retry_at: float

    def is_due(self, turn: str, now: float) -> bool:
        """Tell whether it is time for another attempt."""
        return self.failure is not None and now >= (self.retry_at if turn == self.turn else self.next_turn_at)

    def has_told(self, turn: str, failure: RepositoryFailure) -> bool:
        """Tell whether the same failure has been reported in this turn."""
        return turn == self.turn and self.failure is not None and self.failure.cause == failure.cause


class RepositoryHand(WrappedHand):
    """A sandbox hand that clones what is missing, once per sandbox and lease; `report` is told what could not be.

    A clone that failed is tried again in the next turn, which `turn` names; one that time alone may mend also within
    a turn, with a growing pause. No more time goes into failing attempts than passes between them.
    """

    def __init__(
        self,
        hand: Hand,
        *,
        epoch: int,
        repositories: Callable[[], Sequence[Repository]],
        report: Report,
        turn: Callable[[], str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(hand)
        self._epoch = epoch
        self._repositories = repositories
        self._report = report
        self._turn = turn
        self._monotonic = monotonic
        self._tried: dict[tuple[int, str], _Tried] = {}
        self._unreachable: list[UnreachableCredential] = []
        self._missing: list[MissingToken] = []

    async def execute(self, call: Call) -> ToolResult:
        """Run a call; see `Hand`."""
        result = await super().execute(call)
        self._unreachable += result.unreachable
        self._missing += result.missing_tokens  # not of clones: their failure says it
        return result

    def unreachable(self) -> Sequence[UnreachableCredential]:
        """Return the credentials that calls, clones included, have told of since the last look."""
        found, self._unreachable = self._unreachable, []
        return found

    def without_token(self) -> Sequence[RepositoryFailure]:
        """Return the repositories that calls have asked for in vain since the last look, for want of their token."""
        found, self._missing = self._missing, []
        cause = causes.REPOSITORY_AUTHENTICATION
        return [RepositoryFailure(cause=cause, url=one.url, message=one.message) for one in found]

    async def provision(self) -> int:
        """Make the sandbox ready, with its repositories; see `Hand`."""
        for _ in range(ATTEMPTS_MAX):
            generation = await self._hand.provision()
            try:
                news = [failure for one in self._repositories() if (failure := await self._news(one, generation))]
            except HandNotProvisionedError:  # the proxy was restarted meanwhile
                continue
            if news:
                await self._report(news)
            return generation
        raise HandUnavailableError(message="the proxy lost its sandbox again and again.")

    async def _news(self, repository: Repository, generation: int) -> RepositoryFailure | None:
        """Clone a repository if it is time to; return a failure that has not been told in this turn."""
        key, turn, began = (generation, repository.id), self._turn(), self._monotonic()
        last = self._tried.get(key)
        has_changed = last is not None and last.remote != repository.remote  # it was given its first token
        if last is not None and not has_changed and not last.is_due(turn, began):
            return None
        attempts = 1 if last is None else last.attempts + 1
        failure = await self._cloned(repository, generation, attempts)
        retries = 0 if last is None or last.turn != turn else last.retries + 1
        ended = self._monotonic()
        pause = max(min(RETRY_SECONDS * 2.0**retries, RETRY_SECONDS_MAX), ended - began)
        heals = failure is not None and failure.cause == causes.REPOSITORY_CLONE
        self._tried[key] = _Tried(
            remote=repository.remote,
            attempts=attempts,
            failure=failure,
            turn=turn,
            retries=retries,
            next_turn_at=ended + (ended - began),
            retry_at=ended + pause if heals else math.inf,
        )
        return failure if failure is not None and not (last and last.has_told(turn, failure)) else None

    async def _cloned(self, repository: Repository, generation: int, attempt: int) -> RepositoryFailure | None:
        # An attempt's own id: a failure is journaled, and the next attempt or harness shall really try.
        again = "" if attempt == 1 else f".{attempt}"
        call = Call(
            id=f"clone.{repository.id}.{self._epoch}.{generation}{again}",
            name=TOOL,
            input={
                "url": repository.url,
                "path": repository.path,
                "checkout": repository.checkout,
                **({"remote": repository.remote} if repository.remote else {}),
            },
        )
        try:
            result = await self._hand.execute(call)
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(CANCEL_SECONDS):
                    await self._hand.cancel(call.id)
            raise
        except HandUnreachableError as problem:
            return RepositoryFailure(cause=causes.REPOSITORY_CLONE, url=repository.url, message=problem.message)
        self._unreachable += result.unreachable
        return _failure(repository, result)


def _failure(repository: Repository, result: ToolResult) -> RepositoryFailure | None:
    """Read the clone's result; the sandbox is not trusted to keep to its form."""
    text = next((str(block["text"]) for block in result.content if block.get("type") == "text"), "")
    kind, message = "clone", text or "the sandbox gave no reason"
    if not result.is_error:
        with suppress(orjson.JSONDecodeError):
            said = orjson.loads(text)
            if isinstance(said, dict) and said.get("state") == "ready":
                return None
            if isinstance(said, dict):
                kind, message = str(said.get("kind")), str(said.get("message"))
    path = repository.path if repository.path.startswith("/") else f"/workspace/{repository.path}"
    text = f"{repository.url} is not at {path}: {message}; it is tried again with the session's next turn"
    return RepositoryFailure(cause=_CAUSES.get(kind, causes.REPOSITORY_CLONE), url=repository.url, message=text)
