"""What kind of thing an answer is, told from its Content-Type and, where that says nothing, from its first bytes."""

from dataclasses import dataclass
from email.message import Message
from typing import Literal

from managed_agents.proxy.web.problems import WebProblemError

Kind = Literal["html", "pdf", "text"]

_HTML = frozenset({"text/html", "application/xhtml+xml"})
_TEXTUAL = frozenset(
    {
        *("application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml"),
        *("application/javascript", "application/x-javascript", "application/x-ndjson", "application/sql"),
        *("application/rtf", "application/x-sh", "application/graphql", "application/x-www-form-urlencoded"),
    }
)
_UNTOLD = frozenset({"", "application/octet-stream", "binary/octet-stream"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A kind that can be read, or None where the body must tell; `charset` as the server wrote it."""

    kind: Kind | None
    charset: str | None = None


def media_from(content_type: str) -> Media:
    """Read a Content-Type. Raises: WebProblemError for a type without text."""
    header = Message()
    header["Content-Type"] = content_type[:512]
    name = header.get_content_type() if content_type.strip() else ""
    charset = header.get_content_charset()
    if name in _HTML:
        return Media(kind="html", charset=charset)
    if name == "application/pdf":
        return Media(kind="pdf")
    if name.startswith("text/") or name in _TEXTUAL or name.endswith(("+json", "+xml", "+yaml")):
        return Media(kind="text", charset=charset)
    if name in _UNTOLD:
        return Media(kind=None, charset=charset)
    raise WebProblemError("unsupported_content_type", f"{name[:80]} holds no text that could be read")


def kind_of(body: bytes) -> Kind:
    """Tell a body's kind from its first bytes. Raises: WebProblemError where they are no text."""
    head = body[:1024]
    if head.startswith(b"%PDF-"):
        return "pdf"
    if b"\x00" in head:
        raise WebProblemError("unsupported_content_type", "the answer does not say what it is, and is no text")
    lowered = head.lstrip().lower()
    return "html" if lowered.startswith((b"<!doctype html", b"<html")) else "text"
