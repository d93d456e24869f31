"""What the file store stores and hands out, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FILE_BYTES_MAX = 500 * 1000 * 1000
"""One file, as the hosted service (API reference §14)."""

NAMESPACE_BYTES_MAX = 10 * 1024**3
"""What the files of one namespace take together, unless a setting says otherwise."""

NAMESPACE_FILES_MAX = 100_000
"""How many files one namespace has, unless a setting says otherwise: some 50 MB of metadata."""

Origin = Literal["upload", "copy", "output"]
"""Sent by a client; a session's own copy of such a file; left by a session's tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A file about to be stored. `session` scopes it to that session; times are RFC 3339 in UTC.

    Of an output, `path` is its path below the outputs folder, and `version` an opaque text that changes with it.
    """

    namespace: str
    filename: str
    mime_type: str
    origin: Origin
    session: str | None = None
    path: str | None = None
    version: str | None = None
    expires_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A stored file. `number` grows with each one; `content` names its bytes, null once they have expired."""

    number: int
    id: str
    namespace: str
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str
    created_at: str
    origin: Origin
    session: str | None
    path: str | None
    version: str | None
    expires_at: str | None
    content: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which files of a namespace to list, newest first: before that number, of that session, or exactly those ids."""

    namespace: str
    limit: int
    before: int | None = None
    session: str | None = None
    ids: Sequence[str] | None = None
