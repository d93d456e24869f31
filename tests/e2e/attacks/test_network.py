"""What a sandbox reaches: nothing by itself, and through its proxy what its Environment and the administrator allow."""

import json
from typing import Any

import anthropic
import pytest

from support.arena import ALICE, ALLOWED, MALLORY, PORT, Arena, text_of
from support.cluster import SYSTEM, kubectl, on_node
from support.requirements import requirement
from support.tally import Tally

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

REACH = """
import json, socket
from concurrent.futures import ThreadPoolExecutor
def probe(place):
    try:
        socket.create_connection(tuple(place), timeout=3).close()
        return True
    except OSError:
        return False
places = json.loads('''%s''')
with ThreadPoolExecutor(len(places)) as pool:
    print(json.dumps(list(pool.map(probe, places))))
"""
BARE = r"""
import ctypes, json, os, socket, struct
libc = ctypes.CDLL(None)
where = struct.pack("<H", 2) + struct.pack(">H", PORT) + socket.inet_aton("ADDRESS") + bytes(8)
pid = os.fork()
if pid == 0:
    number = libc.socket(2, 1, 0)
    os._exit(0 if libc.connect(number, where, len(where)) == 0 else 1)
import time
ended = time.monotonic() + 3
while time.monotonic() < ended:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        print(json.dumps(status == 0))
        break
    time.sleep(0.05)
else:
    os.kill(pid, 9)
    print("false")
"""
"""The calls that any binary makes, with nothing of Python's or of the environment's between."""

ASK = """
import http.client, json
def ask(url):
    link = http.client.HTTPConnection("127.0.0.1", 3128, timeout=20)
    link.request("GET", url)
    answer = link.getresponse()
    return [answer.status, answer.headers.get("X-Sandbox-Network"), answer.read().decode(errors="replace")]
print(json.dumps([ask(url) for url in json.loads('''%s''')]))
"""


def reach(places: list[tuple[str, int]]) -> str:
    return REACH % json.dumps(places)


def service(name: str) -> str:
    return kubectl("get", "service", "-n", SYSTEM, name, "-o", "jsonpath={.spec.clusterIP}")


