"""Canaries: random secrets, and the search for them in every form in which one could have left (I16)."""

import base64
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

FORM_BYTES_MIN = 12
"""Shorter needles are found by chance; a canary is long enough for each of its forms to pass this."""


def canary(kind: str) -> str:
    """Return a secret that a header can carry and that percent-encoding changes, named after what it stands in for."""
    return f"canary+{kind}/{secrets.token_hex(12)}="


def forms(secret: str) -> dict[str, bytes]:
    """Return how a secret may have been written, by the name of the form. Raises: ValueError for a short one."""
    raw = secret.encode()
    found = {
        "raw": raw,
        "reversed": raw[::-1],
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "percent": b"".join(b"%%%02x" % byte for byte in raw),
        "PERCENT": b"".join(b"%%%02X" % byte for byte in raw),
        "url": _quoted(raw),
    }
    for offset in range(3):
        found[f"base64/{offset}"] = aligned(raw, offset)
        found[f"base64url/{offset}"] = aligned(raw, offset).translate(bytes.maketrans(b"+/", b"-_"))
    short = sorted(name for name, form in found.items() if len(form) < FORM_BYTES_MIN)
    if short:
        raise ValueError(f"a canary of {len(raw)} characters is too short to be searched for as {', '.join(short)}")
    return found


def aligned(raw: bytes, offset: int) -> bytes:
    """Return the characters by which base64 writes these bytes after `offset` others, whatever follows."""
    encoded = base64.b64encode(b"\0" * offset + raw + b"\0\0")
    first = -(-offset * 8 // 6)
    return encoded[first : (offset + len(raw)) * 8 // 6]


def _quoted(raw: bytes) -> bytes:
    return b"".join(bytes([byte]) if chr(byte).isalnum() or byte in b"-_.~" else b"%%%02X" % byte for byte in raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """A canary that was found: which, in which form, where. Never the canary itself."""

    name: str
    form: str
    place: str


def search(place: str, content: bytes, canaries: Mapping[str, str]) -> Iterator[Find]:
    """Yield each canary, by name, and each of its forms that the content holds."""
    for name, secret in canaries.items():
        for form, needle in forms(secret).items():
            if needle in content:
                yield Find(name=name, form=form, place=place)


def needles(canaries: Iterable[str]) -> str:
    """Return all forms of all canaries, one a line, for `grep -F -f`."""
    return "".join(sorted({form.decode() + "\n" for secret in canaries for form in forms(secret).values()}))
