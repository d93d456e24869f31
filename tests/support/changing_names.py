"""Names whose address changes with each question, and a public address that is on the node, for a cluster's proxies.

CoreDNS asks our server for one domain (a stub domain, as an administrator would make one). The public address is of the
block of AS112 (RFC 7535), where nothing but DNS of last resort lives; no packet to it leaves the node.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from support.cluster import Object, kubectl, on_node
from support.policyprobe import create, probe_image

PUBLIC = "192.31.196.1"
DNS = ["-n", "kube-system"]
SERVE = """
import http.server, socket, struct, threading
PUBLIC, seen = "192.31.196.1", {}

def answer(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    kind = struct.unpack(">H", query[at + 1 : at + 3])[0]
    found = []
    if kind == 1:
        seen[labels[0]] = seen.get(labels[0], 0) + 1
        how, inner = labels[0].split("-")[0], ".".join(labels[0].split("-")[1:5])
        found = [inner, PUBLIC] if how == "both" else [PUBLIC if seen[labels[0]] == 1 else inner]
        print("asked", labels[0], found, flush=True)
    head = query[:2] + struct.pack(">HHHHH", 0x8580, 1, len(found), 0, 0)
    records = [b"\\xc0\\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(one) for one in found]
    return head + query[12 : at + 5] + b"".join(records)

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"the public server"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.bind((PUBLIC, 53))
threading.Thread(target=http.server.ThreadingHTTPServer((PUBLIC, 80), Page).serve_forever, daemon=True).start()
while True:
    query, peer = link.recvfrom(4096)
    link.sendto(answer(query), peer)
"""


@contextmanager
def changing_names(namespace: str, domain: str, node: Object) -> Iterator[None]:
    """Answer for the names of a domain while the block runs. `node` is a Pod of the node that gets the address.

    `flip-10-0-0-7-x.DOMAIN` is the public address the first time it is asked for and 10.0.0.7 from then on;
    `both-10-0-0-7-x.DOMAIN` is 10.0.0.7 and the public one. Each name is good for one test.
    """
    before = json.loads(kubectl("get", *DNS, "configmap", "coredns", "-o", "json"))["data"]["Corefile"]
    stub = f"{domain}:53 {{\n    forward . {PUBLIC}\n}}\n"
    on_node(node, "sh", "-c", f"ip address replace {PUBLIC}/32 dev lo")
    try:
        _start(namespace, node["spec"]["nodeName"])
        _resolve_by(before + "\n" + stub)
        yield
    finally:
        _resolve_by(before)
        on_node(node, "sh", "-c", f"ip address del {PUBLIC}/32 dev lo")


def _start(namespace: str, node: str) -> None:
    container = {
        "name": "main",
        "image": probe_image(),
        "imagePullPolicy": "Never",
        "command": ["python3", "-u", "-c", SERVE],
        "securityContext": {"runAsUser": 0},
        "readinessProbe": {"httpGet": {"host": PUBLIC, "port": 80, "path": "/"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
    }
    spec = {
        "containers": [container],
        "hostNetwork": True,
        "nodeName": node,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }
    create(namespace, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "names"}, "spec": spec})
    kubectl("wait", "-n", namespace, "pod/names", "--for=condition=Ready", "--timeout=60s")


def _resolve_by(corefile: str) -> None:
    kubectl("patch", *DNS, "configmap", "coredns", "-p", json.dumps({"data": {"Corefile": corefile}}))
    kubectl("rollout", "restart", *DNS, "deployment/coredns")
    kubectl("rollout", "status", *DNS, "deployment/coredns", "--timeout=120s", seconds=130)
