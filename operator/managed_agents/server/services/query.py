"""The parameters of a request's query: grouped by name, and read with errors that name the one at fault."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from managed_agents.contracts.clock import parse_rfc3339, rfc3339
from managed_agents.contracts.errors import RejectedError
from managed_agents.eventlog.queries import Comparison

_COMPARISONS: Mapping[str, Comparison] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
CREATED_AT = frozenset(f"created_at[{name}]" for name in _COMPARISONS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPACED_OFFSET = re.compile(r" (\d\d:?\d\d)$")


def grouped(query: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the values of each name; `name[]` is `name`."""
    values: dict[str, list[str]] = {}
    for name, value in query:
        values.setdefault(name.removesuffix("[]"), []).append(value)
    return values


def parse_choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """Read one of a few words. Raises: RejectedError."""
    if value not in allowed:
        raise RejectedError(f"{name}: must be {' or '.join(allowed)}, found {value[:40]!r}", field=name)
    return value


def parse_flag(name: str, value: str | None) -> bool:
    """Read a boolean, false where absent. Raises: RejectedError."""
    return value is not None and parse_choice(name, value, ("true", "false")) == "true"


def parse_number(name: str, value: str | None, least: int, most: int) -> int | None:
    """Read a whole number within bounds. Raises: RejectedError."""
    if value is None:
        return None
    is_number = value.isascii() and value.isdigit() and len(value) <= len(str(most))  # `int` of a long text raises
    if not is_number or not least <= int(value) <= most:
        raise RejectedError(f"{name}: must be a whole number, {least} to {most}; found {value[:40]!r}", field=name)
    return int(value)


def parse_moment(name: str, value: str | None) -> datetime | None:
    """Read a time with its offset. Raises: RejectedError."""
    if value is None:
        return None
    try:
        moment = parse_rfc3339(_SPACED_OFFSET.sub(r"+\1", value))  # a bare `+` arrives as a space
        if moment.tzinfo is None:
            raise ValueError(value)
        return max(moment, _EPOCH).astimezone(UTC)
    except (ValueError, OverflowError):
        text = f"{name}: must be an RFC 3339 time with an offset, found {value[:40]!r}"
        raise RejectedError(text, field=name) from None


def parse_created(single: Mapping[str, str]) -> tuple[tuple[Comparison, str], ...]:
    """Read the bounds on `created_at`, as RFC 3339 in UTC. Raises: RejectedError."""
    return tuple(
        (comparison, rfc3339(moment))
        for name, comparison in _COMPARISONS.items()
        if (moment := parse_moment(f"created_at[{name}]", single.get(f"created_at[{name}]"))) is not None
    )
