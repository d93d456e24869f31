"""What a tool's process inherits from the container's environment."""

from __future__ import annotations

from collections.abc import Mapping

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
