"""Whose turn it is to renew a grant that sessions share."""

from managed_agents.server.services.refresh_turns import TURN_SECONDS, RefreshTurns
from support.clock import ManualClock
from support.requirements import requirement


@requirement("mcp-oauth-shared")
def test_a_turn_that_nobody_ends_is_over_after_a_while() -> None:
    clock = ManualClock()
    turns = RefreshTurns(clock=clock)
    assert turns.take("vcrd_1", "v1", "sesn_1")
    assert turns.take("vcrd_2", "v1", "sesn_2")
    assert not turns.take("vcrd_1", "v1", "sesn_2")
    turns.end("vcrd_1", "sesn_2")
    assert not turns.take("vcrd_1", "v1", "sesn_2")
    clock.advance(TURN_SECONDS)
    assert turns.take("vcrd_1", "v1", "sesn_2")
    assert not turns.take("vcrd_1", "v1", "sesn_1")


@requirement("mcp-oauth-shared")
def test_a_version_with_a_successor_is_nobodys_turn() -> None:
    turns = RefreshTurns(clock=ManualClock())
    turns.renewed("vcrd_1", "v1")
    assert not turns.take("vcrd_1", "v1", "sesn_1")
    assert turns.take("vcrd_1", "v2", "sesn_1")
