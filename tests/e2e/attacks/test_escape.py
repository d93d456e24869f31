"""What hostile code can do where it runs: to its own container, and to nothing beside it."""

import json
from typing import Any

import pytest

from support.arena import ALICE, MALLORY, Arena, text_of
from support.cluster import on_node
from support.requirements import requirement
from support.tally import Tally

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

WRITE = """
import json, os
def attempt(path):
    try:
        if os.path.isdir(path):
            path = os.path.join(path, "planted")
        with open(path, "ab") as file:
            file.write(b"#")
        return True
    except OSError:
        return False
print(json.dumps([attempt(path) for path in json.loads('''%s''')]))
"""
SEE = """
import glob, json, os, subprocess
marked = subprocess.Popen(["sleep", "20"], env={**os.environ, "MARKED": "by-me"})
seen = {}
for kind in ("environ", "cmdline"):
    for path in glob.glob(f"/proc/[0-9]*/{kind}"):
        try:
            seen[path] = open(path, "rb").read().decode(errors="replace")
        except OSError:
            seen[path] = None
marked.kill()
print(json.dumps(seen))
"""
TOUCH = r"""
import ctypes, json, os, signal, subprocess, time
libc = ctypes.CDLL(None, use_errno=True)
child = subprocess.Popen(["sleep", "30"])
def works(call):
    try:
        return bool(call())
    except OSError:
        return False
def trace(pid):
    attached = libc.ptrace(16, pid, 0, 0) == 0
    if attached:
        os.waitpid(pid, 0) if pid == child.pid else None
        libc.ptrace(17, pid, 0, 0)
    return attached
def memory(pid):
    first = int(open(f"/proc/{pid}/maps").readline().split("-")[0], 16)
    with open(f"/proc/{pid}/mem", "rb", 0) as file:
        file.seek(first)
        return file.read(4)
def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except OSError:
        return False
def killed(pid):
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    return not alive(pid) if pid != child.pid else child.wait(5) == -9
found = {"ptrace": [works(lambda: trace(1)), works(lambda: trace(child.pid))]}
found["memory"] = [works(lambda: memory(1)), works(lambda: memory(child.pid))]
found["kill"] = [works(lambda: killed(1)), works(lambda: killed(child.pid))]
names = [open(f"/proc/{pid}/cmdline").read() for pid in os.listdir("/proc") if pid.isdigit()]
found["names"] = names
print(json.dumps(found))
"""
KERNEL = r"""
import ctypes, json, os, platform, shutil
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
scratch = os.path.realpath(os.environ.get("SCRATCH") or "/tmp")
def call(*arguments):
    return libc.syscall(*[ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]) >= 0
def setuid_file():
    path = os.path.join(scratch, "suid")
    shutil.copy("/usr/bin/id", path)
    os.chmod(path, 0o4755)
    os.chown(path, 0, 0)
    return True
def apart(action):
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if action() else 1)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
tries = {
    "setuid(0)": lambda: os.setuid(0) is None and os.getuid() == 0,
    "a setuid file of root's": setuid_file,
    "unshare(user)": lambda: call(272, 0x10000000),
    "unshare(mount)": lambda: call(272, 0x00020000),
    "mount": lambda: call(165, b"none", scratch.encode(), b"tmpfs", 0, 0),
    "mknod of a disk": lambda: os.mknod(os.path.join(scratch, "disk"), 0o60600, os.makedev(8, 0)) is None,
    "setns of PID 1": lambda: call(308, os.open("/proc/1/ns/mnt", os.O_RDONLY), 0),
    "bpf": lambda: call(321, 5, ctypes.byref((ctypes.c_char * 128)()), 128),
    "reboot": lambda: call(169, 0xFEE1DEAD, 672274793, 0, 0),
    "kexec_load": lambda: call(246, 0, 0, 0, 0),
    "init_module": lambda: call(175, 0, 0, b""),
    "the kernel's log": lambda: call(103, 2, ctypes.create_string_buffer(64), 64),
    "sethostname": lambda: call(170, b"x", 1),
    "io_uring_setup": lambda: call(425, 1, ctypes.byref((ctypes.c_char * 128)())),
    "sudo": lambda: shutil.which("sudo") is not None,
}
found = {name: apart(action) for name, action in tries.items()}
print(json.dumps({"machine": platform.machine(), "getpid": apart(lambda: call(39)), **found}))
"""
HARMLESS = """
import json, os
os.setuid(os.getuid())
print(json.dumps(os.getuid() == 1000))
"""
RESIDUAL_CALLS = {"io_uring_setup"}
"""Refused only by a newer RuntimeDefault profile: a listed residual where it is not."""


@requirement("A10")
def test_nothing_of_the_system_or_of_ours_can_be_written(arena: Arena, tally: Tally) -> None:
    paths = [
        "/etc/passwd", "/etc", "/usr/bin/python3", "/usr/local/bin", "/managed-agents/runner.pyz", "/managed-agents",
        "/managed-agents-socket", "/mnt/session/uploads", "/journal", "/proc/sys/kernel/core_pattern", "/sys/kernel",
        "/proc/sysrq-trigger", "/dev/kmsg",
    ]  # fmt: skip
    *tried, workspace, outputs = arena.in_sandbox(
        MALLORY, WRITE % json.dumps([*paths, "/workspace", "/mnt/session/outputs"])
    )
    for path, succeeded in zip(paths, tried, strict=True):
        tally.attack("A10", f"a write to {path}", succeeded=succeeded, control=workspace and outputs)


