"""What all outgoing connections of the proxy share: they pass bytes on as they are and notice a dead peer."""

import socket
from collections.abc import Callable

from aiohttp import AddrInfoType, ClientSession, DummyCookieJar, TCPConnector


def client_over(connector: TCPConnector) -> ClientSession:
    """Return a pool of connections that keeps no cookies, adds no headers, unpacks nothing and uses no proxy."""
    return ClientSession(
        connector=connector,
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )


def noticing_sockets(
    *, idle_seconds: int, interval_seconds: int, probes: int
) -> Callable[[AddrInfoType], socket.socket]:
    """Return a factory of sockets that notice a peer whose node or Pod vanished without a packet."""
    options = (
        (socket.TCP_KEEPIDLE, idle_seconds),
        (socket.TCP_KEEPINTVL, interval_seconds),
        (socket.TCP_KEEPCNT, probes),
    )

    def make(address: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family=family, type=kind, proto=protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in options:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
        return made

    return make
