"""The kinds of values that the configuration has, each with what is wrong with a bad one and what to do about it."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

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
_TEST_CLOCK = re.compile(r"clock_[A-Za-z0-9]{1,64}")
_TOKEN_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DATABASE_SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")


def require(holds: object, problem: str, fix: str) -> None:
    if not holds:
        raise BadValueError(problem, fix)


def _nsq_name(name: str) -> str:
    forgets = "is ephemeral: nsqd forgets its messages when the last consumer leaves"
    require(not name.endswith("#ephemeral"), forgets, "Take the name without #ephemeral")
    characters = "Use 1 to 64 of the characters a-z A-Z 0-9 . _ -"
    require(_NSQ_NAME.fullmatch(name), "is not a name that nsqd accepts", characters)
    return name


def _address(address: str) -> str:
    parse_address(address)
    return address


def _http_address(address: str) -> str:
    secure = address.startswith("https://")
    require(not secure, "is an https address, which nsqlookupd does not speak", "Write host:port")
    return _address(address.removeprefix("http://").rstrip("/"))


def _pointer(pointer: str) -> str:
    fix = 'Begin with /, write ~ as ~0 and / as ~1 inside a name: "/data/user/id"'
    require(_POINTER.fullmatch(pointer), "is not a JSON pointer (RFC 6901)", fix)
    return pointer


def _split(url: str) -> SplitResult:
    """Its parts; none, if it is no URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
    except ValueError:
        return urlsplit("")
    return parts


def _api_base(url: str) -> str:
    parts = _split(url)
    is_url = parts.hostname and parts.scheme in {"http", "https"} and url.isprintable() and " " not in url
    require(is_url, "is not an http(s) URL", 'Write "https://api.stripe.com", or leave the key out')
    more = parts.username or parts.password or parts.path.strip("/") or parts.query or parts.fragment
    require(not more, "has more than scheme, host and port", 'Write "https://host" or "https://host:port"')
    safe = parts.scheme == "https" or is_loopback(parts.hostname or "")
    require(safe, "would send the Stripe key over plain http", "Use https; plain http is for loopback hosts only")
    return url.rstrip("/")


def _jwks_url(url: str) -> str:
    parts = _split(url)
    is_url = parts.hostname and parts.scheme in {"http", "https"} and url.isprintable() and " " not in url
    require(is_url, "is not an http(s) URL", 'Write "https://host/path", as your identity provider tells it')
    more = parts.username or parts.password or parts.fragment
    require(not more, "has a user, a password or a fragment", 'Write "https://host/path"')
    safe = parts.scheme == "https" or is_loopback(parts.hostname or "")
    require(safe, "would let anybody between change the keys", "Use https; plain http is for loopback hosts only")
    return url


def _origin(origin: str) -> str:
    parts = _split(origin)
    is_url = parts.hostname and parts.scheme in {"http", "https"} and origin.isascii() and origin.isprintable()
    fix = 'Write "https://app.example.com", with a port only if addresses have one'
    require(is_url and origin == f"{parts.scheme}://{parts.netloc.lower()}", "is not an origin in lower case", fix)
    require("@" not in parts.netloc, "has a user", fix)
    safe = parts.scheme == "https" or is_loopback(parts.hostname or "")
    require(safe, "would lead users back over plain http", "Use https; plain http is for loopback hosts only")
    return origin


def _token_digest(digest: str) -> str:
    fix = "Write what `subkeeper token new` prints beside the token: sha256: and 64 hex digits"
    require(_TOKEN_DIGEST.fullmatch(digest), "is not the digest of a token", fix)
    return digest


def _test_clock(clock: str) -> str:
    fix = "Write the clock's id, such as clock_1Mr3I22eZvKYlo2Ck0rgMqd7"
    require(_TEST_CLOCK.fullmatch(clock), "is not the id of a Stripe test clock", fix)
    return clock


def _database_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    parts, fix = _split(text), "Write those characters of the password encoded: @ as %40, / as %2F, : as %3A"
    # else parsers disagree on where the host begins, and one tells a password
    require("@" not in text.partition("://")[2].partition("@")[2], "holds more than one @", fix)
    known = parts.scheme and text.startswith(_DATABASE_SCHEMES) and text.isprintable() and text == text.strip()
    shape = "Write postgresql://user@host:5432/database; in a password, / ? # [ ] and white space encoded: / as %2F"
    require(known, "is not a Postgres URL", shape)
    require("@" not in parts.path, "holds an @ after its host", fix)
    return url


def is_loopback(host: str) -> bool:
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

JwksUrl = Annotated[str, AfterValidator(_jwks_url)]
"""Where an identity provider tells its keys (RFC 7517); plain http on loopback only."""

Origin = Annotated[str, AfterValidator(_origin)]
"""`scheme://host[:port]` of a website, in lower case; plain http on loopback only."""

TokenDigest = Annotated[str, AfterValidator(_token_digest)]
"""What `subkeeper token new` prints beside the token."""

TestClock = Annotated[str, AfterValidator(_test_clock)]
"""A Stripe test clock's id (https://docs.stripe.com/billing/testing/test-clocks)."""

PositiveSeconds = Annotated[float, Field(gt=0, le=86_400)]

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=64)]
"""A plan's name: lower case with single underscores, so that an environment variable can name it."""
