"""What each kind of our processes holds, read from /proc of the cluster's node, where every process is seen.

A kind's figures are sums over its processes, whose number the load keeps: `server.rss_bytes`, `harness.threads`, …
"""

import subprocess
from collections import Counter
from collections.abc import Iterable

SECONDS_MAX = 60

# One shell in the node, which has no Python: a line `P PID MODULE` for each process, then its figures; then files.
LOOK = r"""
modules='^managed_agents\.(server|operator|harness|proxy|sandbox\.supervisor)$'
for pid in $(grep -lzaE "$modules" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3); do
  module=$(tr '\0' '\n' </proc/$pid/cmdline 2>/dev/null | grep -E -m1 "$modules") || continue
  echo "P $pid $module"
  grep -E '^(VmRSS|Threads):' /proc/$pid/status 2>/dev/null
  set -- /proc/$pid/fd/*
  echo "descriptors: $#"
  case "$module" in managed_agents.server)
    find /proc/$pid/fd -lname '*-wal' 2>/dev/null | while read -r fd; do
      echo "W $(stat -L -c %s "$fd") $(readlink "$fd")"
    done
  esac
done
stat -c 'E %s' /var/lib/etcd/member/snap/db 2>/dev/null
"""
_FIGURE = {"VmRSS:": ("rss_bytes", 1024), "Threads:": ("threads", 1), "descriptors:": ("descriptors", 1)}


def sampled(node: str) -> dict[str, float]:
    """Return the figures of now. Raises: CalledProcessError, TimeoutExpired when the node does not answer."""
    look = ["docker", "exec", node, "sh", "-c", LOOK]
    done = subprocess.run(look, capture_output=True, text=True, check=True, timeout=SECONDS_MAX)
    return figures_of(done.stdout.splitlines())


def figures_of(lines: Iterable[str]) -> dict[str, float]:
    """Return the figures that the node's lines tell."""
    found: Counter[str] = Counter()
    wals: dict[str, int] = {}
    kind = ""
    for line in lines:
        match line.split():
            case ["P", _, module]:
                kind = module.rpartition(".")[2]
                found[f"{kind}.processes"] += 1
            case ["W", size, path]:
                wals[path] = int(size)  # a database has several connections, and each its descriptor
            case ["E", size]:
                found["etcd_bytes"] = int(size)
            case [word, value, *_] if word in _FIGURE:
                name, unit = _FIGURE[word]
                found[f"{kind}.{name}"] += int(value) * unit
            case _:
                pass  # a process or a file that ended while it was looked at
    if wals:
        found["wal_bytes"] = sum(wals.values())
    return dict(found)
