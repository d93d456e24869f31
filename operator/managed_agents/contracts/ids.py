"""Identifiers: the API's prefixes, ids derived from an object's UID, and fresh event ids.

An id of an object that Kubernetes knows is derived from its UID, so that both doors show the same one without a table
(design §4). Clients treat ids as opaque.
"""

import base64
import binascii
import re
import secrets
from typing import NewType

SessionId = NewType("SessionId", str)
EventId = NewType("EventId", str)
ThreadId = NewType("ThreadId", str)

AGENT = "agent"
API_KEY = "apikey"
CREDENTIAL = "vcrd"
ENVIRONMENT = "env"
EVENT = "sevt"
FILE = "file"
SESSION = "sesn"
THREAD = "sthr"
VAULT = "vlt"
WORKSPACE = "wrkspc"

_ID = re.compile(r"^[a-z]{3,8}_[A-Za-z0-9]{8,64}$")


def id_for(prefix: str, uid: str) -> str:
    """Derive the API id of an object from its Kubernetes UID: `sesn_` and the UID without dashes."""
    return f"{prefix}_{uid.replace('-', '').lower()}"


def session_id_for(uid: str) -> SessionId:
    """Derive a Session's API id from its UID."""
    return SessionId(id_for(SESSION, uid))


def primary_thread_id_for(session: SessionId) -> ThreadId:
    """Derive the id of a session's primary thread from the session's id."""
    return ThreadId(f"{THREAD}_{session.removeprefix(f'{SESSION}_')}")


def workspace_id_for(namespace: str) -> str:
    """Derive a workspace's id from its namespace's name, such that the name can be read from it."""
    return f"{WORKSPACE}_{base64.b32encode(namespace.encode()).decode().rstrip('=').lower()}"


def namespace_of_workspace(workspace_id: str) -> str | None:
    """Return the namespace of a workspace's id, null for what is no such id."""
    digits = workspace_id.removeprefix(f"{WORKSPACE}_")
    if digits == workspace_id:
        return None
    try:
        return base64.b32decode(digits.upper() + "=" * (-len(digits) % 8)).decode()
    except (binascii.Error, ValueError):
        return None


def new_event_id() -> EventId:
    """Make a fresh event id with 120 random bits, also usable as a Messages API tool-use id."""
    return EventId(f"{EVENT}_{secrets.token_hex(15)}")


def new_file_id() -> str:
    """Make a fresh file id with 96 random bits; a file is known to no Kubernetes object."""
    return f"{FILE}_{secrets.token_hex(12)}"


def is_id(value: object, prefix: str) -> bool:
    """Tell whether a value has the form of an id with that prefix; it need not exist."""
    return isinstance(value, str) and value.startswith(f"{prefix}_") and _ID.match(value) is not None
