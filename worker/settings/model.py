"""All settings of one process, loaded and checked once, before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator

from worker.domain.trial import TrialLengths
from worker.errors import Misconfigured
from worker.settings import sections
from worker.settings.kinds import Section, Slug
from worker.settings.loading import SECRETS, Gathered, InvalidSettings, KeyPath, gather, keys_of, translated, variable
from worker.settings.secrets import (
    MIN_JWT_SECRET,
    Secret,
    check_stripe_key,
    masked_url,
    passwords_of,
    split_secret_keys,
    split_webhook_secrets,
)

LEASE_MARGIN = 5.0
"""Seconds that a lease keeps beyond one request: commits, clock steps, scheduling. Each step's commit renews it."""

WEBHOOK_SECRETS = ("stripe", "webhook_secrets")

COMMIT_GRACE = 5.0
"""Seconds beyond `database.statement_timeout` after which a Postgres that says nothing is given up: for its answer, and
for a commit whose flush to disk it cannot break off."""


class Settings(Section):
    """The whole configuration. `Settings()` holds the defaults; `Settings.load` is how a process gets its own."""

    namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "subkeeper"
    pending_plan: Slug = "pending"
    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None
    database: sections.DatabaseSettings = sections.DatabaseSettings()
    nsq: sections.NsqSettings = sections.NsqSettings()
    message: sections.MessageSettings = sections.MessageSettings()
    plans: dict[Slug, sections.PlanSettings] = Field(
        default_factory=lambda: {
            "pending": sections.PlanSettings(name="Pending", lookup_key="pending", admin_only=True)
        }
    )
    trial: sections.TrialSettings = sections.TrialSettings()
    stripe: sections.StripeSettings = sections.StripeSettings()
    settle: sections.SettleSettings = sections.SettleSettings()
    events: sections.EventsSettings = sections.EventsSettings()
    charging: sections.ChargingSettings = sections.ChargingSettings()
    absorb: sections.AbsorbSettings = sections.AbsorbSettings()
    changes: sections.ChangesSettings = sections.ChangesSettings()
    quarantine: sections.QuarantineSettings = sections.QuarantineSettings()
    health: sections.HealthSettings = sections.HealthSettings()
    web: sections.WebSettings = sections.WebSettings()
    api: sections.ApiSettings = sections.ApiSettings()
    log: sections.LogSettings = sections.LogSettings()

    _written: dict[KeyPath, str] = PrivateAttr(default_factory=dict)

    @field_validator("plans", mode="before")
    @classmethod
    def _complete_plans(cls, plans: Any, info: ValidationInfo) -> Any:
        """A plan is named, and its price looked up, by its key unless it says otherwise; the pending one, and one that
        is free, is for admins to give."""

        def complete(key: object, plan: dict[str, Any]) -> dict[str, Any]:
            is_free = str(plan.get("unit_amount", 0)) == "0"
            names = {"name": str(key).replace("_", " ").capitalize(), "lookup_key": key}
            return {**names, "admin_only": is_free or key == info.data.get("pending_plan"), **plan}

        if not isinstance(plans, dict):
            return plans
        return {key: complete(key, plan) if isinstance(plan, dict) else plan for key, plan in plans.items()}

    @classmethod
    def load(cls, path: Path | None, environ: Mapping[str, str]) -> Settings:
        """Settings from `path` (else `SUBKEEPER_CONFIG`, else defaults) with the environment over them.

        Raises `InvalidSettings`, a `Misconfigured` that holds every problem found.
        """
        keys = list(keys_of(cls))
        found = gather(path, environ, keys)
        try:
            settings = cls.model_validate(found.values, context=found)
            problems = [*found.problems, *_problems(settings)]
        except ValidationError as error:
            problems = [*found.problems, *translated(error, found.written, keys)]
        if problems:
            raise InvalidSettings(problems)
        return settings

    def model_post_init(self, context: Any) -> None:
        """Keep who wrote each key, for messages."""
        if isinstance(context, Gathered):
            self._written.update(context.written)

    def secret(self, path: KeyPath) -> Secret:
        """Where the secret at `path`, one of `SECRETS`, comes from."""
        table = getattr(self, path[0]) if path[1:] else self
        in_file = (*path[:-1], f"{path[-1]}_file")
        value, file = getattr(table, path[-1]), getattr(table, in_file[-1])
        return Secret(self.written(path if value or not file else in_file), value, file)

    def stripe_secret_key(self) -> str | None:
        """Stripe's key as it is now (a file is read again), or None: billing is disabled. Raises `Misconfigured`."""
        secret = self.secret(("stripe", "secret_key"))
        key = secret.read()
        if key is not None:
            check_stripe_key(secret.name, key, self.written(("stripe", "livemode")), livemode=self.stripe.livemode)
        return key

    def webhook_secrets(self) -> dict[str, str]:
        """The signing secrets of our webhook endpoints by the names that we gave them, as they are now (a file is read
        again); none: the webhook is disabled. Raises `Misconfigured`."""
        secret = self.secret(WEBHOOK_SECRETS)
        if secret.is_to_come:
            fix = f"`subkeeper setup --webhook URL --webhook-secret-file {secret.file}` writes it; or name another one"
            raise Misconfigured(secret.name, f"there is no file {secret.file}", fix)
        text = secret.read()
        return split_webhook_secrets(secret.name, text) if text is not None else {}

    @property
    def trial_lengths(self) -> TrialLengths:
        own = {name: timedelta(days=plan.trial_days) for name, plan in self.plans.items() if plan.trial_days}
        return TrialLengths(timedelta(days=self.trial.days), own)

    @property
    def has_secret_key(self) -> bool:
        """Whether there is anything to seal and sign with."""
        return bool(self.secret_key or self.secret_key_file)

    def secret_keys(self) -> list[str]:
        """The keys that seal and sign, newest first; at least one. Raises `Misconfigured` where there is none."""
        secret = self.secret(("secret_key",))
        text = secret.read()
        if text is None:
            fix = "Set it to 32 random characters or more (openssl rand -base64 48), or name a file in secret_key_file"
            raise Misconfigured(secret.name, "is not set", fix)
        return split_secret_keys(secret.name, text)

    def nsq_auth_secret(self) -> str | None:
        """What nsqd is told on AUTH, or None. Raises `Misconfigured`."""
        return self.secret(("nsq", "auth_secret")).read()

    def jwt_secret(self) -> str | None:
        """What JWTs are signed with where no JWKS URL is configured, or None. Raises `Misconfigured`."""
        secret = self.secret(("api", "jwt_secret"))
        text = secret.read()
        if text is not None and len(text.encode()) < MIN_JWT_SECRET:
            fix = f"Give at least {MIN_JWT_SECRET} random characters: openssl rand -base64 48"
            raise Misconfigured(secret.name, "is too short", fix)
        return text

    def secret_values(self) -> list[str]:
        """Every secret at hand, for the log to mask by value. Raises `Misconfigured` for a file that went away."""
        sealing = self.secret_keys() if self.has_secret_key else []
        passwords = passwords_of(self.database.url.get_secret_value())
        webhook = [] if self.secret(WEBHOOK_SECRETS).is_to_come else self.webhook_secrets().values()
        secrets = (self.stripe_secret_key(), self.nsq_auth_secret(), self.jwt_secret(), *passwords, *sealing, *webhook)
        return [secret for secret in secrets if secret]

    def effective(self) -> dict[str, Any]:
        """Every key with its value as JSON knows it; of a secret only whether it is set, and where.

        A key without a value is None. Of `database.url`, only the password is masked.
        """
        values = self.model_dump(mode="json")
        values["database"]["url"] = masked_url(self.database.url.get_secret_value())
        for path in SECRETS:
            table = values[path[0]] if path[1:] else values
            table[path[-1]] = str(self.secret(path))
        return values

    def written(self, path: KeyPath) -> str:
        """A key as the user wrote it: an environment variable's name, else `section.key`; a secret's variable."""
        return self._written.get(path) or (variable(path) if path in SECRETS else ".".join(path))


