"""How a provider's name resolves inside the isolated cluster while the demo runs, and not after it."""

import json
import re
import socket
import struct
from pathlib import Path

import pytest

from demo.hosts import mapped_host, with_host, without_hosts
from demo.resolver import answer_to, resolving

HOST = "api.anthropic.com"
COREFILE = ".:53 {\n    errors\n    kubernetes cluster.local {\n       pods insecure\n    }\n    reload\n}\n"
COREDNS = Path(__file__).resolve().parents[3] / "scripts" / "cluster" / "go" / "coredns" / "main.go"
A, AAAA, NS = 1, 28, 2


def query(name: str, kind: int = A) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    return struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def parsed(answer: bytes | None) -> tuple[int, int, bytes]:
    """Code, number of answers, and the last four bytes."""
    assert answer is not None
    number, flags, questions, answers, *_ = struct.unpack_from(">HHHHHH", answer)
    assert (number, flags >> 15, questions) == (7, 1, 1)
    return flags & 15, answers, answer[-4:]


def test_the_name_has_the_address_and_no_other_record() -> None:
    assert parsed(answer_to(query(HOST), HOST, "198.18.0.1")) == (0, 1, bytes([198, 18, 0, 1]))
    assert parsed(answer_to(query("API.Anthropic.com"), HOST, "198.18.0.1"))[:2] == (0, 1)
    assert parsed(answer_to(query(HOST, AAAA), HOST, "198.18.0.1"))[:2] == (0, 0)


def test_other_names_do_not_exist_and_get_an_answer_for_the_health_check() -> None:
    assert parsed(answer_to(query("example.org"), HOST, "198.18.0.1"))[:2] == (3, 0)
    assert parsed(answer_to(query("", NS), HOST, "198.18.0.1"))[:2] == (3, 0)


@pytest.mark.parametrize("cut", range(len(query(HOST))))
def test_a_broken_query_is_left_unanswered(cut: int) -> None:
    assert answer_to(query(HOST)[:cut], HOST, "198.18.0.1") is None


def test_a_response_is_never_answered() -> None:
    answer = answer_to(query(HOST), HOST, "198.18.0.1")
    assert answer is not None
    assert answer_to(answer, HOST, "198.18.0.1") is None


def test_it_answers_over_udp_until_its_end() -> None:
    with resolving(HOST, "127.0.0.1") as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        for _ in range(2):
            client.sendto(query(HOST), ("127.0.0.1", port))
            assert parsed(client.recv(512)) == (0, 1, bytes([127, 0, 0, 1]))


def test_a_host_is_mapped_once_and_the_rest_stays() -> None:
    mapped = with_host(COREFILE, HOST, "198.18.0.1:5300")
    assert mapped.startswith(f"{HOST}:53 {{")
    assert mapped.endswith(COREFILE)
    assert with_host(mapped, HOST, "198.18.0.1:5300") == mapped
    assert without_hosts(mapped) == COREFILE


def test_it_asks_only_for_plugins_that_the_self_built_coredns_holds() -> None:
    """A Corefile with another one keeps every Pod of the cluster's DNS from starting."""
    held = set(re.findall(r'coredns/plugin/(\w+)"', COREDNS.read_text()))
    added = with_host("", HOST, "198.18.0.1:5300").splitlines()
    used = {line.split()[0] for line in added if line.startswith(" ")}
    assert used
    assert used <= held


class Cluster:
    """Keeps a Corefile and what DNS was told, as kubectl would."""

    def __init__(self) -> None:
        self.corefile = COREFILE
        self.rollouts: list[str] = []
        self.refuses = False

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        match arguments:
            case ("get", "configmap", *_):
                return json.dumps({"data": {"Corefile": self.corefile}})
            case ("patch", "configmap", *_, patch):
                self.corefile = json.loads(patch)["data"]["Corefile"]
            case ("rollout", "status", *_):
                self.rollouts.append(self.corefile)
                if self.refuses and self.corefile != COREFILE:
                    raise RuntimeError("timed out waiting for the condition")
        return ""


def test_the_mapping_holds_for_the_block_and_then_all_is_as_before() -> None:
    cluster = Cluster()
    with mapped_host(HOST, "127.0.0.1", cluster):
        assert HOST in cluster.corefile
        assert cluster.rollouts == [cluster.corefile]
    assert cluster.corefile == COREFILE
    assert len(cluster.rollouts) == 2


def test_a_mapping_that_breaks_the_dns_is_taken_back() -> None:
    cluster = Cluster()
    cluster.refuses = True
    with pytest.raises(RuntimeError, match="timed out"), mapped_host(HOST, "127.0.0.1", cluster):
        pytest.fail("it was not refused")
    assert cluster.corefile == COREFILE
    assert cluster.rollouts[-1] == COREFILE