@requirement("A6")
def test_only_its_own_processes_are_seen_and_none_holds_a_secret(arena: Arena, tally: Tally) -> None:
    seen = arena.in_sandbox(MALLORY, SEE)
    text = json.dumps(seen)
    control = "by-me" in text
    for name, secret in arena.canaries.items():
        tally.attack("A6", f"the {name} in /proc", succeeded=secret in text, control=control)
    for word in ("managed_agents.sandbox.supervisor", "managed_agents.proxy", "managed_agents.harness"):
        tally.attack("A6", f"a process of {word}", succeeded=word in text, control=control)


@requirement("A11")
def test_runner_and_supervisor_cannot_be_touched(arena: Arena, tally: Tally) -> None:
    pod = arena.pod(MALLORY, "sandbox")
    before = _restarts(pod)
    found = arena.in_sandbox(MALLORY, TOUCH)
    for what in ("ptrace", "memory", "kill"):
        of_ours, own = found[what]
        tally.attack("A11", f"{what} of PID 1", succeeded=of_ours, control=own)
    supervisor = [name for name in found["names"] if "supervisor" in name]
    tally.attack("A11", "the supervisor's process", succeeded=supervisor, control=found["names"])
    trick = "mkdir -p ~/bin && printf '#!/bin/sh\\necho forged\\n' > ~/bin/python3 && chmod +x ~/bin/python3"
    preload = "export PATH=$HOME/bin:$PATH LD_PRELOAD=/workspace/evil.so PYTHONPATH=/workspace; echo set"
    made, read = arena.results(
        MALLORY,
        {"tool": "bash", "input": {"command": f"{trick}; {preload}"}},
        {"tool": "glob", "input": {"pattern": "bin/*"}},
    )
    assert "set" in text_of(made)
    arena.results(MALLORY, {"tool": "bash", "input": {"restart": True}})
    forged = "forged" in text_of(read)
    tally.attack(
        "A11", "PATH and LD_PRELOAD for the tools' runner", succeeded=forged, control="python3" in text_of(read)
    )
    arena.in_sandbox(MALLORY, "import json, os, pathlib; os.remove(os.path.expanduser('~/bin/python3')); print('1')")
    after = arena.pod(MALLORY, "sandbox")
    assert (after["metadata"]["uid"], _restarts(after)) == (pod["metadata"]["uid"], before)


@requirement("A12")
def test_file_tools_follow_no_link_out(arena: Arena, tally: Tally) -> None:
    make = "cd /workspace; ln -sf /etc/passwd link; ln -sfn / root; echo mine > own; mkfifo pipe; true"
    paths = [
        "/workspace/link", "/workspace/root/etc/passwd", "/workspace/../etc/passwd", "/proc/self/root/etc/passwd",
        "/dev/zero", "/etc/passwd", "/proc/1/environ", "/managed-agents/runner.pyz", "/workspace/pipe",
    ]  # fmt: skip
    steps = [{"tool": "read", "input": {"file_path": path}} for path in [*paths, "/workspace/own"]]
    over = {"file_path": "/workspace/link", "content": "x"}
    _, *read, own, written = arena.results(
        MALLORY, {"tool": "bash", "input": {"command": make}}, *steps, {"tool": "write", "input": over}
    )
    control = "mine" in text_of(own)
    for path, result in zip(paths, read, strict=True):
        tally.attack("A12", f"read of {path}", succeeded=not result.get("is_error"), control=control)
    tally.attack("A12", "a write through a link", succeeded=not written.get("is_error"), control=control)


@requirement("A13")
def test_no_call_of_the_kernel_gives_more_rights(arena: Arena, tally: Tally) -> None:
    found: dict[str, Any] = arena.in_sandbox(MALLORY, KERNEL)
    if found.pop("machine") != "x86_64":
        pytest.skip("the numbers of the system calls are those of x86-64")
    mount = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt && echo yes"]
    node = on_node(arena.pod(MALLORY, "sandbox"), *mount).strip()
    control = arena.in_sandbox(MALLORY, HARMLESS) and found.pop("getpid") and node == "yes"
    for name, succeeded in found.items():
        if name in RESIDUAL_CALLS and succeeded:
            print(f"residual here: {name} is open")
            continue
        tally.attack("A13", name, succeeded=succeeded, control=control)


@requirement("A8", "A11")
def test_the_supervisors_port_knows_who_asks(arena: Arena, tally: Tally) -> None:
    code = """
    import http.client, json
    def ask(method, path, body=None, **headers):
        link = http.client.HTTPConnection("127.0.0.1", 7400, timeout=10)
        link.request(method, path, None if body is None else json.dumps(body), headers)
        return link.getresponse().status
    known = {"Authorization": "Bearer " + "0" * 64, "X-Epoch": "999999"}
    call = {"tool_use_id": "sevt_forged", "name": "bash", "input": {"command": "true"}}
    bind = {"session": "sesn_forged", "epoch": 999999, "name": "default", "secret": "0" * 64, "resources": {}}
    print(json.dumps({
        "livez": ask("GET", "/livez"),
        "bind": ask("POST", "/bind", bind, **known),
        "execute": ask("POST", "/execute", call, **known),
        "bare": ask("POST", "/execute", call),
        "journal": ask("GET", "/calls/sevt_forged", **known),
        "egress": ask("POST", "/egress", **known),
        "packages": ask("PUT", "/packages/x", {}, **known),
    }))
    """
    found: dict[str, Any] = arena.in_sandbox(MALLORY, code)
    control = found.pop("livez") == 200
    for what, status in found.items():
        tally.attack(
            "A8", f"{what} at the supervisor ({status})", succeeded=status not in (401, 403, 409), control=control
        )
    assert arena.in_sandbox(ALICE, "print('\"still here\"')") == "still here"


def _restarts(pod: Any) -> list[int]:
    status = pod["status"]
    every = [*status.get("initContainerStatuses", []), *status["containerStatuses"]]
    return [item["restartCount"] for item in every]
