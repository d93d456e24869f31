"""Paths of files as requests name them: relative, percent-encoded, and never out of their folder. Pure."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from managed_agents.sandbox.supervisor.errors import invalid

PATH_BYTES_MAX = 1024
NAME_BYTES_MAX = 255


def parse_path(segments: list[str]) -> str:
    """Return the path that the segments of a URL name. Raises 400."""
    try:
        parts = [unquote_to_bytes(segment).decode("utf-8") for segment in segments]
    except UnicodeDecodeError:
        raise invalid("path: must be UTF-8, percent-encoded") from None
    path = "/".join(parts)
    if not is_path(path) or len(path.split("/")) != len(parts):
        raise invalid(f"path: must be relative, at most {PATH_BYTES_MAX} bytes, without empty, . or .. parts")
    return path


def is_path(path: str) -> bool:
    """Whether a text is a path that stays below the folder it is joined to."""
    try:
        size = len(path.encode("utf-8"))
        parts = path.split("/")
        sizes = [len(part.encode("utf-8")) for part in parts]
    except UnicodeEncodeError:  # a name that is no UTF-8
        return False
    if size > PATH_BYTES_MAX or "\0" in path:
        return False
    return all(part not in ("", ".", "..") and length <= NAME_BYTES_MAX for part, length in zip(parts, sizes))  # noqa: B905 - of one list
