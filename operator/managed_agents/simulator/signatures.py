"""Signatures of thinking blocks: they only have to tell an unchanged block from a changed one."""

import base64
import hashlib
from typing import Final

# Fixed and public on purpose: a signature made before a restart must still verify after it.
_KEY: Final = b"managed-agents-simulator"


def signature_of(thinking: str) -> str:
    """The signature that goes with that thinking text."""
    digest = hashlib.blake2b(thinking.encode("utf-8", "surrogatepass"), key=_KEY, digest_size=48).digest()
    return base64.b64encode(digest).decode("ascii")


def is_signed(thinking: str, signature: str) -> bool:
    """Whether the block is exactly as it was sent."""
    return signature == signature_of(thinking)
