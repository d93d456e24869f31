"""A Git server on the cluster: `git http-backend` behind TLS, in a Pod of a test's own namespace."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from support.cluster import Namespace, kubectl
from support.policyprobe import create

IMAGE = "docker.io/managed-agents/sandbox:dev"
"""Has git and Python; the cluster has it for the sandboxes."""

NAME = "git"
MAKE = """
set -e
mkdir -p "/srv/$1" && cd "/srv/$1"
export GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@example.com
export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@example.com
git init -q -b main
echo first > README && git add . && git commit -q -m first && git branch other
echo second > README && git commit -q -a -m second
if [ "$2" -gt 0 ]; then head -c "$2" /dev/urandom > large && git add . && git commit -q -m large && git repack -adq; fi
"""
SERVE = """
import http.server, ssl, subprocess

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        variables = {"CONTENT_TYPE": self.headers.get("Content-Type", "")}
        variables |= {"HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", "")}
        variables |= {"GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
        variables |= {"GIT_PROJECT_ROOT": "/srv", "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query}
        variables |= {"REQUEST_METHOD": self.command, "CONTENT_LENGTH": str(len(body)), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["git", "http-backend"], env=variables, input=body, capture_output=True)
        head, _, content = done.stdout.partition(b"\\r\\n\\r\\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\\r\\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server = http.server.ThreadingHTTPServer(("", 443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitPod:
    """A running server. `certificate` is its own, in PEM, which a client must trust."""

    namespace: Namespace
    host: str
    address: str
    certificate: str

    def url(self, name: str) -> str:
        return f"https://{self.host}/{name}"

    def make(self, name: str, *, large_bytes: int = 0) -> str:
        """Make a repository with two commits, and a branch `other` at the first; return the first.

        With `large_bytes` a third commit adds a file of that size, which does not compress.
        """
        self._run("sh", "-c", MAKE, "make", name, str(large_bytes))
        return self._run("git", "-C", f"/srv/{name}", "rev-parse", "other").strip()

    def _run(self, *command: str) -> str:
        return kubectl("exec", "-n", self.namespace.name, NAME, "--", *command)


def git_pod(namespace: Namespace, *, memory: str = "128Mi") -> GitPod:
    """Start the server and wait until it can be reached. It holds each answer in memory, several times."""
    host = f"{NAME}.{namespace.name}.svc.cluster.local"
    certificate, key = _certificate_for(host)
    probe = {"tcpSocket": {"port": 443}, "periodSeconds": 1}
    container = {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-u", "-c", SERVE],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}, {"name": "srv", "mountPath": "/srv"}],
        "readinessProbe": probe,
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": memory}},
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "tls", "secret": {"secretName": NAME}}, {"name": "srv", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }
    create(
        namespace.name,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": NAME},
            "stringData": {"tls.crt": certificate, "tls.key": key},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"clusterIP": "None", "selector": {"app": NAME}},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME, "labels": {"app": NAME}}, "spec": spec},
    )
    kubectl("wait", "-n", namespace.name, f"pod/{NAME}", "--for=condition=Ready", "--timeout=60s")
    address = namespace.get("pod", NAME)["status"]["podIP"]
    return GitPod(namespace=namespace, host=host, address=address, certificate=certificate)


def _certificate_for(host: str) -> tuple[str, str]:
    """Make a certificate that vouches for itself; return it and its key, in PEM."""
    with TemporaryDirectory() as folder:
        cert, key = Path(folder) / "tls.crt", Path(folder) / "tls.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", "/CN=git", "-addext", f"subjectAltName=DNS:{host}", "-days", "2"]
        subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=30)
        return cert.read_text(), key.read_text()
