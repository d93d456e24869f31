"""Entry point of the DaemonSet: keeps the node's nftables rules equal to the cluster's NetworkPolicies.

The rules stay in force while this process is away; they are replaced in one transaction, never emptied.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from .announcements import Announcements, serve
from .model import World, pod_from, policy_from
from .ruleset import ruleset_for
from .watch import Mirror, in_cluster_server

PAUSE_SECONDS = 0.02
"""Rest after each transaction: changes that arrive within it become the next one together."""

MASQUERADE = """add table ip pod_masquerade
delete table ip pod_masquerade
table ip pod_masquerade {
  chain leaving {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
  }
}
"""
PATHS = ("/api/v1/pods", "/api/v1/namespaces", "/apis/networking.k8s.io/v1/networkpolicies")


def apply_rules(text: str) -> bool:
    """Loads one transaction; logs and returns False when nft refuses it, which leaves the former rules in force."""
    done = subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        log("rules refused", error=done.stderr[:2000])
    return done.returncode == 0


def log(event: str, **values: object) -> None:
    """Writes one JSON line."""
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")


def world_of(mirrors: Sequence[Mirror], announced: Mapping[str, str]) -> World | None:
    """Returns the world that the three mirrors show, or None until each has listed once."""
    pods, namespaces, policies = (mirror.objects for mirror in mirrors)
    if pods is None or namespaces is None or policies is None:
        return None
    return World(
        pods=tuple(pod for item in pods.values() if (pod := pod_from(item, announced))),
        namespaces={name: item["metadata"].get("labels") or {} for (_, name), item in namespaces.items()},
        policies=tuple(policy_from(item) for item in policies.values()),
    )


def main() -> None:
    """Watches and applies for ever."""
    changed = threading.Event()
    announcements = Announcements(changed.set)
    server = in_cluster_server(os.environ["NODE_ADDRESS"])
    mirrors = [Mirror(server=server, path=path, changed=changed.set) for path in PATHS]
    apply_rules(MASQUERADE)
    for mirror in mirrors:
        threading.Thread(target=mirror.run, name=mirror.path, daemon=True).start()
    threading.Thread(target=serve, args=(announcements,), name="announcements", daemon=True).start()
    current = ""
    while True:
        changed.wait()
        changed.clear()
        current = keep(mirrors, announcements, current)
        time.sleep(PAUSE_SECONDS)


def keep(mirrors: Sequence[Mirror], announcements: Announcements, current: str) -> str:
    """Brings the rules up to date once; returns the text now in force, which is ``current`` when nothing changed."""
    number, announced = announcements.snapshot()
    world = world_of(mirrors, announced)
    if world is None:
        return current
    wanted = ruleset_for(world)
    if wanted != current:
        if not apply_rules(wanted):
            return current
        log("rules applied", lines=wanted.count("\n"))
    announcements.now_in_force(number)
    announcements.forget_all_but(frozenset(item["metadata"]["uid"] for item in (mirrors[0].objects or {}).values()))
    return wanted


if __name__ == "__main__":
    main()
