"""Words in a stream: however it is cut, what comes out is what a replacement of the whole gives."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from managed_agents.proxy.injection.replacing import Replacing
from support.requirements import requirement

WORDS = {b"placeholder_a1": b"X", b"placeholder_b2": b"", b"aab": b"a much longer value"}
PIECES = st.lists(st.sampled_from([*WORDS, b"placeholder_", b"a", b"b", b"place", b"_a1", b"older", b"\0", b"zz"]))


def _whole(text: bytes) -> bytes:
    out, at = b"", 0
    while at < len(text):
        word = next((one for one in sorted(WORDS, key=len, reverse=True) if text.startswith(one, at)), None)
        out += WORDS[word] if word else text[at : at + 1]
        at += len(word) if word else 1
    return out


@requirement("A20")
@given(pieces=PIECES, cuts=st.lists(st.integers(0, 200), max_size=20))
def test_any_cut_gives_the_same_as_the_whole(pieces: list[bytes], cuts: list[int]) -> None:
    text = b"".join(pieces)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    replacing = Replacing(WORDS)
    out = b"".join(replacing.feed(text[begin:end]) for begin, end in pairwise(places))
    assert out + replacing.finish() == _whole(text)


@given(text=st.binary(max_size=200))
def test_without_words_nothing_is_held(text: bytes) -> None:
    assert Replacing({}).feed(text) == text
