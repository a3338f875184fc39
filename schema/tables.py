"""Every table, as SQLAlchemy Core metadata (docs/design.md, *Tables*).

Only Stripe's identifiers and states; nothing personal unsealed. Times are `timestamptz`. Migrations are written by
hand in `schema/migrations/`; `subkeeper db check` and a test hold the two to each other.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from schema.counts import COUNTING
from schema.partitions import MAINTAIN_EVENT_PARTITIONS

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "ix": "%(table_name)s_%(column_0_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

_Time = DateTime(timezone=True)
_now = text("now()")

deployment = Table(
    "deployment",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    Column("stripe_account_id", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("created_at", _Time, nullable=False, server_default=_now),
    # Written at Stripe by `setup`: two databases on one account and namespace would adopt each other's users.
    Column("database_id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    CheckConstraint("singleton", name="single_row"),
    comment="The one Stripe account, mode and namespace that this database belongs to",
)

schema_revisions = Table(
    "schema_revisions",
    metadata,
    Column("revision", Text, primary_key=True),
    Column("additive", Boolean, nullable=False),
    Column("applied_at", _Time, nullable=False, server_default=_now),
    comment="Which migrations are here, and whether a process that does not know one can work beside it",
)

processes = Table(
    "processes",
    metadata,
    # Drawn by the process: of a restored database's, none is taken for another.
    Column("id", Uuid, primary_key=True),
    Column("expires_at", _Time, nullable=False),
    # Requests per second to Stripe: what it may send at most, what it would like to, and what all may by its settings.
    Column("rate", Double, nullable=False),
    Column("demand", Double, nullable=False),
    Column("total", Double, nullable=False),
    # After its end, something that it sent may reach Stripe for so long.
    Column("longest_request", Interval, nullable=False),
    comment="The processes that live, and what each may send to Stripe",
)

billing_customers = Table(
    "billing_customers",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("stripe_customer_id", Text, nullable=False, unique=True),
    Column("created_at", _Time, nullable=False, server_default=_now),
    Column("deleted_at", _Time),
    # `invoice_settings.default_payment_method`, and when at Stripe that was so. `default_seen_from` is NULL while it is
    # in doubt: then only what was so after `default_seen_to` is sure. Both are NULL where nothing was ever heard.
    Column("default_payment_method", Text),
    Column("default_seen_from", _Time),
    Column("default_seen_to", _Time),
    Index("billing_customers_user_id_key", "user_id", unique=True, postgresql_where=text("deleted_at IS NULL")),
    Index("billing_customers_user_id_idx", "user_id"),
)

billing_owners = Table(
    "billing_owners",
    metadata,
    Column("billing_customer_id", BigInteger, ForeignKey("billing_customers.id", ondelete="CASCADE"), primary_key=True),
    Column("owner_kind", Text, primary_key=True),
    Column("owner_id", Text, primary_key=True),
    # NULL: the customer's own user, who owns it no more. Without a row that one is its payer.
    Column("role", Text),
    Column("created_at", _Time, nullable=False, server_default=_now),
    CheckConstraint("owner_kind IN ('user', 'project')", name="kind"),
    CheckConstraint("role IN ('payer', 'member')", name="role"),
    Index("billing_owners_owner_idx", "owner_id", "owner_kind", "billing_customer_id"),
    comment="Who owns a customer, where that isn't its own user alone",
)

billing_subscriptions = Table(
    "billing_subscriptions",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column(
        "billing_customer_id",
        BigInteger,
        ForeignKey("billing_customers.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("stripe_subscription_id", Text, nullable=False, unique=True),
    Column("plan", Text, nullable=False),
    Column("stripe_subscription_status", Text, nullable=False),
    Column("canceling", Boolean, nullable=False),
    Column("trial_start", _Time),
    Column("trial_end", _Time),
    Column("period_start", _Time),
    Column("period_end", _Time),
    Column("canceled_at", _Time),
    Column("ended_at", _Time),
    Column("failed_charge_attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_failed_charge", _Time),
    Column("charge_invoice", Text),
    Column("charge_invoice_created", _Time),
    Column("charge_invoice_paid", Boolean),
    Column("last_notified", _Time),
    Column("seen_from", _Time, nullable=False),
    Column("seen_to", _Time, nullable=False),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    Column("created_at", _Time, nullable=False, server_default=_now),
    Column("updated_at", _Time, nullable=False, server_default=_now),
    # Which trials' ends were told of, as cause@time.
    Column("notices", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # When Stripe made it: of several that could be the user's, the earliest is. NULL: before this was kept.
    Column("stripe_created", _Time),
    # The subscription's own, and its customer's beside it: whoever has the row locked knows both.
    Column("default_payment_method", Text),
    Column("customer_default_payment_method", Text),
    # Whose it is, one of the two at most. Both NULL: the customer's own user's.
    Column("owner_user_id", Text),
    Column("owner_project_id", Text),
    Index(
        "billing_subscriptions_owner_user_id_idx", "owner_user_id", postgresql_where=text("owner_user_id IS NOT NULL")
    ),
    Index(
        "billing_subscriptions_owner_project_id_idx",
        "owner_project_id",
        "id",
        postgresql_where=text("owner_project_id IS NOT NULL"),
    ),
    # Lists of one plan, one status or both, a page at a time (`worker.store.subscription_list`).
    Index("billing_subscriptions_kind_idx", "plan", "stripe_subscription_status", "id"),
)

subscription_counts = Table(
    "subscription_counts",
    metadata,
    Column("plan", Text, nullable=False),
    Column("stripe_subscription_status", Text, nullable=False),
    Column("canceling", Boolean, nullable=False),
    # In UTC, of those on trial.
    Column("trial_end_day", Date),
    # More, or fewer.
    Column("subscriptions", BigInteger, nullable=False),
    comment="What each statement did to the numbers of subscriptions, folded now and then: their sum counts",
)
for statement in COUNTING:
    event.listen(billing_subscriptions, "after_create", DDL(statement))  # type: ignore[no-untyped-call]

subscription_refreshes = Table(
    "subscription_refreshes",
    metadata,
    Column("stripe_subscription_id", Text, primary_key=True),
    Column("wanted", BigInteger, nullable=False, server_default=text("1")),
    Column("due_at", _Time, nullable=False, server_default=_now, index=True),
    Column("lease_token", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_until", _Time),
    Column("marked_at", _Time, nullable=False, server_default=_now),
    # How often the row was heard to be right since: an answer that was asked for before may be older than that.
    Column("confirmed", BigInteger, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    # When Stripe first said that it has no such subscription; and when a later answer confirmed it.
    Column("missing_since", _Time),
    Column("set_aside_at", _Time),
)

subscription_changes = Table(
    "subscription_changes",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    # NULL: a project's.
    Column("user_id", Text),
    Column("stripe_subscription_id", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("before", JSONB),
    # NULL: the row was removed; the change has its last version.
    Column("after", JSONB),
    Column("cause", Text, nullable=False),
    Column("created_at", _Time, nullable=False, server_default=_now),
    # When nsqd had it; and when nsqd last refused it for its size.
    Column("sent_at", _Time),
    Column("refused_at", _Time),
    Column("project_id", Text),
    Index("subscription_changes_unsent_idx", "id", postgresql_where=text("sent_at IS NULL")),
    comment="The outbox: every change of a subscription, written in the change's own transaction",
)

subscription_tombstones = Table(
    "subscription_tombstones",
    metadata,
    Column("stripe_subscription_id", Text, primary_key=True),
    # NULL: a project's.
    Column("user_id", Text),
    # The last one that the row had.
    Column("version", BigInteger, nullable=False),
    Column("removed_at", _Time, nullable=False, server_default=_now),
    comment="Subscriptions that were removed here: nothing that Stripe says of them is taken in again",
)

account_changes = Table(
    "account_changes",
    metadata,
    Column("id", Uuid, primary_key=True),
    # A user's changes are made in this order.
    Column("seq", BigInteger, Identity(), nullable=False),
    Column("kind", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("idempotency_key", Text),
    # A fingerprint under our key of what was asked for: an email that is in it can't be guessed and tried.
    Column("digest", LargeBinary, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("steps", ARRAY(Text), nullable=False),
    # How many of them hold.
    Column("done", Integer, nullable=False, server_default=text("0")),
    # All that was asked for but what is personal: the email, or what is to be on the bills, erased once it is Stripe's.
    Column("wanted", JSONB, nullable=False),
    Column("sealed_email", LargeBinary),
    # The state of the subscription that the change is meant for. NULL: any.
    Column("etag", Text),
    Column("stripe_subscription_id", Text),
    Column("stripe_customer_id", Text),
    # Of the step that comes next: what every attempt sends, the generation of its key, and when it was first sent.
    Column("request", JSONB),
    Column("generation", Integer, nullable=False, server_default=text("1")),
    Column("asked_at", _Time),
    Column("due_at", _Time, nullable=False, server_default=_now),
    Column("lease_token", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_until", _Time),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    Column("result", JSONB),
    Column("created_at", _Time, nullable=False, server_default=_now),
    Column("ended_at", _Time),
    CheckConstraint(
        "kind IN ('create', 'update', 'delete', 'checkout', 'completion', 'portal', 'detachment', 'details', 'erase')",
        name="kind",
    ),
    CheckConstraint("state IN ('pending', 'applied', 'failed')", name="state"),
    CheckConstraint(
        "(state = 'pending') = (ended_at IS NULL) AND (state = 'pending' OR sealed_email IS NULL)", name="ended"
    ),
    Index("account_changes_due_idx", "due_at", postgresql_where=text("state = 'pending'")),
    Index("account_changes_pending_idx", "user_id", "seq", postgresql_where=text("state = 'pending'")),
    Index(
        "account_changes_key",
        "caller",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    Index("account_changes_ended_idx", "ended_at"),
    Index("account_changes_user_id_idx", "user_id"),
    comment="What users and admins ask of subscriptions: a row first, and then the work",
)

checkouts = Table(
    "checkouts",
    metadata,
    # The change (`account_changes`) that opens it has the same.
    Column("id", Uuid, primary_key=True),
    # Of two that are complete, the later one wins.
    Column("seq", BigInteger, Identity(), nullable=False),
    Column("user_id", Text, nullable=False),
    # NULL: it only collects a card.
    Column("plan", Text),
    Column("mode", Text),
    Column("stripe_session_id", Text, unique=True),
    Column("state", Text, nullable=False, server_default=text("'opening'")),
    # Why it failed.
    Column("code", Text),
    Column("created_at", _Time, nullable=False, server_default=_now),
    Column("ended_at", _Time),
    CheckConstraint("mode IN ('setup', 'subscription')", name="mode"),
    CheckConstraint(
        "state IN ('opening', 'open', 'complete', 'applying', 'applied', 'failed', 'expired')", name="state"
    ),
    CheckConstraint("(state IN ('applied', 'failed', 'expired')) = (ended_at IS NOT NULL)", name="ended"),
    Index("checkouts_open_key", "user_id", unique=True, postgresql_where=text("state = 'open'")),
    Index("checkouts_complete_idx", "seq", postgresql_where=text("state = 'complete'")),
    Index("checkouts_user_id_idx", "user_id", "seq"),
    Index("checkouts_ended_idx", "ended_at"),
    comment="Pages of Checkout's that users were sent to, and what came of them",
)

payment_methods = Table(
    "payment_methods",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column(
        "billing_customer_id",
        BigInteger,
        ForeignKey("billing_customers.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("stripe_payment_method_id", Text, nullable=False, unique=True),
    # NULL: detached, which is for ever: no late event brings it back.
    Column("priority", Integer),
    # At Stripe that was so then.
    Column("as_of", _Time, nullable=False, server_default=_now),
    UniqueConstraint("billing_customer_id", "priority", deferrable=True, initially="DEFERRED"),
)

failing_invoices = Table(
    "failing_invoices",
    metadata,
    Column("stripe_invoice_id", Text, primary_key=True),
    Column("wanted", BigInteger, nullable=False, server_default=text("1")),
    Column("marked_at", _Time, nullable=False, server_default=_now),
    Column("due_at", _Time, nullable=False, server_default=_now, index=True),
    Column("lease_token", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_until", _Time),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    comment="Invoices whose payment failed: marked by events, looked at by leased work",
)

charge_tries = Table(
    "charge_tries",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("stripe_invoice_id", Text, nullable=False),
    # Stripe's, of the invoice: each of its own attempts begins a new round through the cards.
    Column("attempt_count", Integer, nullable=False),
    Column("stripe_payment_method_id", Text, nullable=False),
    Column("stripe_customer_id", Text, nullable=False, index=True),
    # NULL: a release of before 0016 has begun it.
    Column("stripe_subscription_id", Text),
    # Whether we tried it; else it was declined before we came, by Stripe's own attempt or anybody's.
    Column("is_ours", Boolean, nullable=False),
    # Of the key, and when it was first sent under that.
    Column("generation", Integer, nullable=False, server_default=text("1")),
    Column("asked_at", _Time, nullable=False, server_default=_now),
    # NULL: there is no answer yet. Beside it Stripe's code.
    Column("outcome", Text),
    Column("code", Text),
    Column("created_at", _Time, nullable=False, server_default=_now),
    Column("ended_at", _Time),
    UniqueConstraint("stripe_invoice_id", "attempt_count", "stripe_payment_method_id"),
    CheckConstraint("outcome IN ('paid', 'pending', 'declined', 'refused', 'overtaken')", name="outcome"),
    CheckConstraint("(outcome IS NULL) = (ended_at IS NULL) AND (is_ours OR ended_at IS NOT NULL)", name="ended"),
    Index("charge_tries_unresolved_key", "stripe_invoice_id", unique=True, postgresql_where=text("outcome IS NULL")),
    comment="Which payment method an invoice was tried with, by us and, where we saw it, by others",
)

provisionings = Table(
    "provisionings",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("generation", Integer, nullable=False, server_default=text("1")),
    Column("plan", Text, nullable=False),
    Column("trial_end", _Time, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("look_first", Boolean, nullable=False, server_default=text("false")),
    Column("customer_request", LargeBinary),
    Column("subscription_request", Text),
    Column("due_at", _Time, nullable=False, server_default=_now),
    Column("lease_token", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_until", _Time),
    Column("last_error", Text),
    Column("stripe_customer_id", Text),
    Column("stripe_subscription_id", Text),
    Column("first_seen_at", _Time, nullable=False, server_default=_now),
    Column("customer_requested_at", _Time),
    Column("customer_last_requested_at", _Time),
    Column("subscription_requested_at", _Time),
    Column("subscription_last_requested_at", _Time),
    Column("quarantined_at", _Time),
    Column("completed_at", _Time),
    # The earliest time at which anybody could have used one of the row's keys, in any database: the earlier of the
    # profile's creation and our first sight of it. NULL: not known.
    Column("key_possible_since", _Time),
    # What was refused of this row, and since when, while it is in doubt whether the row or everybody is at fault; and
    # whether another row has passed since then: refused again, it is this row.
    Column("refusal", Text),
    Column("refused_at", _Time),
    Column("others_passed", Boolean, nullable=False, server_default=text("false")),
    Column("erased_at", _Time),
    CheckConstraint(
        "state IN ('pending', 'customer_created', 'completed', 'quarantined', 'erasing', 'erased')", name="state"
    ),
    CheckConstraint(
        "state <> 'completed' OR (stripe_subscription_id IS NOT NULL AND customer_request IS NULL)", name="completed"
    ),
    # The one index a sweep reads: unfinished rows by lane and due time, so that its size is the work that is left.
    Index(
        "provisionings_due_idx",
        "lane",
        "due_at",
        postgresql_where=text("state IN ('pending', 'customer_created')"),
    ),
    Index(
        "provisionings_stripe_subscription_id_key",
        "stripe_subscription_id",
        unique=True,
        postgresql_where=text("stripe_subscription_id IS NOT NULL"),
    ),
    Index("provisionings_refused_idx", "user_id", postgresql_where=text("refusal IS NOT NULL")),
    Index("provisionings_quarantined_idx", "quarantined_at", postgresql_where=text("state = 'quarantined'")),
    comment="The ledger: one row a user, for ever, so that a replay months later changes nothing",
)

processed_stripe_events = Table(
    "processed_stripe_events",
    metadata,
    # An event's `created` never changes, so it may be part of the key that its partition is chosen by.
    Column("stripe_event_id", Text, primary_key=True),
    Column("created", _Time, primary_key=True),
    Column("type", Text, nullable=False),
    Column("object_id", Text),
    Column("source", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("processed_at", _Time, nullable=False, server_default=_now),
    postgresql_partition_by="RANGE (created)",
    comment="The events that were heard, and what became of each: nothing is taken in twice",
)
event.listen(processed_stripe_events, "after_create", DDL(MAINTAIN_EVENT_PARTITIONS))  # type: ignore[no-untyped-call]

unmatched_subscriptions = Table(
    "unmatched_subscriptions",
    metadata,
    Column("stripe_subscription_id", Text, primary_key=True),
    Column("stripe_customer_id", Text, nullable=False, index=True),
    Column("recorded_at", _Time, nullable=False, server_default=_now),
    comment="Subscriptions of customers that are nobody's we know: fetched once their customer appears",
)

stripe_event_cursor = Table(
    "stripe_event_cursor",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    Column("created", _Time, nullable=False),
    Column("lease_token", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_until", _Time),
    # By the database's clock: all that Stripe had by then was processed; no poll before; of which time events could not
    # be had any more.
    Column("caught_up_at", _Time),
    Column("poll_at", _Time),
    Column("gap_from", _Time),
    Column("gap_to", _Time),
    CheckConstraint("singleton", name="single_row"),
)

stripe_reads = Table(
    "stripe_reads",
    metadata,
    Column("month", Date, primary_key=True),
    Column("purpose", Text, primary_key=True),
    Column("reads", BigInteger, nullable=False),
    comment="Reads of Stripe's monthly allotment (UTC months), by what for",
)

quarantined_messages = Table(
    "quarantined_messages",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("nsq_message_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("sealed_body", LargeBinary, nullable=False),
    Column("body_digest", LargeBinary, nullable=False),
    Column("published_at", _Time, nullable=False),
    Column("quarantined_at", _Time, nullable=False, server_default=_now),
    Column("expires_at", _Time, nullable=False, index=True),
    # A poisoned message that is delivered again is the same row, not another one.
    UniqueConstraint("topic", "body_digest"),
)
