"""Content blocks that clients send (API reference §5.1), as strict models."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

CONTENT_MAX = 1000
"""Content blocks of one event, as for `system.message` (API reference §14)."""


class Model(BaseModel):
    """A part of a request body: unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Base64(Model):
    """Bytes, encoded."""

    type: Literal["base64"]
    data: str

    @field_validator("data")
    @classmethod
    def _is_base64(cls, data: str) -> str:
        try:
            decoded = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("must be base64") from error
        if not decoded:
            raise ValueError("must not be empty")
        return data


class Base64Image(Base64):
    """An image within the event."""

    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]


class Base64Document(Base64):
    """A PDF document within the event."""

    media_type: Literal["application/pdf"]


class FileSource(Model):
    """A file of the workspace; whether it exists is checked where it can be looked up."""

    type: Literal["file"]
    file_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


class Url(Model):
    """Something that the model provider fetches."""

    type: Literal["url"]
    url: Annotated[str, Field(min_length=1, max_length=8192, pattern=r"^https?://")]


class PlainText(Model):
    """A text document within the event."""

    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: Annotated[str, Field(min_length=1)]


class Text(Model):
    """Text."""

    type: Literal["text"]
    text: str


class Image(Model):
    """An image."""

    type: Literal["image"]
    source: Annotated[Base64Image | Url | FileSource, Field(discriminator="type")]


class Document(Model):
    """A document."""

    type: Literal["document"]
    source: Annotated[Base64Document | PlainText | Url | FileSource, Field(discriminator="type")]
    title: str | None = None
    context: str | None = None


class Citations(Model):
    """Whether the model may cite a search result."""

    enabled: bool


class SearchResult(Model):
    """A search result of a tool of the client."""

    type: Literal["search_result"]
    source: str
    title: str
    content: Annotated[list[Text], Field(max_length=CONTENT_MAX)]
    citations: Citations


MessageBlock = Annotated[Text | Image | Document, Field(discriminator="type")]
ResultBlock = Annotated[Text | Image | Document | SearchResult, Field(discriminator="type")]


def require_text(content: Sequence[object]) -> None:
    """Refuse what the model would: a text block without any text. Raises: ValueError."""
    if any(isinstance(block, Text) and not block.text.strip() for block in content):
        raise ValueError("text blocks must contain non-whitespace text")