def _problems(settings: Settings) -> Iterator[Misconfigured]:
    """What no single section can see."""
    written = settings.written
    least, timeout = settings.stripe.request_timeout + LEASE_MARGIN, written(("stripe", "request_timeout"))
    if settings.settle.lease < least:
        fix = f"Make it {least:g} or more ({timeout} and {LEASE_MARGIN:g} more), or shorten {timeout}"
        yield Misconfigured(written(("settle", "lease")), "is too short for a request", fix)
    # nsqd hangs up on a client that it hasn't heard for two heartbeats; while a batch is committed nobody answers one,
    # and the last answer may be a heartbeat old
    least, timeout = settings.database.statement_timeout + COMMIT_GRACE, written(("database", "statement_timeout"))
    if settings.nsq.heartbeat_interval <= least:
        fix = f"Make it more than {least:g} ({timeout} and {COMMIT_GRACE:g} more), or shorten {timeout}"
        problem = "is shorter than a commit may take, and nsqd would hang up meanwhile"
        yield Misconfigured(written(("nsq", "heartbeat_interval")), problem, fix)
    most = settings.trial.days * 24  # a profile that is nearly so old would have its trial's end in the past
    if settings.trial.max_lag_hours > most:
        fix = f"Make it {most} or less ({written(('trial', 'days'))} in hours)"
        yield Misconfigured(written(("trial", "max_lag_hours")), "is longer than the trial", fix)
    yield from _plan_problems(settings)
    yield from _secret_problems(settings)


