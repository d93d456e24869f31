"""Takes a token out of what comes back, whatever the host does with it: an answer may repeat a request's headers."""

import base64

from managed_agents.proxy.repositories.grants import Grant


class Masking:
    """Replaces each spelling of a secret in a stream by as many stars. An empty piece says that no more comes."""

    def __init__(self, grant: Grant) -> None:
        spellings = (grant.secret, grant.basic.partition(" ")[2], base64.b64encode(grant.secret.encode()).decode())
        self._secrets = tuple(spelling.encode() for spelling in spellings if spelling)
        self._keep = max((len(secret) for secret in self._secrets), default=1) - 1
        self._held = b""

    def __call__(self, piece: bytes) -> bytes:
        """Return what to pass on; so much is held back that a secret cannot pass in two pieces."""
        whole = self._held + piece
        for secret in self._secrets:
            whole = whole.replace(secret, b"*" * len(secret))
        cut = max(len(whole) - self._keep, 0) if piece else len(whole)
        self._held = whole[cut:]
        return whole[:cut]
