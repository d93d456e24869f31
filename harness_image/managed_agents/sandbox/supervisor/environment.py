"""What the session adds to its tools' environment: told at a bind, kept beside the journal, handed to each runner.

Nothing in it is secret: placeholders, and the certificate of an authority (docs/egress.md).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from managed_agents.sandbox.runner.frames import Frame
from managed_agents.sandbox.supervisor.errors import ContractError, invalid
from managed_agents.sandbox.supervisor.file_thread import FileThread
from managed_agents.sandbox.supervisor.logs import log

VARIABLES_MAX = 1000  # 50 vaults of 20 credentials (API reference §14)
VALUE_CHARS_MAX = 1024
AUTHORITY_CHARS_MAX = 16 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsEnvironment:
    """Variables by name, and an authority's certificate in PEM; empty where there is none."""

    variables: dict[str, str] = field(default_factory=dict)
    authority: str = ""

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"variables": self.variables, "authority": self.authority}


def parse_environment(value: Any) -> ToolsEnvironment:
    """Return the `environment` of a bind. Raises 400, naming the field."""
    if not isinstance(value, dict):
        raise invalid("environment: must be an object")
    variables, authority = value.get("variables", {}), value.get("authority", "")
    if not isinstance(variables, dict) or len(variables) > VARIABLES_MAX:
        raise invalid(f"environment.variables: must be an object of at most {VARIABLES_MAX} entries")
    for name, text in variables.items():
        if not _NAME.match(name):
            raise invalid(f"environment.variables: {name[:64]!r} is no name of a variable")
        if not isinstance(text, str) or len(text) > VALUE_CHARS_MAX or not text.isprintable():
            raise invalid(f"environment.variables.{name}: must be printable, of at most {VALUE_CHARS_MAX} characters")
    if not isinstance(authority, str) or len(authority) > AUTHORITY_CHARS_MAX or not authority.isascii():
        raise invalid(f"environment.authority: must be PEM of at most {AUTHORITY_CHARS_MAX} characters")
    return ToolsEnvironment(variables=dict(variables), authority=authority)


class KeptEnvironment:
    """The newest one, as it survives a restart."""

    def __init__(self, file: Path, thread: FileThread) -> None:
        self._file = file
        self._thread = thread
        self._current = self._load()

    def frame(self) -> Frame:
        """Return what a runner is told."""
        return {"op": "environment", **self._current.document()}

    def greeting(self) -> list[Frame]:
        """Return what a runner is told before anything else."""
        return [] if self._current == ToolsEnvironment() else [self.frame()]

    async def put(self, wanted: ToolsEnvironment) -> bool:
        """Take it, durably; false where it is the same as before. Raises 507."""
        if wanted == self._current:
            return False
        try:
            await self._thread.run(lambda: self._save(wanted))
        except OSError as error:
            reason = (error.strerror or "i/o error").lower()
            raise ContractError(507, "environment_unavailable", f"environment: cannot be written: {reason}") from error
        self._current = wanted
        log("info", "environment", variables=len(wanted.variables), authority=bool(wanted.authority))
        return True

    def _load(self) -> ToolsEnvironment:
        try:
            return parse_environment(json.loads(self._file.read_bytes()))
        except FileNotFoundError:
            return ToolsEnvironment()
        except (OSError, ValueError, ContractError) as error:  # the next bind brings it again
            log("warning", "environment not readable", reason=str(error))
            return ToolsEnvironment()

    def _save(self, wanted: ToolsEnvironment) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(wanted.document()), "ascii")
        fresh.replace(self._file)
