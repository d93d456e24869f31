"""A Git server on the cluster: `git http-backend` behind TLS, in a Pod of a test's own namespace."""

from dataclasses import dataclass

from support.certificates import certificate_for
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
git config receive.denyCurrentBranch ignore && git config http.receivepack true
echo first > README && git add . && git commit -q -m first && git branch other
echo second > README && git commit -q -a -m second
if [ "$2" -gt 0 ]; then head -c "$2" /dev/urandom > large && git add . && git commit -q -m large && git repack -adq; fi
"""
SERVE = """
import base64, http.server, json, pathlib, ssl, subprocess

class Handler(http.server.BaseHTTPRequestHandler):
    def said(self, status, content, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def is_known(self):
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            value = base64.b64decode(value).decode().partition(":")[2]
        token = pathlib.Path("/srv/token")
        return token.exists() and value == token.read_text().strip()

    def body(self):
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def answer(self):
        path, _, query = self.path.partition("?")
        body = self.body()
        top = path.split("/")[1]
        if top in ("private", "api") and not self.is_known():
            return self.said(401, b"", WWW_Authenticate="Basic realm=git")
        if top == "api":
            said = {"method": self.command, "path": self.path, "body": body.decode()}
            return self.said(200, json.dumps(said).encode(), Content_Type="application/json")
        variables = {"CONTENT_TYPE": self.headers.get("Content-Type", "")}
        variables |= {"HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", "")}
        variables |= {"GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
        variables |= {"GIT_PROJECT_ROOT": "/srv", "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query}
        variables |= {"REQUEST_METHOD": self.command, "CONTENT_LENGTH": str(len(body)), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(["git", "http-backend"], env=variables, input=body, capture_output=True)
        head, _, content = done.stdout.partition(b"\\r\\n\\r\\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\\r\\n"))
        self.said(int(headers.pop("Status", "200").split()[0]), content, **headers)

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

    def accept(self, token: str) -> None:
        """Open what lies below `/private`, and the API, to this token alone."""
        self._run("sh", "-c", f"umask 022; echo {token} > /srv/token")

    def subject(self, name: str, ref: str) -> str:
        """Return the subject of a ref's commit, empty where there is none."""
        return self._run("git", "-C", f"/srv/{name}", "for-each-ref", "--format=%(contents:subject)", ref).strip()

    def git(self, *arguments: str) -> str:
        """Run git on the server; return what it prints."""
        return self._run("git", *arguments)

    def _run(self, *command: str) -> str:
        return kubectl("exec", "-n", self.namespace.name, NAME, "--", *command)


def git_pod(namespace: Namespace, *, memory: str = "128Mi") -> GitPod:
    """Start the server and wait until it can be reached. It holds each answer in memory, several times."""
    host = f"{NAME}.{namespace.name}.svc.cluster.local"
    certificate, key = certificate_for(host)
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
