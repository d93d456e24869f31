"""What operator, server and sandbox agree on about an Environment's packages (docs/packages.md)."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from managed_agents.contracts.api.environments import MANAGERS

PREFIX = "/opt/packages"
"""Where packages are installed and used; paths inside of them may name it."""

ARCHIVE_BYTES_MAX = 4 * 1024**3
"""One Environment's packages, compressed."""

RECIPE = 1
"""Grows when the way of installing changes, so that no archive of the old way is used."""

_DIGEST = re.compile(r"[0-9a-f]{32}\Z")


def packages_of(config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return what an Environment's `config` wants installed, by manager, in order; without what it leaves empty."""
    given = config.get("packages") or {}
    return {manager: tuple(given[manager]) for manager in MANAGERS if given.get(manager)}


def digest_of(packages: Mapping[str, Sequence[str]], image: str) -> str | None:
    """Return the hash under which an archive is kept, of packages and image; None where nothing is to be installed."""
    if not packages:
        return None
    said = json.dumps([RECIPE, image, {manager: list(listed) for manager, listed in packages.items()}], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def is_digest(text: str) -> bool:
    """Tell whether a text is such a hash."""
    return bool(_DIGEST.match(text))
