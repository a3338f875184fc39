"""The kinds of value a setting can hold, each refused with what is wrong and how to mend it."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from worker.domain.address import is_ip, parse_address


class Section(BaseModel):
    """A table of the TOML file. Frozen: settings never change while a process runs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class BadValueError(ValueError):
    """A value that cannot be used: what is wrong with it and what to do. Neither repeats the value."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.fix = fix


_NSQ_NAME = re.compile(r"[.a-zA-Z0-9_-]{1,64}")
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)+")
_DATABASE_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")


def _nsq_name(name: str) -> str:
    if name.endswith("#ephemeral"):
        raise BadValueError(
            "is ephemeral: nsqd forgets its messages when the last consumer leaves",
            "Take the name without #ephemeral",
        )
    if not _NSQ_NAME.fullmatch(name):
        raise BadValueError("is not a name that nsqd accepts", "Use 1 to 64 of the characters a-z A-Z 0-9 . _ -")
    return name


def _address(address: str) -> str:
    parse_address(address)
    return address


def _http_address(address: str) -> str:
    if address.startswith("https://"):
        raise BadValueError("is an https address, which nsqlookupd does not speak", "Write host:port")
    return _address(address.removeprefix("http://").rstrip("/"))


def _pointer(pointer: str) -> str:
    if not _POINTER.fullmatch(pointer):
        raise BadValueError(
            "is not a JSON pointer (RFC 6901)",
            'Begin with /, write ~ as ~0 and / as ~1 inside a name: "/data/user/id"',
        )
    return pointer


def _api_base(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in {"http", "https"}:
        raise BadValueError("is not an http(s) URL", 'Write "https://api.stripe.com", or leave the key out')
    if parts.username or parts.password or parts.path.strip("/") or parts.query or parts.fragment:
        raise BadValueError("has more than scheme, host and port", 'Write "https://host" or "https://host:port"')
    if parts.scheme == "http" and not _is_loopback(host):
        raise BadValueError(
            "would send the Stripe key over plain http", "Use https; plain http is for loopback hosts only"
        )
    return url.rstrip("/")


def _database_url(url: SecretStr) -> SecretStr:
    _, _, address = url.get_secret_value().partition("://")
    if "@" in address.partition("@")[2]:  # parsers would disagree on where the host begins, and so repeat a password
        raise BadValueError(
            "holds more than one @", "Write those characters of the password encoded: @ as %40, / as %2F, : as %3A"
        )
    try:
        parts = urlsplit(url.get_secret_value())
        scheme, _ = parts.scheme, parts.port
    except ValueError:
        scheme = ""
    if scheme not in _DATABASE_SCHEMES:
        raise BadValueError("is not a Postgres URL", "Write postgresql://user@host:5432/database")
    return url


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (is_ip(host) and ipaddress.ip_address(host).is_loopback)


Name = Annotated[str, AfterValidator(_nsq_name)]
"""A topic's or channel's name, as nsqd accepts it. `#ephemeral` is refused on purpose: it forgets messages."""

Address = Annotated[str, AfterValidator(_address)]
"""`host:port`, an IPv6 host in brackets."""

HttpAddress = Annotated[str, AfterValidator(_http_address)]
"""`host:port` of a plain HTTP server; a leading `http://` is taken off."""

Pointer = Annotated[str, AfterValidator(_pointer)]
"""A JSON pointer (RFC 6901) to a field, never to the whole document."""

ApiBase = Annotated[str, AfterValidator(_api_base)]
"""`scheme://host[:port]`, without a slash at the end; plain http on loopback only."""

DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
"""A Postgres URL; secret, because it may carry a password."""

PositiveSeconds = Annotated[float, Field(gt=0)]

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=64)]
"""A plan's name: lower case with single underscores, so that an environment variable can name it."""
