"""One arena for all attacks: a restricted tenant, a hostile session and its victim; and the sum of what was refused."""

import os
import secrets
from collections.abc import Iterator

import pytest

from support.arena import Arena, arena_in
from support.cluster import tenant
from support.left_sessions import require_order
from support.tally import Tally

TALLY = pytest.StashKey[Tally]()


@pytest.fixture(scope="session")
def arena() -> Iterator[Arena]:
    """The arena, made once: it costs two rollouts of the operator, three Pods and a few seconds."""
    if "ANTHROPIC_BASE_URL" not in os.environ:
        pytest.skip("no cluster with a server is reachable; run `make test`, or pytest under scripts/with-cluster")
    with tenant(f"attack-{secrets.token_hex(3)}") as namespace, arena_in(namespace) as made:
        yield made
        require_order(namespace.client)


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Tally:
    """What was tried in this run."""
    return request.config.stash.setdefault(TALLY, Tally())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell refused / attempted, and what is not prevented."""
    tally = config.stash.get(TALLY, Tally())
    if tally.attempted:
        terminalreporter.section("attacks")
        for line in tally.lines():
            terminalreporter.write_line(line)
