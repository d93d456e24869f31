"""NetworkPolicy semantics on the real cluster: a table of policies and of what then gets through."""

import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from support.cluster import Object, eventually
from support.policyprobe import Field, Target, policy_field
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

ENFORCED_SECONDS = 5

Policies = Sequence[tuple[str, Object]]

ALL: Object = {}
SERVER: Object = {"matchLabels": {"app": "server"}}
CLIENT: Object = {"matchLabels": {"app": "client"}}


def team(name: str) -> Object:
    return {"matchLabels": {"team": name}}


def ingress(selector: Object, *rules: Object) -> Object:
    return {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": list(rules)}


def egress(selector: Object, *rules: Object) -> Object:
    return {"podSelector": selector, "policyTypes": ["Egress"], "egress": list(rules)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """With ``policies`` in force, each "source -> target" of ``open`` gets through and each of ``shut`` does not.

    ``{a/client}`` in a policy's ``ipBlock`` stands for that address.
    """

    name: str
    policies: Policies
    open: tuple[str, ...] = ()
    shut: tuple[str, ...] = ()


EVERYTHING = (
    "a/client -> a/server:http",
    "a/client -> a/server:udp",
    "a/client -> b/server:admin",
    "b/client -> a/server:http",
    "b/client -> a/service:http",
    "a/client -> node:6443",
)

ROWS = (
    Row(name="no policy", policies=[], open=EVERYTHING),
    Row(
        name="default deny of ingress leaves egress open",
        policies=[("a", ingress(ALL))],
        open=("a/client -> b/server:http", "a/client -> node:6443"),
        shut=("a/client -> a/server:http", "b/client -> a/server:http", "b/client -> a/service:http",
              "b/client -> a/server:udp"),
    ),
    Row(
        name="default deny of egress leaves ingress open and covers the node itself",
        policies=[("a", egress(ALL))],
        open=("b/client -> a/server:http", "b/client -> a/server:udp"),
        shut=("a/client -> a/server:http", "a/client -> b/server:http", "a/client -> b/service:http",
              "a/client -> node:6443"),
    ),
    Row(
        name="a Pod reaches itself whatever is denied",
        policies=[("a", ingress(ALL)), ("a", egress(ALL))],
        open=("a/server -> a/server:http", "a/server -> a/server:udp"),
        shut=("a/server -> a/client:http",),
    ),
    Row(
        name="an empty rule allows everything",
        policies=[("a", ingress(ALL)), ("a", ingress(SERVER, {}))],
        open=("a/client -> a/server:http", "b/client -> a/server:udp"),
        shut=("b/client -> a/client:http",),
    ),
    Row(
        name="a pod selector means the policy's own namespace",
        policies=[("a", ingress(SERVER, {"from": [{"podSelector": CLIENT}]}))],
        open=("a/client -> a/server:http", "b/client -> a/client:http"),
        shut=("b/client -> a/server:http",),
    ),
    Row(
        name="a pod selector by expressions",
        policies=[("a", ingress(SERVER, {"from": [{"podSelector": {"matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["front", "middle"]},
            {"key": "banned", "operator": "DoesNotExist"}]}}]}))],
        open=("a/client -> a/server:http",),
        shut=("b/client -> a/server:http",),
    ),
    Row(
        name="a namespace selector means all Pods there",
        policies=[("a", ingress(SERVER, {"from": [{"namespaceSelector": team("b")}]}))],
        open=("b/client -> a/server:http", "b/server -> a/server:http"),
        shut=("a/client -> a/server:http",),
    ),
    Row(
        name="a namespace selector by expressions",
        policies=[("a", ingress(SERVER, {"from": [{"namespaceSelector": {"matchExpressions": [
            {"key": "team", "operator": "Exists"}, {"key": "team", "operator": "NotIn", "values": ["b"]}]}}]}))],
        open=("a/client -> a/server:http",),
        shut=("b/client -> a/server:http",),
    ),
    Row(
        name="both selectors of one peer must hold",
        policies=[("a", ingress(SERVER, {"from": [{"namespaceSelector": team("b"), "podSelector": CLIENT}]}))],
        open=("b/client -> a/server:http",),
        shut=("b/server -> a/server:http", "a/client -> a/server:http"),
    ),
    Row(
        name="one of several peers suffices",
        policies=[("a", ingress(SERVER, {"from": [{"namespaceSelector": team("b")}, {"podSelector": CLIENT}]}))],
        open=("b/server -> a/server:http", "a/client -> a/server:http"),
        shut=(),
    ),
    Row(
        name="a port by number",
        policies=[("a", ingress(SERVER, {"ports": [{"port": 8080}]}))],
        open=("b/client -> a/server:http", "b/client -> a/service:http"),
        shut=("b/client -> a/server:admin", "b/client -> a/server:udp"),
    ),
    Row(
        name="a port by name",
        policies=[("a", ingress(SERVER, {"ports": [{"port": "admin"}]}))],
        open=("b/client -> a/server:admin",),
        shut=("b/client -> a/server:http",),
    ),
    Row(
        name="a range of ports",
        policies=[("a", ingress(SERVER, {"ports": [{"port": 9000, "endPort": 9100}]}))],
        open=("b/client -> a/server:admin",),
        shut=("b/client -> a/server:http",),
    ),
    Row(
        name="a port of another protocol",
        policies=[("a", ingress(SERVER, {"ports": [{"protocol": "UDP", "port": 5353}]}))],
        open=("b/client -> a/server:udp",),
        shut=("b/client -> a/server:http",),
    ),
    Row(
        name="a protocol without a port",
        policies=[("a", ingress(SERVER, {"ports": [{"protocol": "TCP"}]}))],
        open=("b/client -> a/server:http", "b/client -> a/server:admin"),
        shut=("b/client -> a/server:udp",),
    ),
    Row(
        name="peers and ports of one rule must both hold",
        policies=[("a", ingress(SERVER, {"from": [{"podSelector": CLIENT}], "ports": [{"port": "http"}]}))],
        open=("a/client -> a/server:http",),
        shut=("a/client -> a/server:admin", "b/client -> a/server:http"),
    ),
    Row(
        name="an address block with an exception",
        policies=[("a", ingress(SERVER, {"from": [
            {"ipBlock": {"cidr": "10.244.0.0/16", "except": ["{b/client}/32"]}}]}))],
        open=("a/client -> a/server:http", "b/server -> a/server:http"),
        shut=("b/client -> a/server:http",),
    ),
    Row(
        name="egress to an address block: the kube-apiserver on the node",
        policies=[("a", egress(CLIENT, {"to": [{"ipBlock": {"cidr": "{node}/32"}}], "ports": [{"port": 6443}]}))],
        open=("a/client -> node:6443",),
        shut=("a/client -> a/server:http", "a/client -> node:10250"),
    ),
    Row(
        name="egress by selectors holds for Services too",
        policies=[("a", egress(CLIENT, {"to": [{"namespaceSelector": team("b"), "podSelector": SERVER}]}))],
        open=("a/client -> b/service:http", "a/client -> b/server:admin"),
        shut=("a/client -> a/service:http", "a/client -> b/client:http"),
    ),
    Row(
        name="egress to a port by the receiver's name for it",
        policies=[("a", egress(CLIENT, {"to": [{"namespaceSelector": ALL}], "ports": [{"port": "admin"}]}))],
        open=("a/client -> b/server:admin",),
        shut=("a/client -> b/server:http",),
    ),
    Row(
        name="sender and receiver must both allow",
        policies=[("a", ingress(SERVER, {"from": [{"namespaceSelector": team("b")}]})), ("b", egress(CLIENT))],
        open=("b/server -> a/server:http",),
        shut=("b/client -> a/server:http", "a/client -> a/server:http"),
    ),
    Row(
        name="policies add up",
        policies=[
            ("a", ingress(SERVER, {"from": [{"podSelector": CLIENT}], "ports": [{"port": 8080}]})),
            ("a", ingress(ALL, {"from": [{"namespaceSelector": team("b")}], "ports": [{"port": 9090}]})),
        ],
        open=("a/client -> a/server:http", "b/client -> a/server:admin"),
        shut=("a/client -> a/server:admin", "b/client -> a/server:http", "a/server -> a/client:http"),
    ),
    Row(name="policies gone", policies=[], open=EVERYTHING),
)  # fmt: skip


@pytest.fixture(scope="module")
def field() -> Iterator[Field]:
    with policy_field(secrets.token_hex(3)) as made:
        yield made


@requirement("policies-enforced")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_exactly_what_policies_allow_gets_through(row: Row, field: Field) -> None:
    field.set_policies((side, _with_addresses(spec, field)) for side, spec in row.policies)
    wanted = {**dict.fromkeys(row.open, True), **dict.fromkeys(row.shut, False)}

    def observed() -> dict[str, bool]:
        sources = sorted({probe.split(" -> ")[0] for probe in wanted})
        with ThreadPoolExecutor(len(sources)) as pool:
            found = pool.map(lambda source: list(_probe(field, source, wanted)), sources)
            return {probe: got for answers in found for probe, got in answers}

    seen: dict[str, bool] = {}

    def is_as_wanted() -> bool:
        seen.update(observed())
        return seen == wanted

    try:
        eventually("the table holds", is_as_wanted, seconds=ENFORCED_SECONDS)
    except AssertionError:
        assert seen == wanted


def _probe(field: Field, source: str, wanted: dict[str, bool]) -> Iterator[tuple[str, bool]]:
    probes = [probe for probe in wanted if probe.startswith(f"{source} -> ")]
    targets: list[Target] = [field.target(probe.split(" -> ")[1]) for probe in probes]
    yield from zip(probes, field.reachable(source, targets), strict=True)


def _with_addresses(value: object, field: Field) -> Object:
    """Replaces every "{place}" in the texts of a policy by the address of that place."""
    result = _replaced(value, field)
    assert isinstance(result, dict)
    return result


def _replaced(value: object, field: Field) -> object:
    if isinstance(value, dict):
        return {key: _replaced(item, field) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, field) for item in value]
    if isinstance(value, str) and value.startswith("{"):
        place, rest = value[1:].split("}")
        return field.addresses[place] + rest
    return value
