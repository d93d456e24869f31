"""One destination has one spelling, however a tool writes it, and no spelling slips past a list."""

import contextlib
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_hosts import MalformedHostError, target_from
from managed_agents.proxy.egress_rules import Networking, decide

_label = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).filter(lambda text: "--" not in text)
names = st.lists(_label, min_size=2, max_size=5).map(".".join)


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """A name and another way to write it."""
    name = draw(names)
    upper = draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    written = "".join(char.upper() if up else char for char, up in zip(name, upper, strict=True))
    return name, written + draw(st.sampled_from(["", "."]))


@given(spellings())
def test_case_and_trailing_dot_change_nothing(pair: tuple[str, str]) -> None:
    name, written = pair
    assert target_from(written, 443) == target_from(name, 443)
    limited = Networking(is_limited=True, hosts=frozenset({name}))
    if not name.endswith((".local", ".internal", ".svc", ".localhost")):
        assert decide(target_from(written, 443), limited, EgressRules()).is_allowed


@given(st.text(max_size=80))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    with contextlib.suppress(MalformedHostError):
        once = target_from(text, 443)
        again = target_from(f"[{once.host}]" if ":" in once.host else once.host, 443)
        assert again == once
        assert once.host == once.host.lower()
        assert once.host.isascii()
        assert not once.host.endswith(".")


@given(names, names)
def test_only_the_listed_name_and_names_below_a_wildcard_match(listed: str, other: str) -> None:
    limited = Networking(is_limited=True, hosts=frozenset({f"*.{listed}"}))
    decision = decide(target_from(other, 443), limited, EgressRules())
    assert not (decision.is_allowed and not other.endswith(f".{listed}"))
    assert not decide(target_from(listed, 443), limited, EgressRules()).is_allowed


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{}", "{}.", "0x{:x}"]))
def test_a_number_is_an_address_or_nothing(number: int, form: str) -> None:
    with contextlib.suppress(MalformedHostError):
        assert target_from(form.format(number), 80).address is not None


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_within_ipv6_is_judged_as_itself(address: object) -> None:
    rules, unrestricted = EgressRules(), Networking(is_limited=False)
    mapped = ip_address(f"::ffff:{address}")
    plain = decide(target_from(str(address), 443), unrestricted, rules)
    assert decide(target_from(f"[{mapped}]", 443), unrestricted, rules).is_allowed == plain.is_allowed
