"""The sections of the configuration, one model each, with every key's default and bounds.

Durations are in seconds unless the key says otherwise; money is in minor currency units (cents).
`config.example.toml` lists every key with its default (a test compares the two).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator

from worker.settings.kinds import (
    Address,
    ApiBase,
    DatabaseUrl,
    HttpAddress,
    JwksUrl,
    Name,
    Origin,
    Pointer,
    PositiveSeconds,
    Section,
    TestClock,
    TokenDigest,
    require,
)


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
    events_topic: Name = "stripe_events"
    changes_topic: Name = "subscription_changed"
    channel: Name = "subkeeper"
    max_in_flight: Annotated[int, Field(ge=1, le=100_000)] = 2000
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
        require(brokers, "names no broker", "Set nsq.nsqd_tcp_addresses or nsq.lookupd_http_addresses (or both)")
        apart = self.profile_topic != self.backfill_topic
        require(apart, "has one topic for both lanes", "Give nsq.backfill_topic a name of its own")
        events = self.events_topic not in {self.profile_topic, self.backfill_topic}
        require(events, "has one topic for events and profiles", "Give nsq.events_topic a name of its own")
        changes = self.changes_topic not in {self.profile_topic, self.backfill_topic, self.events_topic}
        require(changes, "would read what it publishes", "Give nsq.changes_topic a name of its own")
        return self


class MessageSettings(Section):
    """Where the auth service's message keeps each field: JSON pointers (RFC 6901) into its (unwrapped) body."""

    id: Pointer = "/id"
    email: Pointer = "/email"
    name: Pointer = "/name"
    created_at: Pointer = "/created_at"


MAX_TRIAL_DAYS = 730
"""Stripe's limit (https://docs.stripe.com/api/subscriptions/create#create_subscription-trial_end)."""


class PlanSettings(Section):
    """One plan, as Stripe's product and recurring price; the price is found by its lookup key."""

    name: Annotated[str, Field(min_length=1, max_length=250)]
    lookup_key: Annotated[str, Field(min_length=1, max_length=200)]
    currency: Annotated[str, Field(pattern=r"^[a-z]{3}$")] = "usd"
    unit_amount: Annotated[int, Field(ge=0, le=99_999_999)] = 0
    interval: Literal["day", "week", "month", "year"] = "month"
    admin_only: bool = False
    trial_days: Annotated[int, Field(ge=1, le=MAX_TRIAL_DAYS)] | None = None


class TrialSettings(Section):
    days: Annotated[int, Field(ge=1, le=MAX_TRIAL_DAYS)] = 31
    max_lag_hours: Annotated[float, Field(ge=0)] = 72.0
    missing_payment_method: Literal["pause", "cancel", "create_invoice"] = "pause"


class StripeSettings(Section):
    """`secret_key` is for the environment (`STRIPE_SECRET_KEY`) alone; without any key, billing is disabled. So is
    `webhook_secrets` (`STRIPE_WEBHOOK_SECRETS`), without which the webhook is."""

    livemode: bool = False
    test_clock: TestClock | None = None
    api_base: ApiBase = "https://api.stripe.com"
    request_timeout: Annotated[float, Field(gt=0, le=80)] = 10.0
    billing_mode: Literal["flexible", "classic"] = "flexible"
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    endpoint_requests_per_second: Annotated[float, Field(gt=0)] | None = None
    share: Annotated[float, Field(gt=0, le=1)] = 0.8
    monthly_reads: Annotated[int, Field(ge=1000)] = 10_000
    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None
    webhook_secrets: SecretStr | None = None
    webhook_secrets_file: Path | None = None

    @model_validator(mode="after")
    def _clocks_are_for_tests(self) -> StripeSettings:
        fix = "Leave stripe.test_clock out where money moves: Stripe has test clocks in test mode alone"
        require(not (self.livemode and self.test_clock), "has a test clock in live mode", fix)
        return self


class SettleSettings(Section):
    threads: Annotated[int, Field(ge=1, le=200)] = 16
    lease: Annotated[float, Field(ge=5, le=600)] = 20.0
    sweep_interval: PositiveSeconds = 1.0
    live_weight: Annotated[int, Field(ge=1)] = 80
    retry_weight: Annotated[int, Field(ge=1)] = 15
    backfill_weight: Annotated[int, Field(ge=1)] = 5


class EventsSettings(Section):
    refresh_threads: Annotated[int, Field(ge=1, le=50)] = 4


class ChargingSettings(Section):
    in_order: bool = False


class AbsorbSettings(Section):
    batch: Annotated[int, Field(ge=1, le=10_000)] = 500


class ChangesSettings(Section):
    kept_days: Annotated[int, Field(ge=1, le=3650)] = 30


class QuarantineSettings(Section):
    expiry_days: Annotated[int, Field(ge=1, le=365)] = 30


class HealthSettings(Section):
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464


class WebSettings(Section):
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    max_connections: Annotated[int, Field(ge=10, le=100_000)] = 500
    max_body_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    max_bytes_in_hand: Annotated[int, Field(ge=1024, le=16 * 1024 * 1024 * 1024)] = 32 * 1024 * 1024
    receive_timeout: Annotated[float, Field(gt=0, le=600)] = 10.0
    publish_timeout: Annotated[float, Field(ge=0.1, le=14)] = 5.0
    signature_tolerance: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    ops: Literal["auto", "loopback", "token", "off"] = "auto"


class ApiSettings(Section):
    """Who may call the API; nobody by default, so that it is off. `jwt_secret` is for the environment or a file."""

    admin_tokens: tuple[TokenDigest, ...] = ()
    jwt_issuer: Annotated[str, Field(min_length=1)] | None = None
    jwt_audience: Annotated[str, Field(min_length=1)] | None = None
    jwks_url: JwksUrl | None = None
    jwt_secret: SecretStr | None = None
    jwt_secret_file: Path | None = None
    proration_behavior: Literal["create_prorations", "always_invoice", "none"] = "create_prorations"
    return_origins: tuple[Origin, ...] = ()

    @property
    def has_secret(self) -> bool:
        return self.jwt_secret is not None or self.jwt_secret_file is not None

    @property
    def takes_jwts(self) -> bool:
        return self.jwks_url is not None or self.has_secret

    @property
    def is_on(self) -> bool:
        return self.takes_jwts or bool(self.admin_tokens)

    @property
    def opens_pages(self) -> bool:
        """Whether users can be sent to pages of Stripe's: they must lead back somewhere."""
        return self.is_on and bool(self.return_origins)

    @model_validator(mode="after")
    def _whole(self) -> ApiSettings:
        both = self.jwks_url is not None and self.has_secret
        require(not both, "has keys from two places", "Give api.jwks_url or a secret: a token must not choose")
        named = self.jwt_issuer is not None and self.jwt_audience is not None
        fix = "Give api.jwt_issuer and api.jwt_audience: whose tokens, and for whom"
        require(named or not self.takes_jwts, "would take tokens that others were given", fix)
        half = (self.jwt_issuer is not None or self.jwt_audience is not None) and not self.takes_jwts
        fix = "Give api.jwks_url, or SUBKEEPER_API__JWT_SECRET (or a file of it)"
        require(not half, "has nothing to verify tokens by", fix)
        return self


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
