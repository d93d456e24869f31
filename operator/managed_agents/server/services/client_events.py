"""The one set of rules for events that clients send, whichever door they come through (API reference §5.2).

These need the event alone; those that depend on the session are in `client_rules`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from managed_agents.contracts.errors import RejectedError
from managed_agents.contracts.events import types
from managed_agents.server.services.client_blocks import (
    CONTENT_MAX,
    MessageBlock,
    Model,
    ResultBlock,
    Text,
    require_text,
)

EVENTS_MAX = 100
"""Events of one request; the hosted bound is unknown, `Session.spec.events` has the same."""

NOT_SUPPORTED = frozenset({types.USER_DEFINE_OUTCOME})


class _Message(Model):
    type: Literal["user.message"]
    content: Annotated[list[MessageBlock], Field(min_length=1, max_length=CONTENT_MAX)]

    @field_validator("content")
    @classmethod
    def _has_text(cls, content: list[MessageBlock]) -> list[MessageBlock]:
        require_text(content)
        return content


class _SystemMessage(Model):
    type: Literal["system.message"]
    content: Annotated[list[Text], Field(min_length=1, max_length=CONTENT_MAX)]

    @field_validator("content")
    @classmethod
    def _has_text(cls, content: list[Text]) -> list[Text]:
        require_text(content)
        return content


class _Interrupt(Model):
    type: Literal["user.interrupt"]
    session_thread_id: str | None = None


class _ToolConfirmation(Model):
    type: Literal["user.tool_confirmation"]
    tool_use_id: str
    result: Literal["allow", "deny"]
    deny_message: Annotated[str | None, Field(max_length=10_000)] = None

    @model_validator(mode="after")
    def _message_only_with_deny(self) -> "_ToolConfirmation":
        if self.deny_message is not None and self.result != "deny":
            raise ValueError("deny_message is only allowed when result is deny")
        return self


class _CustomToolResult(Model):
    type: Literal["user.custom_tool_result"]
    custom_tool_use_id: str
    content: Annotated[list[ResultBlock], Field(default_factory=list, max_length=CONTENT_MAX)]
    is_error: bool | None = None


class _ToolResult(Model):
    type: Literal["user.tool_result"]
    tool_use_id: str
    content: Annotated[list[ResultBlock], Field(default_factory=list, max_length=CONTENT_MAX)]
    is_error: bool | None = None


_MODELS: Mapping[str, type[Model]] = {
    types.USER_MESSAGE: _Message,
    types.USER_INTERRUPT: _Interrupt,
    types.USER_TOOL_CONFIRMATION: _ToolConfirmation,
    types.USER_CUSTOM_TOOL_RESULT: _CustomToolResult,
    types.USER_TOOL_RESULT: _ToolResult,
    types.SYSTEM_MESSAGE: _SystemMessage,
}


_ROUTED = frozenset({types.USER_TOOL_CONFIRMATION, types.USER_CUSTOM_TOOL_RESULT, types.USER_TOOL_RESULT})
"""Events that the server routes to a thread, which it then names in them."""


def parse_events(raw: Any, path: str = "events") -> list[dict[str, Any]]:
    """Check a request's list and return its events in the log's form. Raises: RejectedError with the field's path."""
    if not isinstance(raw, list):
        raise RejectedError(f"{path}: must be a list of events", field=path)
    if not 1 <= len(raw) <= EVENTS_MAX:
        raise RejectedError(f"{path}: must hold 1 to {EVENTS_MAX} events, found {len(raw)}", field=path)
    return [parse_event(item, f"{path}.{index}") for index, item in enumerate(raw)]


def parse_event(raw: Any, path: str) -> dict[str, Any]:
    """Check one event and return it with every field that the API shows. Raises: RejectedError with the path."""
    event_type = raw.get("type") if isinstance(raw, dict) else None
    if event_type in NOT_SUPPORTED:
        raise RejectedError(
            f"{path}.type: {event_type} is not supported by this server yet",
            reason="NotSupported",
            field=f"{path}.type",
        )
    model = _MODELS.get(event_type) if isinstance(event_type, str) else None
    if model is None:
        allowed = ", ".join(sorted(_MODELS))
        raise RejectedError(f"{path}.type: must be one of {allowed}; found {event_type!r}", field=f"{path}.type")
    _refuse_redacted(raw, path)
    try:
        value = model.model_validate(raw)
    except ValidationError as error:
        raise _rejected(error, path) from None
    return _in_log_form(value)


def file_ids(events: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return path and id of each file that parsed events name as a source, for a look at whether it exists."""
    return [
        (f"{path}.content.{index}.source.file_id", block["source"]["file_id"])
        for event, path in zip(events, paths, strict=True)
        for index, block in enumerate(event.get("content") or ())
        if (block.get("source") or {}).get("type") == "file" and isinstance(block["source"], dict)
    ]


def _refuse_redacted(raw: Mapping[str, Any], path: str) -> None:
    for index, block in enumerate(_blocks(raw)):
        if block.get("type") == "redacted":
            field = f"{path}.content.{index}.type"
            raise RejectedError(f"{field}: redacted blocks come from the server only; leave it out", field=field)


def _blocks(raw: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    content = raw.get("content")
    yield from (block if isinstance(block, dict) else {} for block in (content if isinstance(content, list) else ()))


def _in_log_form(value: Model) -> dict[str, Any]:
    event = value.model_dump(mode="json")
    if "content" in event:
        event["content"] = [block.model_dump(mode="json", exclude_none=True) for block in value.content]  # type: ignore[attr-defined] # the models with content
    if event["type"] in _ROUTED:
        event["session_thread_id"] = None
    return event


def _rejected(error: ValidationError, path: str) -> RejectedError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join([path, *_without_tags(first["loc"])])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return RejectedError(f"{field}: {first['msg'].removeprefix('Value error, ')}{more}", field=field)


def _without_tags(location: tuple[int | str, ...]) -> list[str]:
    """Drop the union tags that pydantic puts after an index or after `source`: they are no part of a field's path."""
    parts: list[str] = []
    tagged = False
    for index, part in enumerate(location):
        if tagged and part in _TAGS and index < len(location) - 1:
            tagged = False
            continue
        tagged = isinstance(part, int) or part == "source"
        parts.append(str(part))
    return parts


_TAGS = frozenset({"text", "image", "document", "search_result", "base64", "url", "file"})
