"""What files look like at the API: metadata, names, media types, and the query of a list. Pure."""

import mimetypes
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from managed_agents.contracts.clock import rfc3339
from managed_agents.contracts.errors import RejectedError
from managed_agents.filestore.records import File, Listing
from managed_agents.server.services.cursors import cursor_of, place_of
from managed_agents.server.services.query import grouped, parse_number

LIMIT_DEFAULT = 20
LIMIT_MAX = 1000
IDS_MAX = 100
EXPIRES_SECONDS = (3600, 7_776_000)
"""One hour to ninety days (API reference §3.8)."""

NAME_LENGTH_MAX = 255
PATH_BYTES_MAX = 1024
UNKNOWN_TYPE = "application/octet-stream"

_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')
_MIME = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}\Z", re.ASCII)
_TYPES: Final = mimetypes.MimeTypes()


def metadata_of(file: File, *, uploads_downloadable: bool) -> dict[str, Any]:
    """Render a file as the API does (API reference §4.12)."""
    return {
        "id": file.id,
        "type": "file",
        "filename": file.filename,
        "mime_type": file.mime_type,
        "size_bytes": file.size_bytes,
        "created_at": file.created_at,
        "downloadable": is_downloadable(file, uploads_downloadable=uploads_downloadable),
        "expires_at": file.expires_at,
        "scope": None if file.session is None else {"type": "session", "id": file.session},
    }


def is_downloadable(file: File, *, uploads_downloadable: bool) -> bool:
    """Tell whether clients may have the bytes: of what a session made, and of uploads where a setting says so."""
    return file.origin == "output" or uploads_downloadable


def filename_of(sent: str | None, mime_type: str) -> str:
    """Return the name that a file is kept under: the last component of what was sent. Raises: RejectedError."""
    name = re.split(r"[/\\]", sent or "")[-1]
    if not name:
        return "unnamed" + (_TYPES.guess_extension(mime_type) or "")
    if len(name) > NAME_LENGTH_MAX or _FORBIDDEN.search(name) or name in (".", ".."):
        raise RejectedError(
            f'file: its filename must have 1 to {NAME_LENGTH_MAX} characters, none of < > : " | ? * and no control'
            " characters",
            field="file",
        )
    return name


def mime_type_of(declared: str | None, name: str | None) -> str:
    """Return the media type that was declared, without parameters, else the one that the name suggests."""
    media_type = (declared or "").partition(";")[0].strip().lower()
    if _MIME.match(media_type):
        return media_type
    return _TYPES.guess_type(name or "")[0] or UNKNOWN_TYPE


def expires_at_of(sent: str | None, now: datetime) -> str | None:
    """Return when a file expires. Raises: RejectedError."""
    if sent is None:
        return None
    return rfc3339(now + timedelta(seconds=parse_number("expires_in_seconds", sent, *EXPIRES_SECONDS) or 0))


def output_path_of(sent: str | None) -> str:
    """Return an output's path below the outputs folder. Raises: RejectedError."""
    parts = (sent or "").split("/")
    if (
        not sent
        or len(sent.encode()) > PATH_BYTES_MAX
        or "\0" in sent
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise RejectedError("path: must be a relative path of at most 1024 bytes without . or ..", field="path")
    return sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list of files: what to read, one more than shown, and how many to show."""

    listing: Listing
    limit: int


def parse_page(namespace: str, query: Iterable[tuple[str, str]], secret: bytes) -> Page:
    """Read the query of a list request. Raises: RejectedError with the parameter at fault."""
    values = grouped(query)
    scope = values["scope_id"][-1] if "scope_id" in values else None
    if ids := list(dict.fromkeys(values.get("ids", []))):
        _check_ids(ids, values)
        return Page(
            listing=Listing(namespace=namespace, limit=IDS_MAX, session=scope, ids=ids),
            limit=IDS_MAX,
        )
    sent = values["limit"][-1] if "limit" in values else None
    limit = parse_number("limit", sent, 1, LIMIT_MAX) or LIMIT_DEFAULT
    cursor = (values.get("page") or [""])[-1]
    before = int(place_of(cursor, _scope(namespace, scope), secret)) if cursor else None
    return Page(listing=Listing(namespace=namespace, limit=limit + 1, before=before, session=scope), limit=limit)


def next_page(page: Page, files: Sequence[File], secret: bytes) -> tuple[Sequence[File], str | None]:
    """Return the files to show and the cursor of the next page, null at the end."""
    shown = files[: page.limit]
    if len(files) <= page.limit:
        return shown, None
    scope = _scope(page.listing.namespace, page.listing.session)
    return shown, cursor_of(scope, str(shown[-1].number), secret)


def _check_ids(ids: Sequence[str], values: dict[str, list[str]]) -> None:
    if len(ids) > IDS_MAX:
        raise RejectedError(f"ids: at most {IDS_MAX} different ones, found {len(ids)}", field="ids")
    for other in ("page", "limit"):
        if other in values:
            raise RejectedError(f"{other}: cannot be combined with ids, whose answer is one page", field=other)


def _scope(namespace: str, session: str | None) -> str:
    return f"files\n{namespace}\n{session or ''}"
