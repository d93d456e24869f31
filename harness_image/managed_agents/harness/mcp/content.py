"""A tool's result in MCP, as the content of a tool result of the Messages API. Pure.

What the API would refuse, and with it every later request of the session, never gets through: a block that cannot be
shown becomes a text that says what it was.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from managed_agents.harness.tools.hand import ToolResult

Block = Mapping[str, Any]

IMAGE_BASE64_BYTES_MAX = 5 * 1024 * 1024
PDF_BYTES_MAX = 20 * 1024 * 1024
"""The bounds of the sandbox's `read` (API reference §8)."""

_TITLE_CHARACTERS_MAX = 500


def result_from(result: Mapping[str, Any]) -> ToolResult:
    """Turn the result of `tools/call` into ours."""
    content = result.get("content")
    blocks = [block for item in content or () for block in _blocks(item)] if isinstance(content, list) else []
    structured = result.get("structuredContent")
    if not blocks and structured is not None:
        blocks = [_text(orjson.dumps(structured).decode())]
    return ToolResult(content=blocks, is_error=result.get("isError") is True)


def _blocks(item: object) -> Iterator[Block]:
    if not isinstance(item, dict):
        return
    match item.get("type"):
        case "text":
            if str(item.get("text", "")).strip():
                yield _text(str(item["text"]))
        case "image":
            yield _image(item.get("data"), str(item.get("mimeType")))
        case "resource" if isinstance(item.get("resource"), dict):
            yield _resource(item["resource"])
        case "resource_link":
            yield _text(_link(item))
        case kind:
            yield _text(f"[{kind} content ({item.get('mimeType', 'of no type')}), which cannot be shown]")


def _resource(resource: Mapping[str, Any]) -> Block:
    uri, kind = str(resource.get("uri", "")), str(resource.get("mimeType") or "")
    text = resource.get("text")
    if isinstance(text, str) and text.strip():
        source = {"type": "text", "media_type": "text/plain", "data": text}
        return {"type": "document", "source": source, "title": uri[:_TITLE_CHARACTERS_MAX] or "resource"}
    blob = resource.get("blob")
    if kind.startswith("image/"):
        return _image(blob, kind)
    data = _decoded(blob)
    if data is not None and data.startswith(b"%PDF-") and len(data) <= PDF_BYTES_MAX:
        source = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(data).decode()}
        return {"type": "document", "source": source, "title": uri[:_TITLE_CHARACTERS_MAX] or "resource"}
    return _text(f"[resource {uri} ({kind or 'of no type'}), which cannot be shown]")


def _image(data: object, kind: str) -> Block:
    raw = _decoded(data)
    media_type = _image_type(raw) if raw is not None else None
    if raw is None or media_type is None:
        return _text(f"[image ({kind}), which cannot be shown]")
    encoded = base64.b64encode(raw).decode()
    if len(encoded) > IMAGE_BASE64_BYTES_MAX:
        return _text(f"[image ({kind}) of {len(raw)} bytes, which is too large to be shown]")
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": encoded}}


def _image_type(data: bytes) -> str | None:
    """Return the type that the bytes are of, whatever the server says: the API compares them."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else None


def _decoded(data: object) -> bytes | None:
    try:
        return base64.b64decode(data, validate=True) if isinstance(data, str) else None
    except (binascii.Error, ValueError):
        return None


def _link(item: Mapping[str, Any]) -> str:
    told = [str(item[key]) for key in ("name", "mimeType", "description") if item.get(key)]
    return f"[resource {item.get('uri', '')}: {', '.join(told) or 'no description'}]"


def _text(text: str) -> Block:
    return {"type": "text", "text": text}
