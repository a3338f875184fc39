"""What Postgres says, in our words: translated once, most specific first.

Conflict
├── CustomerAlreadyExists              the user has another live customer
├── StripeCustomerAlreadyExists        that Stripe customer is another user's
├── StripeSubscriptionAlreadyExists    that Stripe subscription is another customer's
├── SubscriptionAlreadyExists          another user's ledger row names that subscription
└── PaymentMethodAlreadyExists         that payment method, or its priority, is taken
LeaseLost      the row is another worker's by now: what we learnt is not written
Unavailable    no connection, no disk, no primary
└── AccessRefused                      the role, its password or a privilege: a person must act
Contended      a lock timeout, a deadlock: somebody else's transaction is in the way
TryLater       a statement timeout, a serialization failure: the same transaction may work now
└── EventsHeardTwice                   another process has recorded some of the same events meanwhile
Rejected       a value that Postgres cannot store
Unforeseen     anything else: a bug of ours, or a schema that was changed by hand
"""

from __future__ import annotations

from sqlalchemy import exc

from worker.errors import Conflict, Contended, Rejected, SubkeeperError, TryLater, Unforeseen
from worker.store.engine.refusals import DENIED, Place, denied, unavailable


class CustomerAlreadyExists(Conflict):
    """The user has another customer that is not deleted."""


class StripeCustomerAlreadyExists(Conflict):
    """The Stripe customer belongs to another user."""


class StripeSubscriptionAlreadyExists(Conflict):
    """The Stripe subscription belongs to another customer."""


class SubscriptionAlreadyExists(Conflict):
    """Another user's ledger row names that subscription."""


class PaymentMethodAlreadyExists(Conflict):
    """The payment method is another customer's, or its priority is taken."""


class LeaseLost(SubkeeperError):
    """The row's fencing token has moved: another worker leased it, and its word counts."""


class EventsHeardTwice(TryLater):
    """Another process has recorded some of the same events meanwhile: what is left of the batch is told anew."""

    def __init__(self) -> None:
        super().__init__("another process is recording the same events")


_BY_CONSTRAINT: dict[str, type[Conflict]] = {
    "billing_customers_user_id_key": CustomerAlreadyExists,
    "billing_customers_stripe_customer_id_key": StripeCustomerAlreadyExists,
    "billing_subscriptions_stripe_subscription_id_key": StripeSubscriptionAlreadyExists,
    "provisionings_stripe_subscription_id_key": SubscriptionAlreadyExists,
    "payment_methods_stripe_payment_method_id_key": PaymentMethodAlreadyExists,
    "payment_methods_billing_customer_id_key": PaymentMethodAlreadyExists,
}

_CONTENDED = {"40P01": "a deadlock", "55P03": "another session holds a lock"}

_LATER = {
    "40001": "another transaction came first",
    "57014": "a statement was canceled, or took longer than database.statement_timeout",
    "26000": "a pooler lost a prepared statement",
    "42P05": "a pooler kept a prepared statement",
}

_AWAY = ("08", "25006", "25P03", "25P04", "53", "57P", "58")
"""connection exceptions, read-only primary, ended idle sessions, insufficient resources, shutdown, system errors."""


def translate(error: exc.DBAPIError, where: Place) -> SubkeeperError:
    """Our error for Postgres's. Says no value, only codes and names."""
    sqlstate = getattr(error.orig, "sqlstate", None) or ""
    if isinstance(error, exc.IntegrityError):
        constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
        named = _BY_CONSTRAINT.get(constraint)
        return named(constraint) if named else _unforeseen(error)
    if sqlstate in _CONTENDED:
        return Contended(f"postgres {sqlstate} ({_CONTENDED[sqlstate]})")
    if sqlstate in _LATER:
        return TryLater(f"postgres {sqlstate} ({_LATER[sqlstate]})")
    if isinstance(error, exc.DataError):
        return Rejected("unstorable", f"postgres {sqlstate or type(error.orig).__name__}")
    if error.connection_invalidated or not sqlstate or sqlstate.startswith(_AWAY):
        return unavailable(where, error.orig)
    return denied(where, error.orig) if sqlstate == DENIED else _unforeseen(error)


def _unforeseen(error: exc.DBAPIError) -> Unforeseen:
    sqlstate = getattr(error.orig, "sqlstate", None) or ""
    return Unforeseen(
        f"postgres says {sqlstate} ({type(error.orig).__name__}), which nobody foresaw: "
        "a bug, or a schema that was changed by hand. `subkeeper db check` compares it"
    )
