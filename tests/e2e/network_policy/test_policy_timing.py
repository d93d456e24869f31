"""When policies take effect: before a new Pod's first packet, at a label's change, and never against the kubelet."""

import json
import secrets
from collections.abc import Iterator

import pytest

from support.cluster import eventually, kubectl
from support.policyprobe import PROBE_SECONDS, SERVER, Field, create, policy_field, probe_image, probe_pod
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

DENY_EGRESS = {"podSelector": {}, "policyTypes": ["Egress"]}
DENY_INGRESS = {"podSelector": {}, "policyTypes": ["Ingress"]}

FIRST_PACKETS = """
import socket, time
begun = time.monotonic()
got_through = 0
while time.monotonic() - begun < 3:
    with socket.socket() as link:
        link.settimeout({timeout})
        try:
            link.connect(("{host}", 8080))
            got_through += 1
        except OSError:
            pass
print("got through:", got_through, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def field() -> Iterator[Field]:
    with policy_field(secrets.token_hex(3)) as made:
        yield made


@requirement("policies-enforced")
def test_new_pod_of_a_denied_namespace_never_gets_a_packet_out(field: Field) -> None:
    if "network-policy" not in kubectl("get", "daemonsets", "-n", "kube-system", "-o", "name"):
        pytest.skip("only the self-built node promises this; kindest/node's kindnet may be a moment late")
    field.set_policies([("a", DENY_EGRESS)])
    code = FIRST_PACKETS.format(host=field.addresses["b/server"], timeout=0.2)
    create(field.namespaces["a"], probe_pod("eager", code, probe_image()))

    def last_line() -> str:
        text = kubectl("logs", "-n", field.namespaces["a"], "eager", "--ignore-errors")
        return text.strip()

    kubectl("wait", "-n", field.namespaces["a"], "--for=condition=Ready", "pod/eager", "--timeout=60s")
    assert eventually("the Pod has tried for three seconds", last_line, seconds=15) == "got through: 0"


@requirement("policies-enforced")
def test_kubelet_probes_pass_a_default_deny(field: Field) -> None:
    field.set_policies([("a", DENY_INGRESS), ("a", DENY_EGRESS)])
    pod = probe_pod("probed", SERVER, probe_image())
    pod["spec"]["containers"][0]["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    create(field.namespaces["a"], pod)
    kubectl("wait", "-n", field.namespaces["a"], "--for=condition=Ready", "pod/probed", "--timeout=60s")


@requirement("policies-enforced")
def test_change_of_a_label_changes_what_a_pod_may_reach(field: Field) -> None:
    namespace = field.namespaces["a"]
    only_friends = {"from": [{"podSelector": {"matchLabels": {"friend": "yes"}}}]}
    selector = {"matchLabels": {"app": "server"}}
    field.set_policies([("a", {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": [only_friends]})])
    target = field.target("a/server:http")

    def reaches(wanted: bool) -> bool:
        return field.reachable("a/client", [target]) == [wanted]

    eventually("a stranger is refused", lambda: reaches(False), seconds=5)
    kubectl("label", "pod", "-n", namespace, "client", "friend=yes")
    eventually("a friend gets through", lambda: reaches(True), seconds=5)
    kubectl("label", "pod", "-n", namespace, "client", "friend-")
    eventually("a stranger again is refused", lambda: reaches(False), seconds=5)


@requirement("policies-enforced")
def test_policy_is_in_force_soon_after_it_is_created(field: Field) -> None:
    field.set_policies([])
    eventually("the way is open", lambda: field.reachable("a/client", [field.target("b/server:http")]) == [True])
    field.set_policies([("a", DENY_EGRESS)])
    # One exec of kubectl takes longer than the agent; so the first probe after the creation must fail already.
    assert field.reachable("a/client", [field.target("b/server:http")]) == [False], (
        f"still open after {PROBE_SECONDS} s"
    )
    assert json.loads(kubectl("get", "networkpolicies", "-n", field.namespaces["a"], "-o", "json"))["items"]
