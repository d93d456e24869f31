"""The search for canaries finds one in each form that it claims to know, and nothing where there is none."""

import base64
from collections.abc import Callable
from urllib.parse import quote

import pytest

from support.canaries import canary, forms, search

SECRET = canary("unit")


def in_base64(offset: int, encode: Callable[[bytes], bytes]) -> Callable[[str], str]:
    """Write a text in base64 behind so many other bytes, and before others."""
    return lambda text: encode(b"xyz"[:offset] + text.encode() + b"after").decode()


FORMS: dict[str, Callable[[str], str]] = {
    "raw": lambda text: text,
    "reversed": lambda text: text[::-1],
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "url": lambda text: quote(text, safe=""),
    "percent": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "PERCENT": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    **{f"base64/{offset}": in_base64(offset, base64.b64encode) for offset in range(3)},
    **{f"base64url/{offset}": in_base64(offset, base64.urlsafe_b64encode) for offset in range(3)},
}
"""How others write a text: the standard library, and not the code under test."""


@pytest.mark.parametrize("form", FORMS)
def test_a_planted_canary_is_found_in_each_form(form: str) -> None:
    content = f"before {FORMS[form](SECRET)} after".encode()
    found = list(search("here", content, {"planted": SECRET, "other": canary("other")}))
    assert form in {find.form for find in found}
    assert {(find.name, find.place) for find in found} == {("planted", "here")}


def test_nothing_is_found_where_there_is_none() -> None:
    assert list(search("here", b"canary+unit/" + b"0" * 200, {"planted": SECRET})) == []


def test_each_form_but_one_is_another() -> None:
    found = forms(SECRET)
    assert len(set(found.values())) >= len(found) - 3, "base64 without + and / is the same in both alphabets"


def test_a_secret_too_short_to_be_told_from_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        forms("short")
