"""Token counts and the prompt cache."""

from typing import Any

from managed_agents.simulator.usage import InputUsage, PromptCache, prompt_of

MARK = {"type": "ephemeral"}


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **fields}


def body(*blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "simulated", "messages": [{"role": "user", "content": list(blocks)}], **fields}


def total(usage: InputUsage) -> int:
    return usage.uncached + usage.read + usage.created_5m + usage.created_1h


def test_without_markers_nothing_is_cached() -> None:
    cache = PromptCache()
    prompt = prompt_of(body(text("x" * 400)))

    first, second = cache.charge(prompt, 0.0), cache.charge(prompt, 1.0)

    assert first == second == InputUsage(uncached=-(-prompt.chars // 4))
    assert 100 <= first.uncached <= 110


def test_marked_prefix_is_written_once_then_read_for_five_minutes() -> None:
    cache = PromptCache()
    prompt = prompt_of(body(text("x" * 400, cache_control=MARK), text("tail")))

    written, read, expired = cache.charge(prompt, 0.0), cache.charge(prompt, 299.0), cache.charge(prompt, 700.0)

    assert written.read == 0
    assert written.created_5m > 100
    assert read == InputUsage(uncached=written.uncached, read=written.created_5m)
    assert expired == written


def test_marker_that_moves_on_reads_what_the_last_one_wrote() -> None:
    cache = PromptCache()
    first = cache.charge(prompt_of(body(text("a" * 400, cache_control=MARK))), 0.0)

    second = cache.charge(prompt_of(body(text("a" * 400), text("b" * 40), text("c" * 80, cache_control=MARK))), 1.0)

    assert second.read == first.created_5m
    assert 0 < second.created_5m < first.created_5m
    assert second.uncached == 0


def test_changed_prefix_is_not_read() -> None:
    cache = PromptCache()
    cache.charge(prompt_of(body(text("a" * 400, cache_control=MARK), system="one")), 0.0)

    assert cache.charge(prompt_of(body(text("a" * 400, cache_control=MARK), system="two")), 1.0).read == 0


def test_long_time_to_live_is_counted_apart_and_lasts_an_hour() -> None:
    cache = PromptCache()
    prompt = prompt_of(body(text("a" * 400, cache_control={**MARK, "ttl": "1h"}), text("b" * 400, cache_control=MARK)))

    written, later = cache.charge(prompt, 0.0), cache.charge(prompt, 3000.0)

    assert written.created_1h > 0
    assert written.created_5m > 0
    assert (later.read, later.created_1h, later.created_5m) == (written.created_1h, 0, written.created_5m)
    assert total(written) == total(later) == -(-prompt.chars // 4)


def test_top_level_marker_caches_the_whole_prompt() -> None:
    cache = PromptCache()
    request = body(text("a" * 400), cache_control=MARK, tools=[{"name": "t", "input_schema": {"type": "object"}}])

    written, read = cache.charge(prompt_of(request), 0.0), cache.charge(prompt_of(request), 1.0)

    assert written.uncached == 0
    assert read == InputUsage(uncached=0, read=written.created_5m)
