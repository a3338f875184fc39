"""The sections of the configuration, one model each, with every key's default and bounds, and the kinds of its values.

Durations are in seconds unless the key says otherwise; money is in minor currency units (cents).
`config.example.toml` lists every key with its default (a test compares the two).
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

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
_DATABASE_SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")


def _require(holds: object, problem: str, fix: str) -> None:
    if not holds:
        raise BadValueError(problem, fix)


def _nsq_name(name: str) -> str:
    forgets = "is ephemeral: nsqd forgets its messages when the last consumer leaves"
    _require(not name.endswith("#ephemeral"), forgets, "Take the name without #ephemeral")
    characters = "Use 1 to 64 of the characters a-z A-Z 0-9 . _ -"
    _require(_NSQ_NAME.fullmatch(name), "is not a name that nsqd accepts", characters)
    return name


def _address(address: str) -> str:
    parse_address(address)
    return address


def _http_address(address: str) -> str:
    secure = address.startswith("https://")
    _require(not secure, "is an https address, which nsqlookupd does not speak", "Write host:port")
    return _address(address.removeprefix("http://").rstrip("/"))


def _pointer(pointer: str) -> str:
    fix = 'Begin with /, write ~ as ~0 and / as ~1 inside a name: "/data/user/id"'
    _require(_POINTER.fullmatch(pointer), "is not a JSON pointer (RFC 6901)", fix)
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
    _require(is_url, "is not an http(s) URL", 'Write "https://api.stripe.com", or leave the key out')
    more = parts.username or parts.password or parts.path.strip("/") or parts.query or parts.fragment
    _require(not more, "has more than scheme, host and port", 'Write "https://host" or "https://host:port"')
    safe = parts.scheme == "https" or _is_loopback(parts.hostname or "")
    _require(safe, "would send the Stripe key over plain http", "Use https; plain http is for loopback hosts only")
    return url.rstrip("/")


def _database_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    parts, fix = _split(text), "Write those characters of the password encoded: @ as %40, / as %2F, : as %3A"
    # else parsers disagree on where the host begins, and one tells a password
    _require("@" not in text.partition("://")[2].partition("@")[2], "holds more than one @", fix)
    known = parts.scheme and text.startswith(_DATABASE_SCHEMES) and text.isprintable() and text == text.strip()
    shape = "Write postgresql://user@host:5432/database; in a password, / ? # [ ] and white space encoded: / as %2F"
    _require(known, "is not a Postgres URL", shape)
    _require("@" not in parts.path, "holds an @ after its host", fix)
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

PositiveSeconds = Annotated[float, Field(gt=0, le=86_400)]

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=64)]
"""A plan's name: lower case with single underscores, so that an environment variable can name it."""


class DatabaseSettings(Section):
    url: DatabaseUrl = SecretStr("postgresql://localhost/subkeeper")
    pool_size: Annotated[int, Field(ge=2, le=200)] = 20
    connect_timeout: PositiveSeconds = 5.0
    statement_timeout: PositiveSeconds = 10.0
    lock_timeout: PositiveSeconds = 5.0


class NsqTlsSettings(Section):
    enabled: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class NsqSettings(Section):
    """Brokers, names and flow. `nsqd_tcp_addresses` is empty by default where nsqlookupd is asked instead."""

    nsqd_tcp_addresses: tuple[Address, ...] = ("127.0.0.1:4150",)
    nsqd_http_addresses: tuple[HttpAddress, ...] = ()
    """For a channel's depth where nsqlookupd does not tell them, and the HTTP port is not the TCP port + 1."""
    lookupd_http_addresses: tuple[HttpAddress, ...] = ()
    lookupd_poll_interval: PositiveSeconds = 15.0
    lookupd_timeout: PositiveSeconds = 3.0
    profile_topic: Name = "profile_created"
    backfill_topic: Name = "profile_backfill"
    channel: Name = "subkeeper"
    max_in_flight: Annotated[int, Field(ge=1, le=100_000)] = 1000
    live_weight: Annotated[int, Field(ge=1, le=1000)] = 3
    backfill_weight: Annotated[int, Field(ge=1, le=1000)] = 1
    heartbeat_interval: Annotated[float, Field(ge=1, le=60)] = 30.0
    msg_timeout: Annotated[float, Field(ge=1, le=900)] = 20.0
    connect_timeout: PositiveSeconds = 5.0
    reconnect_max: PositiveSeconds = 5.0
    max_message_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024 + 1024
    auth_secret: SecretStr | None = None
    auth_secret_file: Path | None = None
    tls: NsqTlsSettings = NsqTlsSettings()

    @model_validator(mode="before")
    @classmethod
    def _lookupd_replaces_the_local_broker(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("lookupd_http_addresses") and "nsqd_tcp_addresses" not in given:
            return {**given, "nsqd_tcp_addresses": ()}
        return given

    @model_validator(mode="after")
    def _some_broker(self) -> NsqSettings:
        brokers = self.nsqd_tcp_addresses or self.lookupd_http_addresses
        _require(brokers, "names no broker", "Set nsq.nsqd_tcp_addresses or nsq.lookupd_http_addresses (or both)")
        apart = self.profile_topic != self.backfill_topic
        _require(apart, "has one topic for both lanes", "Give nsq.backfill_topic a name of its own")
        return self


class MessageSettings(Section):
    """Where the auth service's message keeps each field: JSON pointers (RFC 6901) into its (unwrapped) body."""

    id: Pointer = "/id"
    email: Pointer = "/email"
    name: Pointer = "/name"
    created_at: Pointer = "/created_at"


class PlanSettings(Section):
    """One plan, as Stripe's product and recurring price; the price is found by its lookup key."""

    name: Annotated[str, Field(min_length=1, max_length=250)]
    lookup_key: Annotated[str, Field(min_length=1, max_length=200)]
    currency: Annotated[str, Field(pattern=r"^[a-z]{3}$")] = "usd"
    unit_amount: Annotated[int, Field(ge=0, le=99_999_999)] = 0
    interval: Literal["day", "week", "month", "year"] = "month"


class TrialSettings(Section):
    days: Annotated[int, Field(ge=1, le=730)] = 31
    max_lag_hours: Annotated[float, Field(ge=0)] = 72.0
    missing_payment_method: Literal["pause", "cancel", "create_invoice"] = "pause"


class StripeSettings(Section):
    """`secret_key` is for the environment (`STRIPE_SECRET_KEY`) alone; without any key, billing is disabled."""

    livemode: bool = False
    api_base: ApiBase = "https://api.stripe.com"
    request_timeout: Annotated[float, Field(gt=0, le=80)] = 10.0
    billing_mode: Literal["flexible", "classic"] = "flexible"
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    endpoint_requests_per_second: Annotated[float, Field(gt=0)] | None = None
    share: Annotated[float, Field(gt=0, le=1)] = 0.8
    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None


class SettleSettings(Section):
    threads: Annotated[int, Field(ge=1, le=200)] = 16
    lease: Annotated[float, Field(ge=5, le=600)] = 20.0
    sweep_interval: PositiveSeconds = 1.0
    live_weight: Annotated[int, Field(ge=1)] = 80
    retry_weight: Annotated[int, Field(ge=1)] = 15
    backfill_weight: Annotated[int, Field(ge=1)] = 5


class AbsorbSettings(Section):
    batch: Annotated[int, Field(ge=1, le=10_000)] = 500


class QuarantineSettings(Section):
    expiry_days: Annotated[int, Field(ge=1, le=365)] = 30


class HealthSettings(Section):
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
