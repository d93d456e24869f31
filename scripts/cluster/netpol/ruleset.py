"""(Pods, namespaces, policies) -> the text of one nftables table; pure.

Pods isolated by the same policies in a direction share a chain. A chain returns for what some policy allows and drops
the rest, so that a packet between two Pods passes only if the sender's egress chain and the receiver's ingress chain
both return. Traffic that the node itself starts (kubelet probes) passes the output hook, which has no chain here.
"""

from collections.abc import Iterator, Mapping, Sequence

from .matches import rule_matches
from .model import Direction, Pod, Policy, World
from .selectors import selects

TABLE = "inet network_policy"
_OWN_ADDRESS: Mapping[Direction, str] = {"ingress": "ip daddr", "egress": "ip saddr"}

PolicyKey = tuple[str, str]
Group = tuple[tuple[Policy, ...], tuple[Pod, ...]]


def ruleset_for(world: World) -> str:
    """Returns input for ``nft -f``: one transaction that replaces the whole table; the same world, the same text."""
    groups = {direction: _isolated(world, direction) for direction in _OWN_ADDRESS}
    lines = [f"add table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{"]
    for direction, members in groups.items():
        for index, (policies, pods) in enumerate(members):
            lines += _chain(f"{direction}_{index}", direction, policies, pods, world)
    dispatch = {direction: _dispatch(direction, members) for direction, members in groups.items()}
    lines += _hook("forward", [*_to_itself(groups), *dispatch["egress"], *dispatch["ingress"]])
    lines += _hook("input", dispatch["egress"])
    return "\n".join([*lines, "}", ""])


def _isolated(world: World, direction: Direction) -> list[Group]:
    """Groups the Pods that at least one policy isolates in ``direction`` by the policies that do."""
    by_namespace: dict[str, list[Policy]] = {}
    for policy in sorted(world.policies, key=_policy_key):
        if direction in policy.rules:
            by_namespace.setdefault(policy.namespace, []).append(policy)
    groups: dict[tuple[PolicyKey, ...], tuple[tuple[Policy, ...], list[Pod]]] = {}
    for pod in sorted(world.pods, key=lambda pod: (pod.namespace, pod.name)):
        policies = tuple(item for item in by_namespace.get(pod.namespace, ()) if selects(item.selector, pod.labels))
        if policies:
            groups.setdefault(tuple(map(_policy_key, policies)), (policies, []))[1].append(pod)
    return [(policies, tuple(pods)) for policies, pods in groups.values()]


def _policy_key(policy: Policy) -> PolicyKey:
    return policy.namespace, policy.name


def _chain(
    name: str, direction: Direction, policies: Sequence[Policy], pods: Sequence[Pod], world: World
) -> Iterator[str]:
    yield f"  chain {name} {{"
    allowed = (
        match
        for policy in policies
        for rule in policy.rules[direction]
        for match in rule_matches(rule, direction, policy.namespace, pods, world)
    )
    for match in dict.fromkeys(allowed):
        yield f"    {match} return".replace("     return", "    return")
    yield "    drop"
    yield "  }"


def _dispatch(direction: Direction, groups: Sequence[Group]) -> list[str]:
    elements = [
        f"{pod.address} : jump {direction}_{index}" for index, (_, pods) in enumerate(groups) for pod in unique(pods)
    ]
    return [f"{_OWN_ADDRESS[direction]} vmap {{ {', '.join(elements)} }}"] if elements else []


def unique(pods: Sequence[Pod]) -> list[Pod]:
    """Returns the Pods without a repeated address."""
    return list({pod.address: pod for pod in pods}.values())


def _to_itself(groups: Mapping[Direction, Sequence[Group]]) -> list[str]:
    """A Pod always reaches itself, through a Service too."""
    addresses = sorted({pod.address for members in groups.values() for _, pods in members for pod in pods})
    pairs = ", ".join(f"{address} . {address}" for address in addresses)
    return [f"ip saddr . ip daddr {{ {pairs} }} accept"] if pairs else []


def _hook(name: str, rules: Sequence[str]) -> Iterator[str]:
    yield f"  chain at_{name} {{"
    yield f"    type filter hook {name} priority filter - 5; policy accept;"
    if rules:
        yield "    ct state established,related accept"
    for rule in rules:
        yield f"    {rule}"
    yield "  }"
