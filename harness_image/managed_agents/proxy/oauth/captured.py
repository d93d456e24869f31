"""What is told of another's HTTP answer: bounded, of a known kind, and without the secrets that it may repeat. Pure."""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

BODY_BYTES_MAX = 2048
"""As much of a body is shown; at most twice as much is read."""

GRAM_BYTES = 8
"""So many bytes of a secret in a row are hidden: an answer may repeat only the beginning of what it was sent."""

UNKNOWN_TYPE = "application/octet-stream"
_TYPES = frozenset(
    {"application/json", "application/problem+json", "text/event-stream", "text/html", "text/plain", "application/xml"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """The `http_response` of the API's `vault_credential_validation`."""

    status_code: int
    content_type: str
    body: str
    body_truncated: bool


def captured(status: int, content_type: str, body: bytes, secrets: Iterable[str], *, is_cut: bool) -> HttpAnswer:
    """Return what is shown of an answer. `is_cut`: there was more than this."""
    shown = scrubbed(body, secrets)[:BODY_BYTES_MAX]
    return HttpAnswer(
        status_code=status,
        content_type=known_type(content_type),
        body=shown.decode("utf-8", "replace"),
        body_truncated=is_cut or len(body) > BODY_BYTES_MAX,
    )


def known_type(content_type: str) -> str:
    """Return a media type of a closed list: a header is another's text too."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind if kind in _TYPES else UNKNOWN_TYPE


def scrubbed(body: bytes, secrets: Iterable[str]) -> bytes:
    """Return the bytes with asterisks over every piece of a secret, as it is, in base64, in hex or percent-encoded."""
    grams: dict[int, set[bytes]] = {}
    for spelling in {spelling for secret in secrets if secret for spelling in _spellings(secret)}:
        size = min(len(spelling), GRAM_BYTES)
        grams.setdefault(size, set()).update(spelling[at : at + size] for at in range(len(spelling) - size + 1))
    shown = bytearray(body)
    for size, known in grams.items():
        for at in range(len(body) - size + 1):
            if body[at : at + size] in known:
                shown[at : at + size] = b"*" * size
    return bytes(shown)


def _spellings(secret: str) -> Iterator[bytes]:
    plain = secret.encode()
    yield plain
    yield quote(secret, safe="").encode()
    yield json.dumps(secret)[1:-1].encode()
    yield plain.hex().encode()
    for before in range(3):  # wherever in the encoded text it stands
        encoded = base64.b64encode(b"\0" * before + plain)
        core = encoded[(0, 2, 3)[before] : (before + len(plain)) * 8 // 6]
        yield core
        yield core.translate(bytes.maketrans(b"+/", b"-_"))
