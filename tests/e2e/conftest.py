"""Fixtures of the end-to-end tests: one tenant namespace a test module, whose sessions keep the order of events."""

import os
import secrets
from collections.abc import Iterator

import pytest

from support.cluster import Namespace, tenant
from support.left_sessions import require_order


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    """A fresh tenant namespace, removed at the end of the module."""
    if "ANTHROPIC_BASE_URL" not in os.environ:
        pytest.skip("no cluster with a server is reachable; run `make test`, or pytest under scripts/with-cluster")
    with tenant(f"e2e-{secrets.token_hex(3)}") as made:
        yield made


@pytest.fixture(autouse=True)
def ordered(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold all sessions that stand in the namespace when a test ends to the ordering contract."""
    if "namespace" not in request.fixturenames:
        yield
        return
    namespace: Namespace = request.getfixturevalue("namespace")
    yield
    require_order(namespace.client)
