"""Cursors of lists: opaque to clients, signed, and good for one list only (A28)."""

import base64
import binascii
import hashlib
import hmac

from managed_agents.contracts.errors import RejectedError

_MAC_BYTES = 12
_PREFIX = "page_"


def cursor_of(scope: str, place: str, secret: bytes) -> str:
    """Return the cursor that names a place of a list. `scope` tells the list from every other one."""
    token = _mac(scope, place, secret) + place.encode()
    return _PREFIX + base64.urlsafe_b64encode(token).decode().rstrip("=")


def place_of(cursor: str, scope: str, secret: bytes) -> str:
    """Return the place that a cursor names. Raises: RejectedError when it is none of this list."""
    encoded = cursor.removeprefix(_PREFIX)
    try:
        token = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        place = token[_MAC_BYTES:].decode()
    except (binascii.Error, ValueError):
        raise _bad_cursor() from None
    if not hmac.compare_digest(token[:_MAC_BYTES], _mac(scope, place, secret)):
        raise _bad_cursor()
    return place


def cursor_at(scope: str, order: str, position: int, secret: bytes) -> str:
    """Return the cursor of what follows a position in an order."""
    return cursor_of(scope, f"{order}:{position}", secret)


def position_of(cursor: str, scope: str, order: str, secret: bytes) -> int:
    """Return the position that a cursor names. Raises: RejectedError when it is none of this list in this order."""
    found, position = place_of(cursor, scope, secret).split(":")
    require_order(found, order)
    return int(position)


def require_order(found: str, wanted: str) -> None:
    """Refuse a cursor that was made for the other order. Raises: RejectedError."""
    if found != wanted:
        text = f"page: this cursor belongs to order={found}; repeat that order or start anew"
        raise RejectedError(text, field="page")


def _mac(scope: str, place: str, secret: bytes) -> bytes:
    return hmac.digest(secret, f"{scope}\n{place}".encode(), hashlib.sha256)[:_MAC_BYTES]


def _bad_cursor() -> RejectedError:
    text = "page: no cursor of this list; take next_page or prev_page of an answer to the same query"
    return RejectedError(text, field="page")
