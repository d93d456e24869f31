"""The prompt cache, from the model's accounting to the session's usage (API reference §6.5)."""

from pathlib import Path

from support.stack import script, stack_running


async def test_second_turn_reads_the_first_from_the_cache(tmp_path: Path) -> None:
    async with stack_running(tmp_path) as stack:
        stack.start_worker()
        first = (await stack.turn(script({"text": "One."}, text="A long story. " * 200)))["usage"]
        second = (await stack.turn(script({"text": "Two."})))["usage"]
        third = (await stack.turn(script({"text": "Three."})))["usage"]

    assert first["cache_read_input_tokens"] == 0
    written = first["cache_creation"]["ephemeral_5m_input_tokens"]
    assert written > 700
    assert second["cache_read_input_tokens"] >= written
    # Each turn reads all before it and writes only what is new.
    assert third["cache_read_input_tokens"] - second["cache_read_input_tokens"] > written
    assert third["cache_creation"]["ephemeral_5m_input_tokens"] < written + 200
    assert third["input_tokens"] < 50
