"""Fixtures of the end-to-end tests: one tenant namespace a test module."""

import os
import secrets
from collections.abc import Iterator

import pytest

from support.cluster import Namespace, tenant


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    """A fresh tenant namespace, removed at the end of the module."""
    if "ANTHROPIC_BASE_URL" not in os.environ:
        pytest.skip("no cluster with a server is reachable; run `make test`, or pytest under scripts/with-cluster")
    with tenant(f"e2e-{secrets.token_hex(3)}") as made:
        yield made
