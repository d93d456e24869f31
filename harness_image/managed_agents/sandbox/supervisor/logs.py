"""Log lines as JSON on standard output, in the shape that the other processes' structlog writes."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any


def log(level: str, event: str, **fields: Any) -> None:
    """Write one line. JSON escapes every control character, so no value can forge a line."""
    record = {"timestamp": timestamp(datetime.now(UTC)), "level": level, "event": event, **fields}
    sys.stdout.write(json.dumps(record, default=str) + "\n")
    sys.stdout.flush()


def timestamp(at: datetime) -> str:
    """Return a time as ISO 8601 with milliseconds and `Z`."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
