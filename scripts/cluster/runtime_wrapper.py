"""OCI runtime: runc, without the capabilities that this host does not hold itself.

``docker run --privileged`` asks for every capability that the kernel knows, and runc fails with "unable to apply caps"
when the host lacks one. This removes the missing ones from the specification that docker wrote, then becomes runc.
"""

import itertools
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CAPABILITIES = tuple(
    f"CAP_{name}"
    for line in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE",
        "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT",
        "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE",
        "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ",
        "PERFMON BPF CHECKPOINT_RESTORE",
    )
    for name in line.split()
)
"""linux/capability.h, in order of their bits."""


def held_capabilities(status: str) -> frozenset[str]:
    """Returns the names in the bounding set of a /proc/PID/status text."""
    bits = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    return frozenset(name for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1)


def without_missing(document: dict[str, Any], held: frozenset[str]) -> dict[str, Any]:
    """Returns a runtime or process specification whose capability sets hold nothing that the host lacks."""
    process = document.get("process", document)
    sets = process.get("capabilities") or {}
    kept = {name: [item for item in items if item in held] for name, items in sets.items()}
    changed = {**process, "capabilities": kept}
    return {**document, "process": changed} if "process" in document else changed


def specification_in(arguments: Sequence[str]) -> Path | None:
    """Returns the specification file that a runc command line refers to, or None."""
    for word, following in itertools.pairwise(arguments):
        if word in ("--bundle", "-b") and "create" in arguments:
            return Path(following) / "config.json"
        if word in ("--process", "-p") and "exec" in arguments:
            return Path(following)
    return None


def main(arguments: Sequence[str]) -> None:
    """Edits the specification, if any, and becomes runc."""
    if file := specification_in(arguments):
        held = held_capabilities(Path("/proc/self/status").read_text())
        file.write_text(json.dumps(without_missing(json.loads(file.read_text()), held)))
    os.execvp("runc", ["runc", *arguments])  # noqa: S606  (the wrapper becomes runc; there is nothing for a shell to do)


if __name__ == "__main__":
    main(sys.argv[1:])
