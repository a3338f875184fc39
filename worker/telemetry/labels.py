"""The values that labels can take: closed lists, so that every series is there, at 0, from the first moment.

A series that only appears with its first event hides that event from `increase`. A test holds these lists to the code.
"""

from __future__ import annotations

MESSAGE_OUTCOMES = ("new", "known", "quarantined", "requeued", "erased")
"""`erased`: of a user who was erased, or is being so: nothing is taken in."""

SETTLE_OUTCOMES = (
    "completed", "adopted", "postponed", "refused", "quarantined", "lease_lost", "given_back", "halted", "crashed",
    "unrecorded",
)  # fmt: skip
"""`unrecorded`: Postgres was away, so that the lease runs out."""

QUARANTINE_REASONS = (
    # A message (`worker.domain.profile`); the first three fields are texts of a bounded length, `created_at` is a time.
    "not_utf8", "not_json", "nested_too_deep", "not_an_object", "duplicate_key", "not_a_json_number", "number_too_long",
    "number_too_large", "cloudevent_version", "cloudevent_data", "id_missing", "created_at_invalid",
    "id_not_text", "email_not_text", "name_not_text", "created_at_not_text",
    "id_too_long", "email_too_long", "name_too_long", "created_at_too_long",
    "id_unstorable", "email_unstorable", "name_unstorable", "created_at_unstorable",
    "unstorable",
    # An event of Stripe's (`worker.events.envelope`).
    "envelope_forged", "envelope_key_unknown", "envelope_malformed", "event_malformed", "event_type_unknown",
    "event_unforeseen",
    # A profile.
    "profile_sealed", "stripe_refused", "stripe_refused_email", "stripe_refused_name", "stripe_answer_incomplete",
    "customer_gone", "object_of_another_user", "plan_unusable", "trial_refused",
)  # fmt: skip

EVENT_OUTCOMES = (
    "applied", "confirmed", "stale", "refreshing", "recorded", "unmatched", "conflicting", "tombstoned", "wrong_mode",
    "quarantined", "out_of_range", "duplicate", "waiting",
)  # fmt: skip
"""`worker.events.absorption`; the first ten are kept in `processed_stripe_events`."""

REFRESH_OUTCOMES = (
    "changed", "unchanged", "adopted", "overtaken", "unmatched", "tombstoned", "waiting", "missing", "refused",
    "postponed", "lease_lost", "given_back", "halted", "crashed", "unrecorded",
)  # fmt: skip

CHARGE_OUTCOMES = (
    "paid", "pending", "declined", "refused", "overtaken", "left", "waiting", "postponed", "lease_lost", "given_back",
    "halted", "crashed", "unrecorded",
)  # fmt: skip
"""Of a look at an invoice: the first five are what its try has come to (`worker.domain.charging`)."""

ACCOUNT_CHANGE_OUTCOMES = (
    "applied",
    "failed",
    "postponed",
    "lease_lost",
    "given_back",
    "halted",
    "crashed",
    "unrecorded",
)

STRIPE_OPERATIONS = (
    "account.retrieve", "billing_portal.configurations.create", "billing_portal.configurations.list",
    "billing_portal.configurations.update", "billing_portal.sessions.create",
    "checkout.sessions.create", "checkout.sessions.expire", "checkout.sessions.retrieve",
    "customers.create", "customers.delete", "customers.list", "customers.retrieve", "customers.search",
    "customers.update",
    "events.list", "events.retrieve", "invoices.pay", "invoices.retrieve",
    "payment_methods.attach",
    "payment_methods.detach", "payment_methods.list", "payment_methods.retrieve",
    "prices.create", "prices.list", "products.create", "products.list", "products.update",
    "subscriptions.cancel", "subscriptions.create", "subscriptions.list", "subscriptions.resume",
    "subscriptions.retrieve", "subscriptions.update", "tax_ids.create", "tax_ids.delete", "tax_ids.list",
    "test_clocks.retrieve",
    "webhook_endpoints.create", "webhook_endpoints.delete", "webhook_endpoints.list", "webhook_endpoints.update",
)  # fmt: skip

STRIPE_OUTCOMES = (
    "ok", "key_burnt", "trial_passed", "field_refused", "customer_gone", "refused", "throttled", "key_in_use",
    "cursor_gone", "unclear", "unauthorized", "shared_refusal",
)  # fmt: skip

POLLED_OUTCOMES = ("published", "published_again", "refused")

DISCONNECT_REASONS = (
    "bad_frame", "closed", "closed_by_peer", "refused", "silent", "socket_error", "timeout", "tls_failed", "unexpected",
    "unreachable",
)  # fmt: skip
"""`worker.broker.protocol.Broken.reason`."""

WEBHOOK_OUTCOMES = (
    "published", "connect", "type_unknown",
    "signature_missing", "signature_malformed", "signature_too_old", "signature_too_new", "signature_wrong",
    "wrong_mode", "malformed", "too_large", "compressed", "unavailable", "crowded", "disabled",
)  # fmt: skip
"""What came of a delivery: answered 200 (the first line), refused, or to be sent again (the last three)."""