def _plan_problems(settings: Settings) -> Iterator[Misconfigured]:
    if settings.pending_plan not in settings.plans:
        fix = f"Add a table [plans.{settings.pending_plan}], or name one of: {', '.join(sorted(settings.plans))}"
        yield Misconfigured(settings.written(("pending_plan",)), "names no plan", fix)
    if len({plan.lookup_key for plan in settings.plans.values()}) < len(settings.plans):
        yield Misconfigured("plans", "has one lookup_key twice", "Give each plan a lookup_key of its own")
    pending = settings.plans.get(settings.pending_plan)
    if pending is None:
        return
    if pending.trial_days is not None:
        fix = f"Leave it out, and set {settings.written(('trial', 'days'))}"
        problem = "is said by trial.days for the plan that profiles begin with"
        yield Misconfigured(settings.written(("plans", settings.pending_plan, "trial_days")), problem, fix)
    if not pending.admin_only:
        fix = "Set it to true, or leave it out"
        problem = "would let users go back to the plan that profiles begin with"
        yield Misconfigured(settings.written(("plans", settings.pending_plan, "admin_only")), problem, fix)
    for name, plan in settings.plans.items():
        if plan.currency != pending.currency:  # a customer of Stripe's has one currency for good
            fix = f"Give it a price in {pending.currency}, or all plans prices in one other currency"
            problem = f"is not the currency of {settings.pending_plan}, in which customers begin"
            yield Misconfigured(settings.written(("plans", name, "currency")), problem, fix)


def _secret_problems(settings: Settings) -> Iterator[Misconfigured]:
    reads: list[Callable[[], object]] = [
        settings.stripe_secret_key,
        settings.nsq_auth_secret,
        settings.jwt_secret,
        # Of a file that isn't there the web process says so: `setup` may be about to write it.
        *([settings.webhook_secrets] if not settings.secret(WEBHOOK_SECRETS).is_to_come else []),
        *([settings.secret_keys] if settings.has_secret_key else []),  # who seals nothing runs without
    ]
    for read in reads:
        try:
            read()
        except Misconfigured as problem:
            yield problem
