"""Request bodies checked by models, and refusals that name the field, what was found and what is allowed."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from managed_agents.contracts.errors import RejectedError

FOUND_LENGTH_MAX = 60
"""Characters of a wrong value that its refusal repeats."""

SECRET_FIELDS = frozenset(
    {"token", "access_token", "refresh_token", "client_secret", "secret_value", "authorization_token"}
)
"""Fields whose value no refusal repeats."""


class Body(BaseModel):
    """A request body or a part of one: unknown fields are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


BodyT = TypeVar("BodyT", bound=Body)


def checked(model: type[BodyT], raw: Mapping[str, Any], path: str = "") -> BodyT:
    """Return the body as its model. Raises: RejectedError naming the first field at fault."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise _rejected(error, raw, path) from None


def _rejected(error: ValidationError, raw: Mapping[str, Any], path: str) -> RejectedError:
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(part for part in (path, *_path_in(raw, first)) if part)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    code = "invalid_metadata" if field.partition(".")[0] == "metadata" else None
    return RejectedError(f"{field or 'body'}: {_said(first)}{more}", field=field or None, error_code=code)


def _said(error: ErrorDetails) -> str:
    match error["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return "this field is not known here; remove it"
        case _:
            message = error["msg"].removeprefix("Value error, ")
            is_secret = any(part in SECRET_FIELDS for part in error["loc"])
            return message if is_secret else f"{message}{_found(error['input'])}"


def _found(value: Any) -> str:
    """Show a wrong value, if it is short and no container."""
    if isinstance(value, dict):
        return ""
    if isinstance(value, list):
        return f"; found a list of {len(value)}"
    shown = repr(value) if not isinstance(value, str) or len(value) <= FOUND_LENGTH_MAX else f"{len(value)} characters"
    return f"; found {shown[: FOUND_LENGTH_MAX + 20]}"


def _path_in(raw: Any, error: ErrorDetails) -> list[str]:
    """Return the path of an error within the body, without the union tags that pydantic puts in between.

    A map has no key of a tag's name; what it lacks and is no tag is the field that is missing. Below a shorthand,
    which is a text, the path goes on as in the form that it stands for.
    """
    parts: list[str] = []
    node = raw
    for part in error["loc"]:
        if _holds(node, part):
            node = node[part]
        elif part == _KEY or _is_tag(node, part, error):
            continue
        parts.append(str(part))
    return parts


_KEY = "[key]"
"""Where pydantic found fault with a key of a map: the path ends with the key itself."""


def _is_tag(node: Any, part: int | str, error: ErrorDetails) -> bool:
    is_missing_field = error["type"] == "missing" and part == error["loc"][-1]
    return isinstance(node, dict | list) and not is_missing_field


def _holds(node: Any, part: int | str) -> bool:
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return isinstance(node, dict) and part in node
