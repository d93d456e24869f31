"""Whether the kernel's out-of-memory killer struck in this container, read from its own cgroup."""

from __future__ import annotations

from pathlib import Path

# cgroup v2, then v1; a container sees its own cgroup at the top.
_COUNTERS = ("memory.events", "memory/memory.oom_control")
CGROUP_ROOT = Path("/sys/fs/cgroup")

NOTE = "OOMKilled: the kernel killed a process of this call, for the tools container had reached its memory limit"


class OomCounter:
    """Counts the processes that the out-of-memory killer took from this container since its start."""

    def __init__(self, cgroup_root: Path = CGROUP_ROOT) -> None:
        self._files = [cgroup_root / name for name in _COUNTERS]

    def read(self) -> int:
        """Return the count; 0 where the kernel or the runtime does not show it."""
        for file in self._files:
            try:
                text = file.read_text()
            except OSError:
                continue
            for line in text.splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill" and value.isdigit():
                    return int(value)
        return 0
