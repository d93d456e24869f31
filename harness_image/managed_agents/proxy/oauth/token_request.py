"""One refresh at a token endpoint as bytes: the request, and what an answer means (RFC 6749 §5, §6; RFC 8707). Pure.

An answer is another's text: of a refusal only the error's code is repeated, if it looks like one.
"""

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import orjson

from managed_agents.proxy.oauth.captured import HttpAnswer, known_type
from managed_agents.proxy.oauth.grants import RefreshTerms

ANSWER_BYTES_MAX = 64 * 1024

TOKEN_BYTES_MAX = 8192
"""As much of one secret as a vault keeps."""

EXPIRES_IN_MAX = 10 * 365 * 86400.0

_CODE = re.compile(r"[a-z][a-z_]{1,39}")
_HEADER_TEXT = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """What a token endpoint gave. Without a refresh token the old one goes on."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_in: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRenewed:
    """Why there is no new token. `is_final`: the endpoint refuses this grant, and asking again changes nothing."""

    message: str
    is_final: bool
    answer: HttpAnswer | None = None
    """What is shown of it where one came: of the body the error's code."""


def request_for(terms: RefreshTerms, refresh_token: str) -> tuple[dict[str, str], bytes]:
    """Return headers and body. `client_id` is in the body with each way to authenticate: many servers look there."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": terms.client_id}
    form |= {"scope": terms.scope} if terms.scope else {}
    form |= {"resource": terms.resource} if terms.resource else {}
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    if terms.client_auth == "client_secret_post":
        form["client_secret"] = terms.client_secret or ""
    elif terms.client_auth == "client_secret_basic":
        # form-encoded (RFC 6749 §2.3.1), a space as %20: not every server reads a plus as one
        pair = f"{quote(terms.client_id, safe='')}:{quote(terms.client_secret or '', safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers, urlencode(form).encode()


def answer_from(status: int, body: bytes, host: str, content_type: str = "") -> Renewed | NotRenewed:
    """Say what an answer means. Some servers refuse with status 200 and an `error`."""
    answer = _shown(status, body, content_type)
    if status >= 500 or status in (408, 425, 429) or 300 <= status < 400:
        text = f"{host} answered with status {status}"
        text += "; no redirect is followed" if 300 <= status < 400 else ""
        return NotRenewed(message=text, is_final=False, answer=answer)
    document = _document(body)
    code = document.get("error")
    if status != 200 or code is not None:
        shown = _code_of(document) or f"status {status}"
        return NotRenewed(message=f"{host} refused with {shown}", is_final=True, answer=answer)
    token, kind = document.get("access_token"), document.get("token_type")
    if not _is_secret(token) or not _HEADER_TEXT.fullmatch(str(token)):
        text = f"{host} answered without an access token that a header can carry"
        return NotRenewed(message=text, is_final=False, answer=answer)
    if isinstance(kind, str) and kind.lower() != "bearer":
        text = f"{host} gave a token of another type than bearer"
        return NotRenewed(message=text, is_final=True, answer=answer)
    fresh = document.get("refresh_token")
    return Renewed(
        access_token=str(token),
        refresh_token=str(fresh) if _is_secret(fresh) else None,
        expires_in=_seconds(document.get("expires_in")),
    )


def _shown(status: int, body: bytes, content_type: str) -> HttpAnswer:
    """Show the error's code and nothing else: what stands around it may be a token."""
    code = _code_of(_document(body))
    shown = "" if code is None else orjson.dumps({"error": code}).decode()
    kind = known_type(content_type)
    return HttpAnswer(
        status_code=status, content_type=kind, body=shown, body_truncated=shown.encode() != body.replace(b" ", b"")
    )


def _code_of(document: dict[str, object]) -> str | None:
    code = document.get("error")
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None


def _document(body: bytes) -> dict[str, object]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_secret(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.encode()) <= TOKEN_BYTES_MAX


def _seconds(value: object) -> float | None:
    try:
        seconds = float(value)  # type: ignore[arg-type]  # whatever it is: what is no number raises
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds <= EXPIRES_IN_MAX else None
