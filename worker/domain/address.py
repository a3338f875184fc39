"""Where a server listens: `host:port`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host (name, IPv4, or IPv6 without brackets) and its port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NotAnAddress(ValueError):
    """What is wrong with it, and what to write."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.fix = fix


def parse_address(text: str) -> Address:
    """`host:port` or `[ipv6]:port`. Raises `NotAnAddress`, which doesn't repeat the text."""
    match = _HOST_PORT.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        fix = 'Write host:port, such as "127.0.0.1:4150" or "[::1]:4150", without a scheme'
        raise NotAnAddress("is not an address", fix)
    if match["v6"] is not None and not is_ip(match["v6"]):
        raise NotAnAddress("is not an IPv6 address", 'Write it in brackets, such as "[::1]:4150"')
    return Address(match["v6"] or match["host"], int(match["port"]))


def is_ip(host: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