@requirement("A7")
def test_the_control_plane_of_the_cluster_is_out_of_reach(arena: Arena, tally: Tally) -> None:
    pod = arena.pod(MALLORY, "sandbox")
    node = pod["status"]["hostIP"]
    cluster = kubectl("get", "service", "-n", "default", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    names = kubectl("get", "service", "-n", "kube-system", "kube-dns", "-o", "jsonpath={.spec.clusterIP}")
    places = [(cluster, 443), (node, 6443), (node, 10250), (node, 2379), (names, 53)]
    tried = arena.in_sandbox(MALLORY, reach(places))
    allowed = arena.in_container(arena.bystander(), "main", reach(places))
    for place, succeeded, control in zip(places, tried, allowed, strict=True):
        tally.attack("A7", f"a connection to {place}", succeeded=succeeded, control=control)
    sockets = ["/run/containerd/containerd.sock", "/var/run/docker.sock", "/run/crio/crio.sock"]
    code = f"import json, os; print(json.dumps([path for path in {sockets!r} if os.path.exists(path)]))"
    there = on_node(pod, "sh", "-c", f"ls {' '.join(sockets)} 2>/dev/null || true")
    tally.attack("A7", "the container runtime's socket", succeeded=arena.in_sandbox(MALLORY, code), control=there)


@requirement("A8")
def test_sandboxes_and_our_own_ports_are_out_of_reach_both_ways(arena: Arena, tally: Tally) -> None:
    server = service("managed-agents-server")
    operator = kubectl(
        "get",
        "pod",
        "-n",
        SYSTEM,
        "-l",
        "app.kubernetes.io/component=operator",
        "-o",
        "jsonpath={.items[0].status.podIP}",
    )
    victim, harness = arena.pod(ALICE, "sandbox"), arena.pod(ALICE, "harness")
    box, brain = victim["status"]["podIP"], harness["status"]["podIP"]
    from_mallory = [(box, 7400), (server, 8400), (server, 8401), (operator, 8600), (brain, 7300)]
    loopback = [(brain, port) for port in (7301, 7302, 7303, 7304)]
    tried = arena.in_sandbox(MALLORY, reach(from_mallory + loopback))
    own = [("127.0.0.1", port) for port in (7301, 7302, 7303, 7304)]
    allowed = arena.in_container(harness, "harness", reach(from_mallory + own))
    for place, succeeded, control in zip(from_mallory + loopback, tried, allowed, strict=True):
        tally.attack("A8", f"a sandbox's connection to {place}", succeeded=succeeded, control=control)
    from_pod = [(box, 7400), (server, 8401), (brain, 7300), *loopback]
    again = arena.in_container(harness, "harness", reach([*from_pod[:3], *own]))
    for place, succeeded, control in zip(
        from_pod, arena.in_container(arena.bystander(), "main", reach(from_pod)), again, strict=True
    ):
        tally.attack("A8", f"a Pod's connection to {place}", succeeded=succeeded, control=control)
    assert arena.in_sandbox(MALLORY, reach([("127.0.0.1", 3128)])) == [True], "the only way out answers"


@requirement("A9")
def test_no_program_of_its_own_leaves_a_sandbox(arena: Arena, tally: Tally) -> None:
    address = arena.bystander()["status"]["podIP"]
    bare = (
        "import json, os, socket\n"
        "for name in list(os.environ):\n"
        "    if name.lower().endswith('_proxy'): del os.environ[name]\n"
        "import urllib.request\n"
        "try:\n"
        f"    print(json.dumps(urllib.request.urlopen('http://{address}:{PORT}/', timeout=3).status))\n"
        "except OSError:\n"
        "    print('false')\n"
    )
    calls = BARE.replace("ADDRESS", address).replace("PORT", str(PORT))
    for what, code in (("a request without proxy variables", bare), ("bare calls of the C library", calls)):
        succeeded = arena.in_sandbox(MALLORY, code)
        control = arena.in_container(arena.bystander(), "main", code)
        tally.attack("A9", what, succeeded=succeeded, control=control)


@requirement("A15", "A18")
def test_the_way_out_leads_where_it_is_allowed_and_nowhere_else(arena: Arena, tally: Tally) -> None:
    allowed = [f"http://{arena.host}:{PORT}/fine", f"http://{arena.host.upper()}.:{PORT}/fine"]
    refused = [
        "http://denied.example/",
        f"http://{ALLOWED}.evil.example/",
        f"http://evil{ALLOWED}/",
        f"http://{arena.host}:8081/",
        f"http://{arena.bystander()['status']['podIP']}:{PORT}/",
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://kubernetes.default.svc/",
        "http://localhost./",
    ]
    answers = arena.in_sandbox(MALLORY, ASK % json.dumps([*allowed, *refused]))
    control = [status for status, _, _ in answers[: len(allowed)]] == [200, 200]
    for url, (status, reason, _) in zip(refused, answers[len(allowed) :], strict=True):
        tally.attack("A15", f"{url} ({status} {reason})", succeeded=status not in (400, 403), control=control)

    moved = f"http://{arena.host}:{PORT}/away"
    follow = f"curl -sS -L -o /dev/null -w '%{{http_code}} %{{num_redirects}}' {moved}"
    curled, fetched, fine = arena.results(
        MALLORY,
        {"tool": "bash", "input": {"command": follow}},
        {"tool": "web_fetch", "input": {"url": moved}},
        {"tool": "web_fetch", "input": {"url": f"http://{arena.host}:{PORT}/fine"}},
    )
    tally.attack("A18", "a redirect of a tool's", succeeded=text_of(curled).split()[0] != "403", control=control)
    control = not fine.get("is_error")
    tally.attack("A18", "a redirect of web_fetch", succeeded=not fetched.get("is_error"), control=control)


@requirement("A19")
def test_who_the_caller_says_it_is_never_reaches_the_provider(arena: Arena, tally: Tally) -> None:
    code = """
    import json, urllib.request, urllib.error
    body = json.dumps({"model": "simulated", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]})
    own = {"x-api-key": "invalid-own", "Authorization": "Bearer invalid-own", "Cookie": "a=b"}
    own |= {"anthropic-version": "2023-06-01", "Content-Type": "application/json"}
    def ask(base):
        request = urllib.request.Request(base + "/v1/messages", body.encode(), own)
        try:
            return urllib.request.urlopen(request, timeout=20).status
        except urllib.error.HTTPError as error:
            return error.code
    print(json.dumps([ask("http://127.0.0.1:7303"), ask("http://simulator.managed-agents-system.svc:8500")]))
    """
    through, direct = arena.in_container(arena.pod(ALICE, "harness"), "harness", code)
    tally.attack("A19", f"a key of the caller's own ({through})", succeeded=through == 401, control=direct == 401)
    assert through == 200, "the provider's own key was put in its place"


@requirement("A23")
@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/mcp",
        "https://127.0.0.1/mcp",
        "https://[::ffff:169.254.169.254]/mcp",
    ],
)
def test_an_mcp_server_at_metadata_or_loopback_is_refused_when_it_is_named(
    arena: Arena, tally: Tally, url: str
) -> None:
    def make(where: str) -> Any:
        servers: Any = [{"type": "url", "name": "inner", "url": where}]
        tools: Any = [{"type": "mcp_toolset", "mcp_server_name": "inner"}]
        return arena.namespace.client.beta.agents.create(
            name="inner", model="simulated", mcp_servers=servers, tools=tools
        )

    with pytest.raises(anthropic.BadRequestError, match="mcp_servers"):
        make(url)
    tally.attack("A23", f"an MCP server at {url}", succeeded=False, control=make("https://mcp.example.com/mcp"))
