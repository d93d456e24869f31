"""What a tool's process finds in its environment: the container's, and what the session gives at a bind."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from managed_agents.sandbox.runner.frames import Frame
from managed_agents.sandbox.runner.trust import TRUST_VARIABLES, trust_bundle, write_bundle

TRUST_FILE = Path("/tmp/.managed-agents/ca-bundle.crt")  # noqa: S108 - of the sandbox, which has one user; hidden from `rm /tmp/*`
PACKAGES_PATH = "MANAGED_AGENTS_PATH"  # a Pod cannot say what its image's PATH is, so it cannot add to it
_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_WITHHELD_PREFIXES = ("ANTHROPIC_", "KUBERNETES_", "MANAGED_AGENTS_")


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what names the platform or its credentials; packages come first in PATH."""
    kept = {name: value for name, value in environment.items() if not name.startswith(_WITHHELD_PREFIXES)}
    packages = environment.get(PACKAGES_PATH)
    if packages:
        kept["PATH"] = f"{packages}:{environment.get('PATH', _USUAL_PATH)}"
    return kept


class SessionEnvironment:
    """Holds what the newest bind gave: variables, and the authority whose certificates the tools will meet."""

    def __init__(self, trust_file: Path, container: Mapping[str, str] = os.environ) -> None:
        """`trust_file` is where the tools find whom to trust. It is written where the session has an authority."""
        self._trust_file = trust_file
        self._container = container
        self._variables: dict[str, str] = {}
        self._bundle = ""

    def given(self, frame: Frame) -> None:
        """Take an `environment` frame of the supervisor, which is trusted and repeats it at each connection."""
        self._variables = dict(frame.get("variables") or {})
        authority = str(frame.get("authority") or "")
        self._bundle = trust_bundle(authority, self._container) if authority else ""
        self._write()

    def variables(self) -> dict[str, str]:
        """Return what the session adds: whom to trust, and its own variables."""
        if self._bundle and not self._trust_file.exists():  # the tools may remove it, and would trust nobody
            self._write()
        return {**self.trust(), **self._variables}

    def trust(self) -> dict[str, str]:
        """Return the variables that name the trust file to the usual programs; none where there is no such file."""
        return dict.fromkeys(TRUST_VARIABLES, str(self._trust_file)) if self._bundle else {}

    def tools(self) -> dict[str, str]:
        """Return the environment of a new shell. What the session gives counts more than what the image says."""
        return {**scrubbed(self._container), **self.variables()}

    def _write(self) -> None:
        if self._bundle and not write_bundle(self._trust_file, self._bundle):
            self._bundle = ""  # a file that is not there would make every program trust nobody
