"""Where an nsqd or nsqlookupd listens."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from worker.errors import Misconfigured


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host (name, IPv4, or IPv6 without brackets) and its port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, key: str = "nsq.nsqd_tcp_addresses") -> Address:
    """`host:port` or `[ipv6]:port`; Misconfigured names the setting `key` otherwise."""
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    in_range = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not colon or not host or not in_range or (":" in host and not bracketed):
        raise Misconfigured(key, f"{text!r} is not an address", "Write host:port, or [::1]:port for IPv6")
    return Address(host, int(port))


def addresses_of(host: str, port: int, family: int) -> int:
    """How many addresses of one family (IPv4, IPv6) the name has; the two families' may be one machine's. Asks DNS."""
    try:
        return len({found[4][0] for found in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return 0


def connected(address: Address, timeout: float) -> socket.socket:
    """A socket that notices a peer which vanished. IPv6 and IPv4, whichever of the host's addresses answers first in
    order. Raises `OSError`, and `UnicodeError` for a name that can't be one."""
    sock = socket.create_connection((address.host, address.port), timeout=timeout)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
    return sock
