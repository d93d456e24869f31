"""A session's repositories: cloned in the sandbox before the first call that runs there (API reference §4.5, §9).

A hand around a hand: whoever provisions it gets a sandbox in which each repository is, or has been reported missing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from managed_agents.contracts import causes
from managed_agents.harness.tools.hand import (
    Call,
    Hand,
    HandNotProvisionedError,
    HandUnavailableError,
    HandUnreachableError,
    ToolResult,
)
from managed_agents.harness.tools.wrapped import WrappedHand

TOOL = "repository"
"""The sandbox's own name of the call. No toolset offers it."""

ATTEMPTS_MAX = 3
"""How often a sandbox is provisioned anew because the proxy forgot it."""

CANCEL_SECONDS = 1.5
"""How long an interrupt waits for a clone to be ended."""

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
        )
        for resource in config.get("resources") or ()
        if resource.get("type") == "github_repository"
    )


def _name_of(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2].removesuffix(".git")


class RepositoryHand(WrappedHand):
    """A sandbox hand that clones what is missing once per sandbox and lease. `report` is told what could not be."""

    def __init__(
        self, hand: Hand, *, epoch: int, repositories: Callable[[], Sequence[Repository]], report: Report
    ) -> None:
        super().__init__(hand)
        self._epoch = epoch
        self._repositories = repositories
        self._report = report
        self._prepared: set[tuple[int, str]] = set()

    async def provision(self) -> int:
        """Make the sandbox ready, with its repositories; see `Hand`."""
        for _ in range(ATTEMPTS_MAX):
            generation = await self._hand.provision()
            missing = [one for one in self._repositories() if (generation, one.id) not in self._prepared]
            try:
                failures = [failure for one in missing if (failure := await self._cloned(one, generation)) is not None]
            except HandNotProvisionedError:  # the proxy was restarted meanwhile
                continue
            if failures:
                await self._report(failures)
            self._prepared |= {(generation, one.id) for one in missing}
            return generation
        raise HandUnavailableError(message="the proxy lost its sandbox again and again.")

    async def _cloned(self, repository: Repository, generation: int) -> RepositoryFailure | None:
        # A lease's own id: a failure is journaled, and the next harness shall try again.
        call = Call(
            id=f"clone.{repository.id}.{self._epoch}.{generation}",
            name=TOOL,
            input={"url": repository.url, "path": repository.path, "checkout": repository.checkout},
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
    text = f"{repository.url} is not at {path}: {message}; it is tried again with the session's next harness"
    return RepositoryFailure(cause=_CAUSES.get(kind, causes.REPOSITORY_CLONE), url=repository.url, message=text)
