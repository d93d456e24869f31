"""What is allowed leads elsewhere: a name that changes its address, and a package that draws another."""

import json
import secrets
from collections.abc import Iterator

import pytest

from e2e.attacks.test_network import ASK
from support.arena import ALLOWED, INDEX, MALLORY, OUTSIDE, Arena, text_of
from support.changing_names import PUBLIC, changing_names
from support.cluster import Namespace, eventually, kubectl
from support.requirements import requirement
from support.server_pod import file_server
from support.tally import Tally
from support.wheels import wheel

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def outside(arena: Arena) -> Iterator[Namespace]:
    """A namespace beside the arena's, where Pods may be of any kind."""
    name = f"{arena.namespace.name}-{OUTSIDE}"
    kubectl("create", "namespace", name)
    yield Namespace(name=name, client=arena.namespace.client)
    kubectl("delete", "namespace", name, "--wait=false")


@requirement("A17")
def test_a_name_that_turns_inward_is_dialled_at_the_address_that_was_judged(
    arena: Arena, tally: Tally, outside: Namespace
) -> None:
    inner = ["127.0.0.1", "169.254.169.254", "10.0.0.7", str(arena.bystander()["status"]["podIP"])]
    steady = f"http://flip-{PUBLIC.replace('.', '-')}-steady.{ALLOWED}/"

    def is_answered() -> bool:
        """Tell whether the restarted DNS answers the proxy: an answer that is lost would count as the first."""
        asked = arena.in_sandbox(MALLORY, ASK % json.dumps([steady] * 5))
        return all(status == 200 for status, _, _ in asked)

    with changing_names(outside.name, ALLOWED, arena.pod(MALLORY, "sandbox")):
        eventually("the names are answered", is_answered, seconds=60)
        for address in inner:
            words = f"{address.replace('.', '-')}-{secrets.token_hex(3)}"
            flip, both = (f"http://{how}-{words}.{ALLOWED}/" for how in ("flip", "both"))
            first, second, mixed = arena.in_sandbox(MALLORY, ASK % json.dumps([flip, flip, both]))
            control = (first[0], first[2]) == (200, "the public server")
            what = f"a name that turns to {address} ({second[0]} {second[1]})"
            tally.attack("A17", what, succeeded=second[:2] != [403, "internal_address"], control=control)
            reached = (mixed[0], mixed[2]) != (200, "the public server")
            tally.attack("A17", f"a name that is also {address}", succeeded=reached, control=control)


@requirement("A22")
def test_a_package_that_draws_another_from_elsewhere_is_refused_by_that_host(
    arena: Arena, tally: Tally, outside: Namespace
) -> None:
    other = "other-1.0-py3-none-any.whl"
    files = {
        other: wheel("other", "the other"),
        "fair-1.0-py3-none-any.whl": wheel("fair", "fair", f"other @ http://{arena.index}/{other}"),
        "unfair-1.0-py3-none-any.whl": wheel("unfair", "unfair", f"other @ http://denied.example/{other}"),
        "sly-1.0-py3-none-any.whl": wheel("sly", "sly", f"other @ https://denied.example/{other}"),
    }
    file_server(outside, INDEX, files)

    def install(name: str) -> str:
        options = "--quiet --no-cache-dir --retries 0 --disable-pip-version-check"
        url = f"http://{arena.index}/{name}-1.0-py3-none-any.whl"
        look = f"PYTHONPATH=/tmp/{name} python3 -c 'import {name}, other; print(other.TEXT)'"
        command = f"pip install {options} --target /tmp/{name} {url} 2>&1; {look} 2>&1 | tail -n 1"
        (result,) = arena.results(MALLORY, {"tool": "bash", "input": {"command": command}})
        return text_of(result)

    control = install("fair").strip() == "the other"
    for name in ("unfair", "sly"):
        said = install(name)
        tally.attack("A22", f"{name}: {said}", succeeded="the other" in said, control=control)
        assert "denied.example" in said
        assert "403" in said
