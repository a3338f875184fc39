"""Every log event and the fields it may carry. A field that is not listed here is masked when it is logged.

Names are `noun.verb_past`. `error` (see `worker.telemetry.errors`), `timestamp` (UTC, ISO 8601) and `level` may stand
on any event. No field holds personal data: people are named by `user_id`, never by email or name.
A test compares this list with the calls in the code, in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping

EVENTS: Mapping[str, tuple[str, ...]] = {
    # A library logged a warning or worse; `template` is its unformatted text, `where` the line that logged it. The same
    # again is logged a minute later at the earliest: `left_out` says how many were not.
    "library.logged": ("logger", "where", "template", "left_out"),
    # An exception reached the top of the process or of a thread.
    "process.crashed": (),
    "thread.crashed": ("thread",),
    # A thread that has work has made no progress for so long; `at`: where it is, innermost last.
    "thread.stalled": ("thread", "seconds", "at"),
    # A bug in one request to an HTTP port.
    "request.crashed": ("path",),
    # A bug in what follows nsqd's answer to one publication of the web process.
    "publication.crashed": (),
    # A request to the API. `caller`: `user` and their id, or `admin` and how their digest begins; `reason`: why it
    # was not answered, as a constant. Of a path or method that is none there is no `operation`.
    "request.answered": ("request_id", "operation", "method", "status", "caller", "reason", "seconds"),
    # Who has signed in to the ops page, as the API names callers; and somebody with a token that is nobody's.
    "ops.signed_in": ("caller",),
    "ops.refused": (),
    # No callers are configured: there is no API.
    "api.disabled": (),
    # Nothing of Stripe's is shown; the same reason is logged once.
    "api.stripe_refused": ("reason",),
    # The health endpoint.
    "health.listening": ("host", "port"),
    "health.changed": ("part", "ok", "detail"),
    "health.failed": ("reason",),
    # The web process's port.
    "web.listening": ("host", "port"),
    # No STRIPE_WEBHOOK_SECRETS: the webhook answers 503, and events are polled for alone.
    "webhook.disabled": ("missing",),
    # Deliveries that were not taken (`reason` as in subkeeper_webhook_deliveries_total); the same reason once a minute.
    "webhook.refused": ("reason", "detail", "left_out"),
    # Other signing secrets are in force now, under these names of ours.
    "webhook_secrets.changed": ("secrets",),
    # The broker. `reason` is a constant, `detail` an NSQ error code or the system's words; no `topic` when publishing.
    "nsqd.connected": ("address", "topic"),
    "nsqd.refused": ("address", "topic", "reason", "detail"),
    "nsqd.disconnected": ("address", "topic", "reason", "detail"),
    "nsqd.message_cut": ("address", "topic", "size", "limit"),
    "nsqd.finish_failed": ("address", "topic", "code"),
    # A name stands for several nsqds, of which only one is connected to: give each its own, or an nsqlookupd.
    "nsqd.name_shared": ("address", "topic", "addresses"),
    # Changed TLS files, or the auth secret's, are in use now; or can't be used, and the former ones stay in use.
    "nsq_credentials.changed": ("setting",),
    "nsq_credentials.refused": ("setting", "reason"),
    # An nsqd doesn't tell how deep our channels are: the sum is without it.
    "nsqd_stats.failed": ("address", "reason"),
    "nsqd_stats.recovered": ("address",),
    "nsqlookupd.failed": ("address", "reason"),
    "nsqlookupd.recovered": ("address",),
    # A request to Stripe failed: Stripe's constants and its request id, never its message. `outcome` names our error,
    # `peer` the URL; `why` is the system's word for a connection that failed. The same again within a minute is
    # logged at debug, and counted in the next one's `repeated`.
    "stripe_call.failed": (
        "operation",
        "outcome",
        "status",
        "type",
        "code",
        "param",
        "request_id",
        "reason",
        "peer",
        "why",
        "repeated",
    ),
    # This process could not renew its row in time, so others may have its part of Stripe's rate; and it did again.
    "budget.lapsed": ("rate", "reason"),
    "budget.renewed": ("rate",),
    # A new secret key, read from where it is configured, has replaced the one that Stripe refused.
    "stripe_key.changed": (),
    # A process from start to end. `threads`: those that SIGTERM's drain did not wait for any longer.
    "process.started": ("version",),
    "process.draining": (),
    "process.cut_short": ("threads",),
    "process.stopped": (),
    # No STRIPE_SECRET_KEY: these jobs do nothing, and what they read stays in `channel`.
    "billing.disabled": ("missing", "jobs", "channel"),
    # A message that can never work as it is; `reason` is a constant, `detail` says what was wrong with it.
    "message.quarantined": ("topic", "reason", "detail"),
    # A message for a user who was erased, or is being so: nothing was taken in.
    "message.erased": ("user_id",),
    # A batch cannot be committed for what nobody foresaw (a bug, a table changed by hand): it is tried again and again.
    "batch.refused": ("messages",),
    # A bug, or a table changed by hand: the event comes again after a while, the others go on.
    "event.unforeseen": (),
    # Envelopes signed under a key that SUBKEEPER_SECRET_KEY doesn't list here: they come again for half an hour.
    "envelope.postponed": ("messages",),
    # Events of the mode that our key isn't of (test for live): recorded, and nothing else.
    "event.wrong_mode": ("events", "first"),
    # A customer that was made elsewhere names a user of ours who has another one.
    "customer.conflicting": ("stripe_customer_id", "other"),
    # Stripe has said twice that it has no such subscription: a row of ours stays as it is, and is asked for rarely;
    # what was nobody's is forgotten.
    "subscription.set_aside": ("stripe_subscription_id", "user_id"),
    "refresh.dropped": ("stripe_subscription_id",),
    # Stripe won't tell of a subscription: it is asked again, ever more rarely. A bug: the same.
    "refresh.refused": ("stripe_subscription_id", "reason"),
    "refresh.crashed": ("stripe_subscription_id",),
    "refresh.lost": ("stripe_subscription_id",),
    # Somebody's transaction holds these users' rows: nsqd delivers their messages again, in so many seconds at first.
    "message.requeued": ("messages", "seconds"),
    # What came of leasing a profile's row. `seconds`: until it is tried again.
    "subscription.created": ("user_id", "attempts"),
    "provisioning.postponed": ("user_id", "seconds", "reason"),
    "provisioning.refused": ("user_id", "reason"),
    "provisioning.quarantined": ("user_id", "reason"),
    "lease.lost": ("user_id",),
    # Clocks that were ahead when the profile was first seen made its trial so much longer than a full one.
    "trial.shortened": ("user_id", "seconds"),
    # A clock (`local`, `postgres`, `stripe`) is more than a minute from what most tell, by `seconds`; or no longer.
    "clock.drifted": ("clock", "seconds"),
    "clock.agreed": ("clock",),
    # Stripe offers no Search to this account: the walk through the customers decides alone.
    "search.refused": ("reason",),
    # A bug, or a schema that was changed by hand: looking for due rows is tried again and again; told once.
    "sweep.crashed": (),
    # The plan's product at Stripe names no database yet (`subkeeper setup` writes it), or the key may not read it: that
    # another database serves the same users would go unnoticed.
    "product.unclaimed": ("plan",),
    "product.refused": ("plan",),
    # A bug: the row waits, the others go on.
    "settling.crashed": ("user_id",),
    # This process asks Stripe for events from now on, which are so many seconds behind; or another one does.
    "polling.begun": ("behind",),
    "polling.lost": (),
    # Stripe no longer has the events of that time; `fix` is the command that makes up for them.
    "events.missed": ("since", "until", "fix"),
    # An event in Stripe's list is not as events are: it counts as processed.
    "event.refused": ("event_id", "type", "reason", "detail"),
    # Settling stopped for every profile because a person must act, and went on again.
    "settling.halted": ("reason",),
    "settling.resumed": (),
    # Rows were refused alike and nobody passed: single rows are tried until it is known whose fault it is.
    "settling.doubted": ("users", "reason"),
    # A change of a subscription that nsqd refuses for its size: it is tried again each hour. And how many changes that
    # were sent long ago left the outbox.
    "change.refused": ("change", "user_id", "reason", "detail"),
    "changes.pruned": ("changes",),
    # A change that a user or an admin asked for: it holds; it can't be made, for this constant, and what of it holds;
    # it waits, for so many seconds; another process has it. A bug: it waits, the others go on.
    "account_change.applied": ("change", "kind", "user_id"),
    "account_change.failed": ("change", "kind", "user_id", "reason", "applied"),
    "account_change.postponed": ("change", "user_id", "seconds", "reason"),
    "account_change.lost": ("change",),
    "account_change.crashed": ("change",),
    # A page of Checkout's has begun a second subscription, which was canceled: its payment is a person's to give back.
    "checkout.subscribed_twice": ("user_id", "stripe_subscription_id", "checkout"),
    # An invoice whose payment failed: a card was tried, and what came of that (`code`: Stripe's); it is left, or waits
    # for so many seconds, for a reason; it can't be asked for now; another process has it. A bug: it waits.
    "charge.tried": ("stripe_invoice_id", "attempt_count", "stripe_payment_method_id", "outcome", "code"),
    "charge.left": ("stripe_invoice_id", "reason"),
    "charge.waited": ("stripe_invoice_id", "seconds", "reason"),
    "charge.postponed": ("stripe_invoice_id", "seconds", "reason"),
    "charge.lost": ("stripe_invoice_id",),
    "charge.crashed": ("stripe_invoice_id",),
    # So many that had ended long ago were deleted.
    "account_changes.pruned": ("changes",),
    # So many hold an email that is sealed under a key which is not this process's; told whenever it is more.
    "account_changes.sealed": ("changes",),
    # What became of leased rows within the last minute: how many by outcome.
    "rows.settled": ("seconds", "outcomes"),
}
