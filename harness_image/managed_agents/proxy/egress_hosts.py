"""A destination in one spelling: what two clients may write differently is decided once. Pure; nothing is resolved."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from yarl import URL

Address = IPv4Address | IPv6Address

NAME_CHARACTERS_MAX = 253
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")
_SHOWN = re.compile(r"[^!-~]")


class MalformedHostError(ValueError):
    """No host can be meant by this text. The message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a tool wants to go. `address` is set where it named one instead of a host; `host` is its usual spelling."""

    host: str
    port: int
    address: Address | None = None


def target_from(host: str, port: int) -> Target:
    """Return the destination in its one spelling: lower case, no trailing dot, IDNA. Raises: MalformedHostError."""
    text = host.strip()
    if text.startswith("[") and text.endswith("]"):
        return _literal(text[1:-1], port)
    if ":" in text:
        return _literal(text, port)
    name = _name(text)
    if _NUMBER.match(name.rpartition(".")[2]):  # a resolver would take 127.1, 0x7f.1 and 2130706433 for addresses
        return _literal(name, port)
    return Target(host=name, port=port)


def authority_from(authority: str, default_port: int | None) -> tuple[str, int]:
    """Split `host[:port]`. Raises: MalformedHostError."""
    if "@" in authority:
        raise MalformedHostError("credentials in a destination are not supported")
    host, colon, port = authority.rpartition(":")
    if not colon or port.endswith("]"):
        if default_port is None:
            raise MalformedHostError("a port is required")
        return authority, default_port
    if not port.isascii() or not port.isdigit() or len(port) > 5 or not 1 <= int(port) <= 65535:
        raise MalformedHostError("the port is not a number of 1 to 65535")
    return host, int(port)


def shown(text: str) -> str:
    """Return what a tool wrote as it may stand in an error and in the audit log: short, printable, on one line."""
    return _SHOWN.sub("?", text)[:NAME_CHARACTERS_MAX]


def _literal(text: str, port: int) -> Target:
    try:
        address = ip_address(text)
    except ValueError:
        raise MalformedHostError("neither a host name nor an IP address") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise MalformedHostError("an address with a zone is not supported")
    return Target(host=str(address), port=port, address=address)


def _name(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not name.isascii():
        name = _in_idna(name)
    if not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise MalformedHostError(f"a host name has 1 to {NAME_CHARACTERS_MAX} characters")
    if not all(_LABEL.match(label) for label in name.split(".")):
        raise MalformedHostError("a host name has labels of letters, digits and hyphens between dots")
    return name


def _in_idna(name: str) -> str:
    try:
        encoded = URL.build(scheme="http", host=name).raw_host
    except (ValueError, UnicodeError):
        encoded = None
    if not encoded or not encoded.isascii():
        raise MalformedHostError("the host name cannot be written in IDNA")
    return encoded.lower().removesuffix(".")
