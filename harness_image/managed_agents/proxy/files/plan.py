"""Which files belong where: read from the session's config and from listings, as values and without I/O.

What a sandbox lists was named by what users wrote, so nothing of it is believed before it has this shape (F20).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from managed_agents.proxy.bindings import MalformedError

UPLOADS = "/mnt/session/uploads"
FILES_MAX = 1_000
"""Entries of one listing that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that the session was given, and its path below the uploads folder."""

    path: str
    file_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file that the tools left. `version` changes whenever the file does."""

    path: str
    size: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What makes a sandbox's uploads those of the config."""

    remove: Sequence[str]
    place: Sequence[Upload]


def uploads_from(config: Mapping[str, object]) -> tuple[Upload, ...]:
    """Return the files of a config's resources. Of two at one path the later counts; one without an id is left out."""
    resources = config.get("resources")
    found: dict[str, Upload] = {}
    for resource in resources if isinstance(resources, list) else []:
        if isinstance(resource, dict) and resource.get("type") == "file" and isinstance(resource.get("file_id"), str):
            path = path_for(resource["file_id"], resource.get("mount_path"))
            found[path] = Upload(path=path, file_id=resource["file_id"])
    return tuple(found.values())


def path_for(file_id: str, mount_path: object) -> str:
    """Return a file's path below the uploads folder: its mount path, which may be relative to it, else its id."""
    path = mount_path if isinstance(mount_path, str) else ""
    if path == UPLOADS or path.startswith(f"{UPLOADS}/"):
        path = path.removeprefix(UPLOADS)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/".join(parts) or file_id


def changes_for(wanted: Sequence[Upload], present: Mapping[str, str]) -> Changes:
    """Compare the wanted files with the file ids that lie at each path."""
    paths = {upload.path for upload in wanted}
    return Changes(
        remove=[path for path in present if path not in paths],
        place=[upload for upload in wanted if present.get(upload.path) != upload.file_id],
    )


def present_from(document: object) -> dict[str, str]:
    """Read a supervisor's listing of uploads: file ids by path. Raises: MalformedError."""
    return {_text(entry, "path"): _text(entry, "tag") for entry in _entries(document, "files")}


def outputs_from(document: object) -> list[Output]:
    """Read a supervisor's listing of outputs. Raises: MalformedError."""
    return [
        Output(path=_text(entry, "path"), size=_size(entry), version=_text(entry, "version"))
        for entry in _entries(document, "files")
    ]


def stored_from(document: object) -> dict[str, str]:
    """Read the server's listing of outputs: versions by path. Raises: MalformedError."""
    return {_text(entry, "path"): str(entry.get("version")) for entry in _entries(document, "outputs", most=None)}


def notice_for(upload: Upload, reason: str) -> str:
    """Say to the model that a file is not there."""
    return f"[{UPLOADS}/{upload.path} is missing: {upload.file_id} could not be placed there: {reason}]"


def _entries(document: object, key: str, most: int | None = FILES_MAX) -> list[dict[str, object]]:
    entries = document.get(key) if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise MalformedError(f"{key}: a list of objects is required")
    return entries[:most]


def _text(entry: Mapping[str, object], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise MalformedError(f"{key}: a text is required")
    return value


def _size(entry: Mapping[str, object]) -> int:
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise MalformedError("size: a number of bytes is required")
    return size
