"""A step of a long session costs what its first did: the same work, and no copy of what is old (B4)."""

import sys
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from bench.steps import Clock, run_turn, slope_us
from managed_agents.harness.history.conversation import Conversation
from managed_agents.harness.history.request import body_for
from managed_agents.harness.history.sealed import BLOCK_BYTES_MIN, Sealed
from support.requirements import requirement

HEAD = b'{"model":"m"'
PIECES_MAX = 12


class Counted(Clock):
    """Counts the calls, of Python and of C, between a result and the request that follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []
        self._count = 0

    def answered(self) -> None:
        super().answered()
        self._count = 0
        sys.setprofile(self._note)

    def asked(self) -> None:
        sys.setprofile(None)
        self.calls.append(self._count)
        super().asked()

    def _note(self, _: Any, event: str, __: Any) -> None:
        self._count += event in ("call", "c_call")


@requirement("steps-flat")
async def test_a_late_step_makes_no_more_calls_than_an_early_one() -> None:
    clock = Counted()
    platform = await run_turn(150, clock)
    early, late = sorted(clock.calls[5:25]), sorted(clock.calls[-20:])
    assert platform.head > 1500
    assert abs(late[10] - early[10]) <= early[10] * 0.02


@requirement("steps-flat")
def test_a_request_takes_over_what_is_old_without_a_copy() -> None:
    conversation = Conversation()
    before: tuple[bytes, ...] = ()
    for number in range(600):
        conversation.say([{"type": "text", "text": f"{number} " + "x" * 2000}])
        body = body_for(HEAD, conversation)
        new = [piece for piece in body.pieces[1:-1] if not any(piece is old for old in before)]
        assert len(new) <= 1
        assert len(body.pieces) <= PIECES_MAX
        assert len(body.pieces[-1]) <= BLOCK_BYTES_MIN + 10_000
        before = body.pieces
        conversation.respond([{"type": "text", "text": f"answer {number}"}])
    conversation.say([{"type": "text", "text": "last"}])
    body = body_for(HEAD, conversation)
    messages = orjson.loads(bytes(body))["messages"]
    assert len(body) == len(bytes(body))
    assert [message["role"] for message in messages] == ["user", "assistant"] * 600 + ["user"]
    assert [message["content"][0]["text"].split()[0] for message in messages[:-1:2]] == [str(n) for n in range(600)]
    assert conversation.transcript()[:4] == [{**message, "content": [_bare(message)]} for message in messages[:4]]


def _bare(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message["content"][0].items() if key != "cache_control"}


@given(st.lists(st.tuples(st.integers(1, 200_000), st.integers(0, 3)), max_size=40))
def test_joined_messages_are_the_messages(steps: list[tuple[int, int]]) -> None:
    """Sizes of messages, and how many of the newest may still be replaced when the others are settled."""
    sealed, plain = Sealed(), list[bytes]()
    for number, (size, kept) in enumerate(steps):
        message = orjson.dumps({"n": number, "text": "x" * size})
        sealed.append(message)
        plain.append(message)
        sealed.settle(max(len(plain) - 1 - kept, len(plain) - len(sealed.loose)))
        assert len(sealed) == len(plain)
        other = orjson.dumps({"n": number, "text": "other"})
        assert b"".join(sealed.pieces(None)) == b"".join(item + b"," for item in plain)
        assert b"".join(sealed.pieces((number, other))) == b"".join(item + b"," for item in [*plain[:-1], other])
        assert sealed.last()["n"] == number
    assert [message["n"] for message in sealed] == list(range(len(plain)))


def test_the_slope_is_that_of_most_windows() -> None:
    flat = [0.2] * 500
    assert slope_us(flat) == 0
    assert slope_us([*flat[:100], *[9.0] * 50, *flat[150:]]) == 0
    assert round(slope_us([0.2 + step * 0.003 for step in range(500)]), 3) == 3.0
