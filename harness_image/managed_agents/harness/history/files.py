"""Files that messages name: what the model gets in the place of a source of type `file` (API reference §5.1). Pure."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from managed_agents.harness.history.repair import Block

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""Images that a model takes."""

PDF = "application/pdf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A file's content, or why there is none: then `problem` is for the model to read."""

    media_type: str = ""
    filename: str = ""
    data: bytes = b""
    problem: str | None = None


def file_ids(blocks: Iterable[Block]) -> Iterator[str]:
    """Yield the files that blocks name, those within tool results included."""
    for block in blocks:
        if block["type"] == "tool_result":
            yield from file_ids(block["content"])
        elif _is_reference(block):
            yield block["source"]["file_id"]


def resolved(blocks: Iterable[Block], files: Mapping[str, Content]) -> list[Block]:
    """Return the blocks with each file in its place; one that is not in `files` stays as it is."""
    return [_resolved(block, files) for block in blocks]


def _resolved(block: Block, files: Mapping[str, Content]) -> Block:
    if block["type"] == "tool_result":
        return block | {"content": resolved(block["content"], files)}
    if not _is_reference(block) or block["source"]["file_id"] not in files:
        return block
    file_id = block["source"]["file_id"]
    content = files[file_id]
    if content.problem is not None:
        return _note(f"The file {file_id} is not available: {content.problem}")
    return _block_for(block, file_id, content)


def _block_for(block: Block, file_id: str, content: Content) -> Block:
    media_type = content.media_type.partition(";")[0].strip().lower()
    if media_type in IMAGE_TYPES:
        return {"type": "image", "source": _base64(media_type, content.data)}
    if block["type"] == "image":
        return _note(f"The file {file_id} ({content.filename}) is no image that can be shown: it is {media_type}.")
    named = {"title": content.filename} if content.filename else {}
    named |= {key: block[key] for key in ("title", "context") if block.get(key) is not None}
    if media_type == PDF:
        return {"type": "document", "source": _base64(PDF, content.data), **named}
    try:
        text = content.data.decode()
    except UnicodeDecodeError:
        text = ""
    if not text.strip():
        return _note(f"The file {file_id} ({content.filename}) cannot be shown as a document: it is {media_type}.")
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}, **named}


def _base64(media_type: str, data: bytes) -> Block:
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}


def _note(text: str) -> Block:
    return {"type": "text", "text": f"[{text}]"}


def _is_reference(block: Block) -> bool:
    source = block.get("source")
    return isinstance(source, Mapping) and source.get("type") == "file"
