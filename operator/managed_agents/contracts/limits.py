"""Bounds shared by more than one process. Each states its unit and its reason."""

HEARTBEAT_SECONDS = 1.0
"""How often a harness says that it lives (design §6)."""

LEASE_LOST_SECONDS = 5.0
"""A lease without heartbeat for this long is lost; five beats ride out a pause of the machine (design §6)."""

LAST_MESSAGE_BYTES_MAX = 4096
"""`Session.status.lastMessage.text` is cut here, so that a status stays small in etcd."""

EVENT_BODY_BYTES_MAX = 32 * 1024 * 1024
"""One request body at the API, as the hosted service (API reference §14)."""

SANDBOX_WAIT_SECONDS = 120.0
"""How long a tool call waits for a sandbox to become ready before it ends as a tool error."""

SANDBOX_STUCK_SECONDS = 30.0
"""How long it still waits once the reason is one that seldom mends by itself: no such image, no quota left."""

LAST_LOOK_SECONDS = 10.0
"""How long a sandbox stays for its outputs after the session was taken from its harness."""
