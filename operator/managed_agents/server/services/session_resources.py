"""The resources of a session's config: each file becomes the session's own copy, once, and stays it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from managed_agents.contracts.clock import Clock, rfc3339
from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.eventlog.records import Config
from managed_agents.filestore.store import FileStore


class SessionResources:
    """Copies the files that sessions are given, and removes the copies of those that are taken away."""

    def __init__(self, files: FileStore, clock: Clock) -> None:
        self._files = files
        self._clock = clock

    async def resolved(self, config: Config, previous: Config | None) -> Config:
        """Return the config with the session's own files in it; entries that `previous` has stay as they are.

        Raises: RejectedError for a file that the namespace does not have.
        """
        entries: Sequence[Mapping[str, Any]] = config.get("resources") or []
        known = {entry["id"]: entry for entry in (previous or {}).get("resources") or [] if "id" in entry}
        found = [
            self._kept(known[entry["id"]], entry)
            if entry.get("id") in known
            else await self._new(config, entry, index, is_late=previous is not None)
            for index, entry in enumerate(entries)
        ]
        return {**config, "resources": found}

    async def remove_stale(self, previous: Config | None, config: Config) -> None:
        """Remove the copies of files that are no longer among a session's resources."""
        kept = set(copies_in(config))
        for file_id in copies_in(previous or {}):
            if file_id not in kept:
                await self._remove(file_id)

    async def remove_all(self, session_id: str) -> None:
        """Remove the files of a session that is gone: its copies and what its tools left."""
        await self._files.delete_session(session_id)

    async def _remove(self, file_id: str) -> None:
        try:
            await self._files.delete(file_id)
        except NotFoundError:
            return  # removed by a client, or with the session

    def _kept(self, known: Mapping[str, Any], entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an entry that was there already: a file as it is, of a repository what it says now of its token."""
        if entry.get("type") == "file" or _said(known) == _said(entry):
            return known
        return {**entry, "created_at": known["created_at"], "updated_at": rfc3339(self._clock.now())}

    async def _new(self, config: Config, entry: Mapping[str, Any], index: int, *, is_late: bool) -> dict[str, Any]:
        now = rfc3339(self._clock.now())
        times = {"created_at": now, "updated_at": now} if is_late else {}
        if entry.get("type") != "file":
            return {**entry, **times}
        source = str(entry["source_file_id"])
        try:
            copy = await self._files.copy_for_session(source, config["id"], namespace=config["namespace"])
        except NotFoundError:
            field = f"resources.{index}.file_id"
            message = f'{field}: file "{source}" not found in namespace "{config["namespace"]}"; upload it first'
            raise RejectedError(message, reason="FileNotFound", field=field) from None
        return {**entry, **times, "file_id": copy.id}


def copies_in(config: Mapping[str, Any]) -> Iterable[str]:
    """Yield the ids of the session's own copies."""
    for entry in config.get("resources") or []:
        if entry.get("type") == "file" and entry["file_id"] != entry.get("source_file_id"):
            yield entry["file_id"]


def _said(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("created_at", "updated_at")}
